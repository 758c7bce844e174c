"""The same path with a language model that has learned nothing: its own activations, its own SAE, the same bases."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sae_tracks.activations.shards import ActivationShards, open_shards
from sae_tracks.annotations import read_regions
from sae_tracks.controls.retrain import Recipe, as_before, is_made, make, on_regions, training_of
from sae_tracks.errors import SaeTracksError, first_line
from sae_tracks.files import PROVENANCE, lock_of, locked, make_folder
from sae_tracks.genome import Genome
from sae_tracks.lm import GeneLM
from sae_tracks.lm.untrained import Kind, check_can_be_untrained
from sae_tracks.records import read_made
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE
from sae_tracks.source import Source

KINDS: tuple[Kind, ...] = ("random", "permuted")
SEEDS = (0, 1, 2)
MODELS: tuple[tuple[Kind, int], ...] = tuple((kind, seed) for kind in KINDS for seed in SEEDS)
KEPT = "untrained"  # the folder in an SAE directory
TrainedOn = ActivationShards | Sequence[GenomicRegion]
log = logging.getLogger(__name__)


def recorded_activations(sae: str | Path) -> str:
    """The activations that an SAE was trained on, as the record in its directory says."""
    record = Path(sae) / PROVENANCE
    folder = read_made(record).get("data") if record.is_file() else None
    if folder is None or not Path(folder).is_dir():
        raise SaeTracksError(
            f"{sae}: the activations that it was trained on are not there: name them by --trained-on, or regions to "
            "train SAEs of untrained models on, such as --trained-on chr1"
        )
    return folder


def open_trained_on(text: str, sae: SAE, genome: Genome) -> ActivationShards | list[GenomicRegion]:
    """Open what SAEs of untrained models are trained on.

    Parameters
    ----------
    text : str
        The folder of activations that `sae` was trained on; or a BED file of regions, or one region such as ``chr1``.
        Regions are for an SAE of another program, and for one whose activations are gone.

    Returns
    -------
    ActivationShards or list of GenomicRegion
        Regions are merged and in FASTA order.

    Raises
    ------
    SaeTracksError
        There is none of these, or the SAE was trained on other activations.
    """
    if Path(text).is_dir():
        shards = open_shards(text)
        training_of(sae, shards)
        return shards
    if Path(text).is_file():
        return genome.merged(read_regions(Path(text), genome))
    try:
        return [genome.region(text)]
    except SaeTracksError as error:
        raise SaeTracksError(
            f"--trained-on {text} is no folder of activations, no BED file, no region: {error}"
        ) from error


def check_untrained(source: Source, trained_on: TrainedOn) -> None:
    """Raise an error if untrained models cannot be made for a source; no window is read.

    The language model offers none, the SAE was trained on other activations, or their windows cannot be read again.
    """
    check_can_be_untrained(source.lm)
    recipe = recipe_for(source, trained_on)
    bases = recipe.plan(source.lm).settings["bases"]
    where = "given regions" if recipe.elsewhere else "the windows of the trained one"
    says = "%d untrained models, each with an SAE trained on %s: %s bases; those that are kept already are used"
    log.info(says, len(MODELS), where, f"{bases:,}")


def untrained_facts(source: Source, trained_on: TrainedOn) -> dict[str, Any]:
    """What SAEs of untrained models are trained on, for provenance; ``elsewhere`` if the given SAE was not."""
    if isinstance(trained_on, ActivationShards):
        return {"data_sha256": trained_on.checksum, "elsewhere": False}
    settings = recipe_for(source, trained_on).settings
    return {"regions": [*map(str, trained_on)], "elsewhere": True, "arch": settings.arch, "k": settings.k or None}


def recipe_for(source: Source, trained_on: TrainedOn) -> Recipe:
    """How the SAEs of untrained models are trained."""
    if isinstance(trained_on, ActivationShards):
        return as_before(source.sae, source.genome, trained_on)
    return on_regions(source, source.genome.merged(trained_on))


def untrained_sources(
    source: Source,
    trained_on: TrainedOn,
    folder: Path,
    keep: Path | None = None,
    models: Sequence[tuple[Kind, int]] = MODELS,
) -> Iterator[tuple[Kind, int, Source]]:
    """Yield sources that read the same with untrained models and SAEs of their own, one at a time.

    SAEs are made once and kept; of several processes one makes them and the others wait.

    Parameters
    ----------
    source : Source
        The trained one.
    trained_on : ActivationShards or sequence of GenomicRegion
        The activations that the SAE was trained on: their bases are read again, and an SAE is trained in the same
        way. Or regions: a dictionary of the same shape is trained there.
    folder : path
        Where SAEs are kept if `keep` cannot be written.
    keep : path, optional
        Where they are kept; default ``untrained/`` in the SAE directory, if the SAE was loaded from one.
    models : sequence of (kind, seed)
        Which untrained models.

    Yields
    ------
    kind : "random" or "permuted"
    seed : int
    Source
        With the untrained model and its SAE.
    """
    recipe = recipe_for(source, trained_on)
    if keep is None and source.sae.folder is not None:
        keep = source.sae.folder / KEPT
    for kind, seed in models:
        lm = _untrained(source.lm, kind, seed)
        sae = _made_once(recipe, lm, f"{kind}-{seed}", [folder] if keep is None else [keep, folder])
        yield kind, seed, replace(source, lm=lm, sae=sae, allow_mismatch=False)


def _untrained(lm: GeneLM, kind: Kind, seed: int) -> GeneLM:
    """Make an untrained copy; check that one of a plug-in fits."""
    try:
        made = check_can_be_untrained(lm).untrained(kind, seed)
    except SaeTracksError:
        raise
    except Exception as error:  # code that is not ours
        raise SaeTracksError(f"{lm.model_id}: untrained({kind!r}, {seed}) fails: {first_line(error)}") from error
    if made.checksum == lm.checksum or made.d_model != lm.d_model:
        wrong = "the trained weights" if made.d_model == lm.d_model else f"{made.d_model} dimensions, not {lm.d_model}"
        raise SaeTracksError(f"{lm.model_id}: untrained({kind!r}, {seed}) has {wrong}")
    log.info("control: %s", made.model_id)
    return made


def _made_once(recipe: Recipe, lm: GeneLM, name: str, places: Sequence[Path]) -> SAE:
    """Return the SAE of an untrained model from the first place that has it or can be written; make it if needed."""
    found = (p for p in places if is_made(recipe, p / name / "sae") or _can_write(p / name / "sae"))
    place = next(found, places[-1])
    if place is not places[0]:
        log.info("%s cannot be written, so the SAE is kept in %s", places[0], place)
    out = place / name / "sae"
    if is_made(recipe, out):
        return make(recipe, lm, out)
    make_folder(out.parent)
    with locked(out):
        return make(recipe, lm, out)


def _can_write(out: Path) -> bool:
    """Whether the folder of an output, and the file for its lock, can be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock_of(out).touch()
    except OSError:
        return False
    return True
