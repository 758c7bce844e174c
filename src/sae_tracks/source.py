"""What every verb that reads a genome through a model and an SAE sets up in the same way."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock, stream_features
from sae_tracks.genome import Genome
from sae_tracks.lm import GeneLM, describe, load_lm
from sae_tracks.progress import track
from sae_tracks.reading.reader import Reading, read_windows
from sae_tracks.reading.windows import Layout, ReadStrand, Window, check_min_context, layout, plan_windows
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE
from sae_tracks.sae.directory import check_match


@dataclass
class Source:
    """A genome seen through a language model and an SAE: where feature blocks come from.

    Attributes
    ----------
    lm, sae, genome
        The parts; the SAE must have been trained on this model and layer.
    regions : list of GenomicRegion, optional
        Default: the whole genome.
    read_strands : sequence of "+" and "-"
        Directions to read in, one after the other.
    window, context : int, optional
        See `sae_tracks.reading.windows.layout`.
    black_list : list of GenomicRegion
        Bases that are never readable.
    min_context : int
        Bases with less context are not readable.
    """

    lm: GeneLM
    sae: SAE
    genome: Genome
    regions: list[GenomicRegion] | None = None
    read_strands: Sequence[ReadStrand] = ("+",)
    window: int | None = None
    context: int | None = None
    black_list: list[GenomicRegion] = field(default_factory=list)
    min_context: int = 0
    allow_mismatch: bool = False
    layout: Layout = field(init=False)

    def __post_init__(self) -> None:
        check_match(self.sae, self.lm, allow_mismatch=self.allow_mismatch)
        self.layout = layout(self.lm, self.window, self.context)
        check_min_context(self.layout, self.min_context)
        self.regions = self.genome.merged(self.regions)

    def blocks(
        self, features: Iterable[int] | None = None, look: Callable[[Reading], None] | None = None
    ) -> Iterator[FeatureBlock]:
        """The stream of feature blocks, one read strand after the other, with a progress bar over windows.

        `look` is shown every reading before its blocks come.
        """
        wanted = None if features is None else list(features)
        for strand in self.read_strands:
            windows = self.windows(strand)
            readings = read_windows(self.lm, self.genome, windows, self.black_list, self.min_context)
            if look is not None:
                readings = _shown(readings, look)
            watched = track(readings, f"reading {strand}", len(windows))
            yield from stream_features(watched, self.sae, features=wanted)

    def windows(self, read_strand: ReadStrand) -> list[Window]:
        """The windows of one read strand, ascending."""
        return plan_windows(self.genome, self.regions, layout=self.layout, read_strand=read_strand)

    @property
    def contigs(self) -> list[str]:
        """Contigs that the regions touch, in FASTA order."""
        return list(dict.fromkeys(region.contig for region in self.regions or ()))

    def provenance(self) -> dict:
        """The facts that every product of this source records."""
        return {
            "lm": describe(self.lm),
            "sae_sha256": self.sae.checksum,
            "genome": {"path": str(self.genome.path), "contigs": self.genome.identity(self.contigs)},
            "regions": [str(region) for region in self.regions or ()],
            "read_strands": list(self.read_strands),
            "window": self.layout.window,
            "context": self.layout.context,
            "min_context": self.min_context,
            "low_context": sum(self.layout.low_context(self.windows(strand)) for strand in self.read_strands),
        }


def _shown(readings: Iterable[Reading], look: Callable[[Reading], None]) -> Iterator[Reading]:
    for reading in readings:
        look(reading)
        yield reading


def sae_language_model(sae: SAE, model: str | None, device: str = "auto", trust_remote_code: bool = False) -> GeneLM:
    """The language model that an SAE was trained on, at its layer or module, or the one named instead."""
    trained = sae.metadata.get("lm", {})
    layer = trained.get("layer")
    how = {"hook": trained.get("hook_name") if layer is None else None, "trust_remote_code": trust_remote_code}
    if not model and "model" not in trained:
        raise SaeTracksError("this SAE does not say which language model it was trained on: name it with --model")
    if layer is None and not how["hook"]:
        raise SaeTracksError("this SAE does not say which layer it reads: sae-tracks import-sae ... --layer or --hook")
    if model:
        return load_lm(model, layer, device=device, **how)
    return load_lm(trained["model"], layer, revision=trained.get("revision"), device=device, **how)
