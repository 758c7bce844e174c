"""Watching the stream of features, and holding the best matches against all else when it has ended."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sae_tracks.activations.shards import open_shards
from sae_tracks.annotations import Annotation, read_annotation
from sae_tracks.controls.alu import alu_sites
from sae_tracks.controls.control import Against, Seen, control
from sae_tracks.controls.sample import Columns, Sample, Sampler, samplers_of, seen_through
from sae_tracks.controls.untrained import KINDS, SEEDS, blank_sample
from sae_tracks.controls.verdict import is_motif
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, atomic, read_json
from sae_tracks.lm.untrained import Kind
from sae_tracks.metrics import Evaluation, annotation_checksums, cutoffs_of
from sae_tracks.metrics.scores import OFFSETS
from sae_tracks.motifs import named_motifs
from sae_tracks.reading.reader import Reading
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE, load_sae
from sae_tracks.sae.directory import check_match
from sae_tracks.source import Source

ALU = "alu"
SHOWN = 5  # names in a message
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What matches are held against.

    Attributes
    ----------
    motifs : str, optional
        A file of matrices, or a release of JASPAR.
    decoys : int
        Column-shuffled matrices a motif.
    repeats : str, optional
        An annotation of repeats, ``softmask``, or ``alu`` for an alignment.
    alias : str, optional
        Of its contigs; see `read_annotation`.
    seeds : sequence of str
        SAEs of other seeds.
    trained_on : Path, optional
        The activations that the SAE was trained on, where models without training are to be made.
    p : float
        The p-value at which a word is a site of the annotation.
    """

    motifs: str | None
    decoys: int
    repeats: str | None
    alias: str | None
    seeds: Sequence[str]
    trained_on: Path | None
    p: float


class Holder:
    """Keeps a sample of what is streamed, and holds the best matches against all else.

    Parameters
    ----------
    source : Source
    settings : Settings
    thresholds : sequence of float
        At which features are scored, ascending.
    scale : "max" or "raw"
        What they are fractions of; see `SAE.cutoffs`.
    out : path
        The folder of the scores; what untrained models need is kept in ``untrained/``.

    Raises
    ------
    SaeTracksError
        Something that was named is not there or does not fit the language model.
    """

    def __init__(self, source: Source, settings: Settings, thresholds: Sequence[float], scale: str, out: Path) -> None:
        self.source, self.settings, self.scale, self.out = source, settings, scale, out
        self.thresholds = thresholds
        self.motifs, self.motifs_from = named_motifs(settings.motifs) if settings.motifs else ([], None)
        self.others = [load_sae(seed) for seed in settings.seeds]
        for other in self.others:
            check_match(other, source.lm, allow_mismatch=source.allow_mismatch)
        self.shards = open_shards(settings.trained_on) if settings.trained_on else None

    def watch(self, evaluation: Evaluation) -> list[Sampler]:
        """Sinks for the stream of an evaluation."""
        self.evaluation = evaluation
        self._tell_untested(evaluation.labels.concepts)
        self.samplers = samplers_of(self.source, evaluation)
        self.repeats = open_repeats(self.settings, self.source, self.samplers[0].bins)
        return self.samplers

    def look(self, reading: Reading) -> None:
        """See a reading before its features come."""
        for sampler in self.samplers:
            sampler.look(reading)

    def __call__(self, best: pd.DataFrame) -> pd.DataFrame:
        """The best matches with controls and verdicts; their profiles of offsets are written."""
        against = Against(
            self.motifs,
            self.settings.p,
            self.settings.decoys,
            self.repeats,
            self._blanks if self.shards else None,
            self._seeds if self.others else None,
        )
        samples = [sampler.sample() for sampler in self.samplers]
        cutoffs = cutoffs_of(self.source.sae, self.thresholds, self.scale)
        controlled, offsets = control(best, self.evaluation, samples, self.thresholds, cutoffs, against)
        with atomic(self.out / OFFSETS) as temporary:
            offsets.to_parquet(temporary, index=False)
        return controlled

    def facts(self) -> dict[str, Any]:
        """What the provenance says of the controls."""
        settings = self.settings
        return {
            "motifs": self.motifs_from,
            "decoys": settings.decoys if self.motifs else None,
            "repeats": None if settings.repeats is None else annotation_checksums([settings.repeats]),
            "seeds": [other.checksum for other in self.others],
            "untrained_on": self.shards.checksum if self.shards else None,
        }

    def _tell_untested(self, concepts: pd.DataFrame) -> None:
        """Say which motifs have no matrix, and so no decoys to be held against."""
        names = concepts.loc[is_motif(concepts), "concept"].unique()
        without = sorted(set(names) - {motif.matrix_id for motif in self.motifs})
        if without:
            named = ", ".join(without[:SHOWN]) + (" ..." if len(without) > SHOWN else "")
            where = f"no matrix in {self.settings.motifs}" if self.settings.motifs else "no matrix: --motifs names some"
            log.info("%d motifs have %s, so chance is not tested: %s", len(without), where, named)

    def _blanks(self, sample: Sample) -> list[tuple[Kind, Seen]]:
        """What models without training see of a sample."""
        assert self.shards is not None
        seen = []
        for kind in KINDS:
            for seed in SEEDS:
                blank, sae = blank_sample(self.source, kind, seed, self.shards, sample, self.out / "untrained")
                seen.append((kind, self._seen(blank.features, sae)))
        return seen

    def _seeds(self, sample: Sample) -> list[Seen]:
        """What SAEs of other seeds see of a sample."""
        return [self._seen(seen_through(sample, other), other) for other in self.others]

    def _seen(self, features: Columns, sae: SAE) -> Seen:
        return Seen(features, cutoffs_of(sae, self.thresholds, self.scale))


def open_repeats(settings: Settings, source: Source, bins: Sequence[GenomicRegion]) -> Annotation | None:
    """The repeats in the regions of a source, where some are named; of Alu, those in the bins of a sample."""
    genome, regions = source.genome, source.regions or ()
    if settings.repeats is None:
        return None
    if settings.repeats == ALU:
        return Annotation(alu_sites(genome, bins), "Alu by alignment")
    repeats = read_annotation(settings.repeats, genome, regions, alias=settings.alias)
    if not len(repeats):
        raise SaeTracksError(
            f"{repeats.source} has no repeat in the regions: leave --repeats out, or name another file"
        )
    return repeats


def activations_of(sae: str) -> Path:
    """The activations that an SAE was trained on, as its folder says."""
    record = Path(sae) / PROVENANCE
    folder = read_json(record).get("data") if record.is_file() else None
    if folder is None or not Path(folder).is_dir():
        raise SaeTracksError(f"{sae}: the activations it was trained on are not there: name the folder by --trained-on")
    return Path(folder)
