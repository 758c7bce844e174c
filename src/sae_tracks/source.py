"""What every verb that reads a genome through a model and an SAE sets up in the same way."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock, stream_features
from sae_tracks.files import digest
from sae_tracks.genome import Genome
from sae_tracks.lm import GeneLM, describe, load_lm
from sae_tracks.progress import track
from sae_tracks.reading.reader import Reading, read_windows
from sae_tracks.reading.windows import WHOLE, Layout, ReadStrand, Window, check_min_context, layout, plan_windows
from sae_tracks.regions import GenomicRegion, Shard, StreamPosition
from sae_tracks.sae import SAE
from sae_tracks.sae.directory import check_match


@dataclass(repr=False)
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
        self.black_list = self.genome.merged(self.black_list)

    def __repr__(self) -> str:
        regions = self.regions or []
        bases = f"{sum(map(len, regions)):,} bases in {len(regions):,} regions of {self.genome.path.name}"
        windows = f"windows of {self.layout.window:,} with {self.layout.context:,} of context"
        return f"Source({bases}, read {' and '.join(self.read_strands)}, {windows}, {self.sae.d_sae:,} features)"

    def blocks(
        self,
        features: Iterable[int] | None = None,
        *,
        shard: Shard = WHOLE,
        after: StreamPosition | None = None,
        on_reading: Callable[[Reading], None] | None = None,
    ) -> Iterator[FeatureBlock]:
        """The stream of feature blocks, one read strand after the other, with a progress bar over windows.

        Parameters
        ----------
        features : iterable of int, optional
            Feature ids; default all.
        shard : Shard
            The part of the windows of each read strand to read, contiguous.
        after : StreamPosition, optional
            What lies before it was read already and is left out. The stream may go on at any base.
        on_reading : function, optional
            Is called with every reading before the blocks of that reading come.

        Yields
        ------
        FeatureBlock
            Ascending per read strand. Shards and positions only select bases: values are those of the whole.
        """
        ids = None if features is None else list(features)
        strands = list(self.read_strands)
        for strand in strands[strands.index(after.read_strand) if after else 0 :]:
            windows = self.windows(strand, shard)
            if after and strand == after.read_strand:
                windows = list(self._behind(after, windows))
            if windows:
                readings = read_windows(self.lm, self.genome, windows, self.black_list, self.min_context)
                if on_reading is not None:
                    readings = _shown(readings, on_reading)
                yield from stream_features(track(readings, f"reading {strand}", len(windows)), self.sae, features=ids)

    def windows(self, read_strand: ReadStrand, shard: Shard = WHOLE) -> list[Window]:
        """The windows of one read strand, ascending; with a shard, its part of them."""
        return plan_windows(self.genome, self.regions, layout=self.layout, read_strand=read_strand, shard=shard)

    def _behind(self, position: StreamPosition, windows: Iterable[Window]) -> Iterator[Window]:
        """Windows without the bases before a position."""
        order = {name: i for i, name in enumerate(self.genome.lengths)}
        reached = order[position.contig], position.base
        for window in windows:
            kept, contig = window.kept, order[window.kept.contig]
            if (contig, kept.start) >= reached:
                yield window
            elif (contig, kept.end - 1) >= reached:
                yield replace(window, kept=replace(kept, start=position.base))

    @property
    def contigs(self) -> list[str]:
        """Contigs that the regions touch, in FASTA order."""
        return list(dict.fromkeys(region.contig for region in self.regions or ()))

    def identity(self) -> dict[str, Any]:
        """All that the values of the stream depend on, for JSON.

        Two sources have the same values if `values_differ` finds no difference. Names and paths are part of the record,
        but not of that comparison. What sinks add, such as thresholds and bins, they add to the record.
        """
        return {
            "lm": describe(self.lm),
            "device": device_type(self.lm),
            "sae_sha256": self.sae.checksum or _weights_sha256(self.sae),
            "sae_architecture": self.sae.architecture,
            "sae_k": self.sae.k,
            "genome": {"path": str(self.genome.path), "contigs": self.genome.identity(self.contigs)},
            "regions": [str(region) for region in self.regions or ()],
            "black_list_sha256": digest(map(str, self.black_list)) if self.black_list else None,
            "read_strands": list(self.read_strands),
            "window": self.layout.window,
            "context": self.layout.context,
            "min_context": self.min_context,
        }

    def provenance(self) -> dict[str, Any]:
        """The facts that every product of this source records: its identity, and how many bases have less context."""
        low = sum(self.layout.low_context(self.windows(strand)) for strand in self.read_strands)
        return self.identity() | {"low_context": low}


def device_type(lm: GeneLM) -> str:
    """``cpu`` or ``cuda``, on which a model computes; ``cpu`` for a plug-in that does not say."""
    device = getattr(getattr(lm, "model", None), "device", None)
    return getattr(device, "type", "cpu")


def _weights_sha256(sae: SAE) -> str:
    """SHA-256 of the weights of an SAE that was never saved."""
    found = hashlib.sha256()
    for tensor in (sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec, sae.threshold):
        if tensor is not None:
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _shown(readings: Iterable[Reading], on_reading: Callable[[Reading], None]) -> Iterator[Reading]:
    for reading in readings:
        on_reading(reading)
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
