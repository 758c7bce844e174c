"""Watching the stream of features, and holding the best matches against all else when it has ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations import Annotation, read_annotation
from sae_tracks.controls.alu import alu_sites
from sae_tracks.controls.control import Against, Seen, control
from sae_tracks.controls.sample import Sample
from sae_tracks.controls.sampler import Sampler, samplers_of, seen_through
from sae_tracks.controls.tables import write_controlled
from sae_tracks.controls.untrained import KINDS, SEEDS, blank_sample
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, read_json
from sae_tracks.lm.blank import Kind
from sae_tracks.metrics import Evaluation
from sae_tracks.motifs import Motif, jaspar_motifs, read_motifs
from sae_tracks.reading import Reading
from sae_tracks.sae import SAE, load_sae
from sae_tracks.sae.directory import check_match
from sae_tracks.shards import open_shards
from sae_tracks.source import Source

ALU = "alu"


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
        self.motifs = open_motifs(settings.motifs)
        self.others = [load_sae(seed) for seed in settings.seeds]
        for other in self.others:
            check_match(other, source.lm, allow_mismatch=source.allow_mismatch)
        self.shards = open_shards(settings.trained_on) if settings.trained_on else None

    def watch(self, evaluation: Evaluation) -> list[Sampler]:
        """Sinks for the stream of an evaluation."""
        self.evaluation = evaluation
        self.repeats = open_repeats(self.settings, self.source)
        self.samplers = samplers_of(self.source, evaluation)
        return self.samplers

    def look(self, reading: Reading) -> None:
        """See a reading before its features come."""
        for sampler in self.samplers:
            sampler.look(reading)

    def __call__(self, best: pd.DataFrame) -> pd.DataFrame:
        """The best matches with controls and verdicts, which are written too."""
        against = Against(
            self.motifs,
            self.settings.p,
            self.settings.decoys,
            self.repeats,
            self._blanks if self.shards else None,
            self._seeds if self.others else None,
        )
        samples = [sampler.sample() for sampler in self.samplers]
        cutoffs = self._cutoffs(self.source.sae)
        controlled, offsets = control(best, self.evaluation, samples, self.thresholds, cutoffs, against)
        write_controlled(self.out, controlled, offsets)
        return controlled

    def _cutoffs(self, sae: SAE) -> NDArray[np.float32]:
        return np.array([sae.cutoffs(threshold, self.scale) for threshold in self.thresholds])

    def _blanks(self, sample: Sample) -> list[tuple[Kind, Seen]]:
        """What models without training see of a sample."""
        assert self.shards is not None
        seen = []
        for kind in KINDS:
            for seed in SEEDS:
                blank, sae = blank_sample(self.source, kind, seed, self.shards, sample, self.out / "untrained")
                seen.append((kind, Seen(blank.features, self._cutoffs(sae))))
        return seen

    def _seeds(self, sample: Sample) -> list[Seen]:
        """What SAEs of other seeds see of a sample."""
        return [Seen(seen_through(sample, other), self._cutoffs(other)) for other in self.others]


def open_motifs(text: str | None) -> Sequence[Motif]:
    """The matrices of a file or of a release of JASPAR; none for None."""
    if text is None:
        return ()
    if Path(text).exists() or not text.upper().startswith("JASPAR"):
        return read_motifs(Path(text))
    return jaspar_motifs(text)


def open_repeats(settings: Settings, source: Source) -> Annotation | None:
    """The repeats in the regions of a source, where some are named."""
    genome, regions = source.genome, source.regions or ()
    if settings.repeats is None:
        return None
    if settings.repeats == ALU:
        return Annotation(alu_sites(genome, regions), "Alu by alignment")
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
