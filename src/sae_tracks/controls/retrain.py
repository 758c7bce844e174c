"""SAEs of models that have learned nothing: trained as a given one was, or on given regions if that cannot be known."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sae_tracks.activations.extract import Extraction, extract, plan_extraction
from sae_tracks.activations.shards import MANIFEST, WINDOWS, ActivationShards, open_shards
from sae_tracks.activations.shuffle import plan_shuffle, shuffle
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import digest, values_differ, write_json
from sae_tracks.genome import Genome
from sae_tracks.intervals import runs_of
from sae_tracks.json_file import check, read_json
from sae_tracks.lm import GeneLM
from sae_tracks.progress import counter
from sae_tracks.regions import GenomicRegion, ReadStrand, merge_regions, regions_of, subtract_regions
from sae_tracks.sae import SAE, load_sae
from sae_tracks.sae.directory import CONFIG, check_match
from sae_tracks.source import Source, device_of
from sae_tracks.train.plan import TrainPlan, plan_training
from sae_tracks.train.settings import ARCHS, RECIPES, TrainSettings
from sae_tracks.train.train import train_sae

MADE_FROM = "made_from.json"
SETTINGS = tuple(field.name for field in fields(TrainSettings) if field.name != "expansion")
LEAST_STEPS = 500  # on regions: fewer rows than these steps need are read again
SHUFFLE_MEMORY = 1 << 30
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the SAEs of untrained models are trained, whatever the model."""

    made_from: dict[str, Any]  # the bases
    settings: TrainSettings
    d_sae: int
    seed: int
    dtype: str
    rows: int | None  # to train on; None: all once, and at least `LEAST_STEPS` steps
    most_rows: int | None  # the trained SAE's, if it is known
    same: dict[str, Any]  # what the training record of a finished SAE must say
    plan: Callable[[GeneLM], Extraction]  # without a black list that only the rows show
    read: Callable[[GeneLM, Path], ActivationShards]
    elsewhere: bool  # the bases are not those that the trained SAE was trained on

    def plan_on(self, data: ActivationShards, device: str) -> TrainPlan:
        """Plan the training on shuffled activations of an untrained model."""
        settings, rows = self.settings, self.rows
        if rows is None:
            settings = replace(settings, batch_size=min(settings.batch_size, data.rows))
            rows = max(data.rows, LEAST_STEPS * settings.batch_size)
            rows = max(min(rows, self.most_rows or rows), settings.batch_size)
        dtype = "float32" if self.dtype == "tf32" and device == "cpu" else self.dtype
        how = {"d_sae": self.d_sae, "seed": self.seed, "dtype": dtype}
        return plan_training(data, settings, rows=rows, device=device, **how)


def as_before(sae: SAE, genome: Genome, trained_on: ActivationShards) -> Recipe:
    """Train just as an SAE was: on the same windows, with the same settings, steps and seed.

    Raises
    ------
    SaeTracksError
        The SAE does not say how it was trained, or was trained on other activations.
    """
    training = training_of(sae, trained_on)
    return Recipe(
        made_from={"data_sha256": trained_on.checksum},
        settings=TrainSettings(**{name: training[name] for name in ("expansion", *SETTINGS) if name in training}),
        d_sae=training["d_sae"],
        seed=training["seed"],
        dtype=training["dtype"],
        rows=training["rows"],
        most_rows=training["rows"],
        same={name: training.get(name) for name in (*SETTINGS, "d_sae", "steps", "seed")},
        plan=lambda lm: _plan_again(lm, genome, trained_on, black_list=False),
        read=lambda lm, out: _read_again(lm, genome, trained_on, out),
        elsewhere=False,
    )


def on_regions(source: Source, regions: Sequence[GenomicRegion]) -> Recipe:
    """Train a dictionary of the same shape on regions, for an SAE whose training data are not known or not there.

    Settings are those that the SAE records, else the defaults for its architecture. A ``jumprelu`` is trained by
    BatchTopK with as many features per row as the SAE has on average, if its statistics say so. Windows and read
    strands are those that the SAE records, so that the result does not depend on what is scored.
    """
    sae, genome, facts = source.sae, source.genome, source.sae.metadata
    strands: list[ReadStrand] = facts.get("read_strands") or ["+"]
    window, context = facts.get("window") or source.layout.window, facts.get("context")
    context = source.layout.context if context is None else context
    settings, training = settings_like(sae), _own_training(sae)

    def plan(lm: GeneLM) -> Extraction:
        return plan_extraction(lm, genome, regions, read_strands=strands, window=window, context=context)

    def read(lm: GeneLM, out: Path) -> ActivationShards:
        extract(plan(lm), out)
        return open_shards(out)

    contigs = genome.identity(dict.fromkeys(region.contig for region in regions))
    same = {"arch": settings.arch, "d_sae": sae.d_sae} | ({"k": settings.k} if settings.k else {})
    return Recipe(
        made_from={
            "regions_sha256": digest(map(str, regions)),
            "genome": {"contigs": contigs},
            "read_strands": strands,
        },
        settings=settings,
        d_sae=sae.d_sae,
        seed=training.get("seed", 0),
        dtype=training.get("dtype", "float32"),
        rows=None,
        most_rows=training.get("rows"),
        same=same,
        plan=plan,
        read=read,
        elsewhere=True,
    )


def _own_training(sae: SAE) -> dict[str, Any]:
    """How `train_sae` trained an SAE; empty for one of another program."""
    training = sae.metadata.get("training")
    return training if isinstance(training, dict) and training.get("arch") in ARCHS and "steps" in training else {}


def settings_like(sae: SAE) -> TrainSettings:
    """Settings for a dictionary like an SAE: those it records, else the defaults for its architecture."""
    if training := _own_training(sae):
        check(training, "metadata.training of the SAE", {f"{f.name}?": f.type for f in fields(TrainSettings)})
        return TrainSettings(**{name: training[name] for name in SETTINGS if name in training})
    if sae.architecture == "topk":
        return replace(RECIPES["topk"], k=sae.k or 0)
    l0 = 0.0 if sae.stats is None else float(np.nan_to_num(sae.stats["density"].to_numpy(np.float64)).sum())
    if sae.architecture == "jumprelu" and l0 > 0:
        return replace(RECIPES["batchtopk"], k=min(max(round(l0), 1), sae.d_sae))
    return RECIPES[sae.architecture]


def make(recipe: Recipe, lm: GeneLM, out: Path) -> SAE:
    """Train an SAE on a language model by a recipe.

    Parameters
    ----------
    recipe : Recipe
        `as_before` or `on_regions`.
    out : path
        SAE directory. Activations lie beside it while they are needed. What an interrupted run left is used.

    Raises
    ------
    SaeTracksError
        The activations cannot be made again on the same bases, or the folder holds another SAE.
    """
    act, shuffled = out.with_name("act"), out.with_name("shuffled")
    _claim(out, recipe)
    if (out / CONFIG).exists():
        made = _made_before(out, recipe, lm)
        for left in (act, shuffled):  # by a process killed after the last step
            shutil.rmtree(left, ignore_errors=True)  # another process may be doing the same, or the folder is read-only
        return made
    if not (shuffled / MANIFEST).exists():
        data = recipe.read(lm, act)
        shuffle(data, shuffled, plan_shuffle(data, SHUFFLE_MEMORY), seed=recipe.seed)
    shutil.rmtree(act, ignore_errors=True)
    plan = recipe.plan_on(open_shards(shuffled), device_of(lm).type)
    log.info("%s: an SAE is trained in %d steps on %s rows", lm.model_id, plan.steps, f"{plan.data.rows:,}")
    with counter("training", plan.steps) as advance:
        train_sae(plan, out, advance)
    shutil.rmtree(shuffled, ignore_errors=True)
    return load_sae(out)


def is_made(recipe: Recipe, out: Path) -> bool:
    """Whether a directory holds a complete SAE that was made from the same bases."""
    record = out.with_name(MADE_FROM)
    return (out / CONFIG).is_file() and record.is_file() and read_json(record) == recipe.made_from


def _claim(out: Path, recipe: Recipe) -> None:
    """Record from which bases a control is made; refuse what was made from others."""
    record, mine = out.with_name(MADE_FROM), recipe.made_from
    begun = any(out.with_name(name).exists() for name in (out.name, "act", "shuffled"))
    if (read_json(record) if record.exists() else None if begun else mine) != mine:
        raise SaeTracksError(
            f"{out.parent} is a control made from other activations: delete it, or train on the same as then"
        )
    if not begun:
        write_json(record, mine)


def _made_before(out: Path, recipe: Recipe, lm: GeneLM) -> SAE:
    """The SAE of a complete run; refuse it if it has another model or other settings."""
    made = load_sae(out)
    check_match(made, lm)
    training = made.metadata["training"]
    if key := values_differ(recipe.same, {name: training.get(name) for name in recipe.same}):
        raise SaeTracksError(f"{out} is a control of an SAE with another {key}: delete it")
    return made


def training_of(sae: SAE, trained_on: ActivationShards) -> dict[str, Any]:
    """How an SAE was trained, from its metadata; refuse activations that it was not trained on."""
    training = _own_training(sae)
    if training.get("data_sha256") != trained_on.checksum:
        raise SaeTracksError(
            f"this SAE was not trained on {trained_on.folder}: name the folder that `train` was given, or regions "
            "to train on"
        )
    return training


def _windows_of(shards: ActivationShards) -> list[GenomicRegion]:
    windows = pd.read_csv(shards.folder / WINDOWS, sep="\t", header=None, usecols=[0, 1, 2], dtype={0: str})
    return [GenomicRegion(*row) for row in windows.itertuples(index=False, name=None)]


def _plan_again(lm: GeneLM, genome: Genome, shards: ActivationShards, *, black_list: bool) -> Extraction:
    """Plan to extract the windows of stored activations from another model, with or without their black list."""
    windows, facts = _windows_of(shards), shards.manifest
    laid_out = {name: facts[name] for name in ("window", "context", "min_context", "read_strands")}
    left = left_out(shards, windows) if black_list and facts["black_list_sha256"] else []
    plan = plan_extraction(lm, genome, windows, black_list=left, **laid_out)
    if plan.settings["windows_sha256"] != facts["windows_sha256"]:
        raise SaeTracksError(
            f"{shards.folder}: its windows cannot be read again by {genome.path.name}: it must be the same FASTA, and "
            "windows drawn in both directions (extract -n --read-strand both) are not supported"
        )
    return plan


def _read_again(lm: GeneLM, genome: Genome, shards: ActivationShards, out: Path) -> ActivationShards:
    """Extract the activations of another model on the bases of stored ones."""
    extract(_plan_again(lm, genome, shards, black_list=True), out)
    again = open_shards(out)
    if again.rows != shards.rows:
        raise SaeTracksError(f"{shards.folder} has {shards.rows:,} rows, but {genome.path.name} gives {again.rows:,}")
    return again


def left_out(shards: ActivationShards, windows: Sequence[GenomicRegion]) -> list[GenomicRegion]:
    """The bases in the windows of stored activations (``windows.bed``) without a row: black-listed or unreadable ones.

    The manifest has only the checksum of a black list, but the rows show which bases it left.
    """
    offset = np.cumsum([0, *map(len, windows)])
    read = np.zeros(offset[-1], bool)
    for _, loci in shards:
        read[offset[loci[:, 0]] + loci[:, 1]] = True
    with_rows, without = [], []
    for window, start, end in zip(windows, offset, offset[1:]):
        with_rows += regions_of(window.contig, runs_of(read[start:end]) + window.start)
        without += regions_of(window.contig, runs_of(~read[start:end]) + window.start)
    order = dict.fromkeys(window.contig for window in windows)
    # a base without a row in one direction may have one in the other
    return subtract_regions(merge_regions(without, order), merge_regions(with_rows, order))
