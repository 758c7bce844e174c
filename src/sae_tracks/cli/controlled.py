"""The options of the controls, and what they stand for."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from sae_tracks.errors import SaeTracksError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from sae_tracks.annotations import Annotation
    from sae_tracks.controls.control import Seen
    from sae_tracks.controls.sample import Sample
    from sae_tracks.controls.sampler import Sampler
    from sae_tracks.genome import Genome
    from sae_tracks.lm.blank import Kind
    from sae_tracks.metrics import Evaluation
    from sae_tracks.motifs import Motif
    from sae_tracks.reading import Reading
    from sae_tracks.sae import SAE
    from sae_tracks.source import Source

    Cutoffs = Callable[[SAE], NDArray[np.float32]]


class Controls(StrEnum):
    """How much is done to tell whether a match is real."""

    standard = "standard"
    untrained = "untrained"
    none = "none"


ControlsOption = Annotated[
    Controls,
    typer.Option("--controls", help="standard; untrained: models without training too (long); none: scores alone."),
]
MotifsOption = Annotated[
    str | None,
    typer.Option(
        "--motifs", metavar="FILE|RELEASE", help="Matrices of the motifs scored, for decoys: a file, or JASPAR2024."
    ),
]
DecoysOption = Annotated[int, typer.Option(min=1, help="Column-shuffled decoys a motif.")]
RepeatsOption = Annotated[
    str | None,
    typer.Option("--repeats", metavar="FILE|softmask|alu", help="Repeats: rmsk, .out, any BED, lower case, or Alu."),
]
TrainedOnOption = Annotated[
    Path | None,
    typer.Option("--trained-on", help="Activations that the SAE was trained on, for untrained models (it knows them)."),
]
SeedsOption = Annotated[
    list[str] | None, typer.Option("--seeds", metavar="SAE", help="SAE of another seed to compare; repeatable.")
]


class Asked(NamedTuple):
    """What the options ask for."""

    controls: Controls
    motifs: str | None
    decoys: int
    repeats: str | None
    seeds: list[str] | None
    trained_on: Path | None
    sae: str
    alias: str | None
    min_score: float | None


class Holder:
    """Keeps a sample of what is streamed, and holds the best matches against all else."""

    def __init__(self, source: "Source", asked: Asked, scale: str, out: Path) -> None:
        self.source, self.asked, self.scale, self.out = source, asked, scale, out
        self.motifs = open_motifs(asked.motifs)
        self.seeds = other_seeds(source, asked.seeds or [], self.cutoffs)
        untrained = asked.controls is Controls.untrained
        where = trained_on(asked.sae, asked.trained_on) if untrained else None
        self.blanks = untrained_models(source, where, self.cutoffs, out / "untrained") if where else None

    def cutoffs(self, sae: "SAE") -> "NDArray[np.float32]":
        import numpy as np

        return np.array([sae.cutoffs(threshold, self.scale) for threshold in self.thresholds])

    def watch(self, evaluation: "Evaluation", thresholds: "Iterable[float]") -> "list[Sampler]":
        """Sinks for the stream."""
        from sae_tracks.controls.sampler import samplers_of

        self.evaluation, self.thresholds = evaluation, sorted(set(thresholds))
        where = self.source.genome, self.source.regions, self.asked.alias
        self.repeats = open_repeats(self.asked.repeats, *where)
        self.samplers = samplers_of(self.source, evaluation)
        return self.samplers

    def look(self, reading: "Reading") -> None:
        """See a reading before its features come."""
        for sampler in self.samplers:
            sampler.look(reading)

    def __call__(self, best: "pd.DataFrame") -> "pd.DataFrame":
        """The best matches with controls and verdicts, which are written too."""
        from sae_tracks.controls.control import Against, control
        from sae_tracks.controls.tables import write_controlled

        p = 1e-4 if self.asked.min_score is None else 10 ** (-self.asked.min_score / 100)  # UCSC's unit
        against = Against(self.motifs, p, self.asked.decoys, self.repeats, self.blanks, self.seeds)
        samples = [sampler.sample() for sampler in self.samplers]
        cutoffs = self.cutoffs(self.source.sae)
        controlled, offsets = control(best, self.evaluation, samples, self.thresholds, cutoffs, against)
        write_controlled(self.out, controlled, offsets)
        return controlled


def holder(source: "Source", asked: Asked, scale: str, out: Path) -> Holder | None:
    """None where no controls are asked for."""
    if asked.controls is not Controls.none:
        return Holder(source, asked, scale, out)
    if asked.motifs or asked.repeats or asked.seeds or asked.trained_on:
        raise SaeTracksError("--controls none: leave out --motifs, --repeats, --seeds and --trained-on")
    return None


def open_motifs(text: str | None) -> "Sequence[Motif]":
    """The matrices of --motifs; none where it is not given."""
    from sae_tracks.motifs import jaspar_motifs, read_motifs

    if text is None:
        return ()
    if Path(text).exists() or not text.upper().startswith("JASPAR"):
        return read_motifs(Path(text))
    return jaspar_motifs(text)


def open_repeats(text: str | None, genome: "Genome", regions: list, alias: str | None) -> "Annotation | None":
    """The repeats of --repeats."""
    from sae_tracks.annotations import Annotation, read_annotation
    from sae_tracks.controls.alu import alu_sites

    if text is None:
        return None
    if text == "alu":
        return Annotation(alu_sites(genome, regions), "Alu by alignment")
    repeats = read_annotation(text, genome, regions, alias=alias)
    if not len(repeats):
        raise SaeTracksError(
            f"{repeats.source} has no repeat in the regions: leave --repeats out, or name another file"
        )
    return repeats


def untrained_models(
    source: "Source", trained_on: Path, cutoffs: "Cutoffs", out: Path
) -> "Callable[[Sample], list[tuple[Kind, Seen]]]":
    """What models without training see of a sample."""
    from sae_tracks.controls.control import Seen
    from sae_tracks.controls.untrained import KINDS, SEEDS, blank_sample
    from sae_tracks.shards import open_shards

    shards = open_shards(trained_on)

    def see(sample: "Sample") -> "list[tuple[Kind, Seen]]":
        seen = []
        for kind in KINDS:
            for seed in SEEDS:
                blank, sae = blank_sample(source, kind, seed, shards, sample, out)
                seen.append((kind, Seen(blank.features, cutoffs(sae))))
        return seen

    return see


def trained_on(sae: str, named: Path | None) -> Path:
    """The activations that an SAE was trained on, as its folder says or as --trained-on does."""
    from sae_tracks.files import PROVENANCE, read_json

    if named:
        return named
    record = Path(sae) / PROVENANCE
    folder = read_json(record).get("data") if record.is_file() else None
    if folder is None or not Path(folder).is_dir():
        raise SaeTracksError(f"{sae}: the activations it was trained on are not there: name the folder by --trained-on")
    return Path(folder)


def other_seeds(source: "Source", seeds: list[str], cutoffs: "Cutoffs") -> "Callable[[Sample], list[Seen]] | None":
    """What SAEs of other seeds see of a sample; None where there are none."""
    from sae_tracks.controls.control import Seen
    from sae_tracks.controls.sampler import seen_through
    from sae_tracks.sae import load_sae
    from sae_tracks.sae.directory import check_match

    if not seeds:
        return None
    others = [load_sae(seed) for seed in seeds]
    for other in others:
        check_match(other, source.lm, allow_mismatch=source.allow_mismatch)
    return lambda sample: [Seen(seen_through(sample, other), cutoffs(other)) for other in others]
