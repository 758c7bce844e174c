"""A genome read through a language model and an SAE: the source of every stream of feature blocks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock, encode_reading
from sae_tracks.files import digest, whole_path
from sae_tracks.genome import Genome
from sae_tracks.intervals import Spans
from sae_tracks.lm import GeneLM, describe
from sae_tracks.progress import track
from sae_tracks.reading import (
    Reading,
    Window,
    WindowLayout,
    plan_windows,
    read_windows,
    readable_in,
    window_layout,
)
from sae_tracks.regions import WHOLE, GenomicRegion, ReadStrand, Shard, StreamPosition, spans_by_contig
from sae_tracks.sae import SAE
from sae_tracks.sae.directory import check_match
from sae_tracks.sae.encoder import SparseEncoder


@dataclass(repr=False)
class Source:
    """A genome read through a language model and an SAE.

    Attributes
    ----------
    lm : GeneLM
        From `load_lm`.
    sae : SAE
        From `load_sae`; it must have been trained on this model and layer.
    genome : Genome
        The FASTA.
    regions : list of GenomicRegion, optional
        Merged and put in FASTA order. Default: the whole genome.
    read_strands : sequence of "+" and "-"
        Directions in which the model reads, one after the other.
    window, context : int, optional
        Bases read at once, and how many of them are only context; see `read`.
    black_list : list of GenomicRegion
        Bases that are never readable, merged.
    min_context : int
        Bases with less context are not readable.
    allow_mismatch : bool
        Accept an SAE that was trained on another model or layer.
    layout : WindowLayout
        Follows from `window` and `context`.

    Raises
    ------
    SaeTracksError
        The SAE does not fit the model, a region is not in the genome, or the model cannot read such windows.

    Examples
    --------
    >>> genome = Genome("hg38.fa")
    >>> source = Source(load_lm("demo"), load_sae("sae/"), genome, [genome.region("chr14:87,049,332-87,049,831")])
    >>> for block in source.blocks([357]):
    ...     print(block.region, block.to_scipy().max())
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
    layout: WindowLayout = field(init=False)
    _masked: dict[str, Spans] = field(init=False, compare=False)  # the black list by contig

    def __post_init__(self) -> None:
        check_match(self.sae, self.lm, allow_mismatch=self.allow_mismatch)
        self.layout = window_layout(self.lm, self.window, self.context, self.min_context)
        self.regions = self.genome.merged(self.regions)
        self.black_list = self.genome.merged(self.black_list)
        self._masked = spans_by_contig(self.black_list)

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
        """Stream feature blocks, one read strand after the other, with a progress bar over windows.

        Parameters
        ----------
        features : iterable of int, optional
            Feature ids; default all.
        shard : Shard
            Contiguous subset of the windows of each read strand.
        after : StreamPosition, optional
            Leave out all bases before this position.
        on_reading : function, optional
            Called with every reading before its blocks are yielded.

        Yields
        ------
        FeatureBlock
            Ascending per read strand. Shards and positions only select bases; they change no value.
        """
        encoder = self.encoder(features)
        first = self.read_strands.index(after.read_strand) if after else 0
        for strand in self.read_strands[first:]:
            windows = self.windows(strand, shard)
            if after and strand == after.read_strand:
                windows = list(self._from(after, windows))
            readings = read_windows(self.lm, self.genome, windows, self.black_list, self.min_context)
            for reading in track(readings, f"reading {strand}", len(windows)):
                if on_reading is not None:
                    on_reading(reading)
                yield from encode_reading(encoder, reading)

    def encoder(self, features: Iterable[int] | None = None) -> SparseEncoder:
        """The encoder of the SAE for some features, by default all, on the device of the model."""
        return SparseEncoder.of(self.sae, features, device_of(self.lm))

    def windows(self, read_strand: ReadStrand, shard: Shard = WHOLE) -> list[Window]:
        """List the windows of one read strand, or of a shard of them, ascending."""
        return plan_windows(self.genome, self.regions, layout=self.layout, read_strand=read_strand, shard=shard)

    def readable(self, window: Window) -> NDArray[np.bool_]:
        """Which bases of a window are readable, without the model; see `Reading`.

        Parameters
        ----------
        window : Window
            One of `windows`.

        Returns
        -------
        (n,) bool
            Of the kept bases, in forward order.
        """
        return readable_in(self.lm, self.genome, window, self._masked, self.min_context)

    def _from(self, position: StreamPosition, windows: Iterable[Window]) -> Iterator[Window]:
        """Yield windows without the bases before a position."""
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
        """Contigs of the regions, in FASTA order."""
        return list(dict.fromkeys(region.contig for region in self.regions or ()))

    def identity(self) -> dict[str, Any]:
        """Everything that the values of the stream depend on, as a record for JSON.

        Two sources give the same values if `sae_tracks.files.values_differ` finds no difference between their records.
        """
        return {
            "lm": describe(self.lm),
            "device": device_of(self.lm).type,
            "sae_sha256": self.sae.checksum,
            "sae_architecture": self.sae.architecture,
            "sae_k": self.sae.k,
            "genome": self.genome.record(self.contigs),
            "regions": [str(region) for region in self.regions or ()],
            "black_list_sha256": digest(map(str, self.black_list)) if self.black_list else None,
            "read_strands": list(self.read_strands),
            "window": self.layout.window,
            "context": self.layout.context,
            "min_context": self.min_context,
        }

    def provenance(self) -> dict[str, Any]:
        """The facts that every output records.

        These are the identity, where on the hub the SAE was found, and how many bases have less context than the
        layout's.
        """
        low = sum(self.layout.low_context(self.windows(strand)) for strand in self.read_strands)
        return self.identity() | self.sae.facts | {"low_context": low}


@dataclass(frozen=True, slots=True)
class ReadBases:
    """The bases that a source reads, without the model and the SAE that read them."""

    genome: Genome
    regions: list[GenomicRegion]
    read_strands: list[ReadStrand]
    black_list: list[GenomicRegion]

    @classmethod
    def of(cls, source: Source) -> "ReadBases":
        """The bases of a source."""
        return cls(source.genome, source.regions or [], list(source.read_strands), source.black_list)

    @property
    def contigs(self) -> list[str]:
        """Contigs of the regions, in FASTA order."""
        return list(dict.fromkeys(region.contig for region in self.regions))

    def record(self) -> dict[str, Any]:
        """The bases as JSON, for `again`."""
        spans = [[(r.contig, r.start, r.end) for r in regions] for regions in (self.regions, self.black_list)]
        where = {"regions": spans[0], "black_list": spans[1], "read_strands": self.read_strands}
        return {"path": whole_path(self.genome.path), "contigs": self.genome.identity(self.contigs), **where}

    @classmethod
    def again(cls, record: dict[str, Any]) -> "ReadBases":
        """The bases of a `record`; an error if the FASTA is gone or has changed since."""
        genome = Genome(record["path"])
        regions, black_list = ([GenomicRegion(*one) for one in record[name]] for name in ("regions", "black_list"))
        found = cls(genome, regions, record["read_strands"], black_list)
        known = [name for name in found.contigs if name in genome.lengths]
        if genome.identity(known) != record["contigs"]:
            raise SaeTracksError(f"{genome.path} has changed since it was read: run the shards again")
        return found


def device_of(lm: GeneLM) -> torch.device:
    """The device on which a model computes; the CPU for a plug-in without a device."""
    device = getattr(getattr(lm, "model", None), "device", None)
    return device if isinstance(device, torch.device) else torch.device("cpu")


def sae_language_model(
    sae: SAE, model: str | None = None, device: str = "auto", trust_remote_code: bool = False
) -> GeneLM:
    """Load the language model that an SAE was trained on, or `model`, to be read at the layer or module of the SAE."""
    from sae_tracks.lm import load_lm  # imports transformers, which not all verbs need

    trained = sae.metadata.get("lm", {})
    layer = trained.get("layer")
    hook = trained.get("hook_name") if layer is None else None
    if not model and not trained.get("model"):
        raise SaeTracksError("this SAE does not say which language model it was trained on: name it with --model")
    if layer is None and not hook:
        raise SaeTracksError("this SAE does not say which layer it reads: sae-tracks import-sae ... --layer or --hook")
    name, revision = (model, None) if model else (trained["model"], trained.get("revision"))
    return load_lm(name, layer, hook=hook, revision=revision, device=device, trust_remote_code=trust_remote_code)
