"""The one reader: from a genome to activations with their genome coordinates.

Any subset of a genome gives the values of the whole, bit for bit on one machine, and the ``-`` read is the forward read
of the reverse-complemented genome; see `sae_tracks.reading.windows`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.dna import readable_bases, reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.intervals import NO_SPANS, cover
from sae_tracks.lm.protocol import GeneLM
from sae_tracks.reading.windows import Window, plan_windows, window_layout
from sae_tracks.regions import WHOLE, GenomicRegion, ReadStrand, Shard, spans_by_contig


@dataclass(frozen=True, slots=True, repr=False)
class Reading:
    """Activations of the kept bases of one window, in forward order on both read strands.

    Attributes
    ----------
    region : GenomicRegion
        The n bases.
    read_strand : "+" or "-"
        Direction in which the model read.
    readable : (n,) bool
        False on N, other IUPAC letters, black-listed bases, and bases with less than the minimum of context.
    context : (n,) int32
        Number of bases that the model read before each base, which is its place in the window.
    token_starts : (n,) bool
        True on the base at which the model read the first letter of a token.
    activations : (n, d_model) float32
        Bases of one token have the same row.
    """

    region: GenomicRegion
    read_strand: ReadStrand
    readable: NDArray[np.bool_]
    context: NDArray[np.int32]
    token_starts: NDArray[np.bool_]
    activations: torch.Tensor

    def __repr__(self) -> str:
        readable = f"{int(self.readable.sum()):,} of {len(self.region):,} bases readable"
        return f"Reading({self.region}, read {self.read_strand}, {readable}, d_model {self.activations.shape[1]})"


def read_windows(
    lm: GeneLM,
    genome: Genome,
    windows: Iterable[Window],
    black_list: Iterable[GenomicRegion] = (),
    min_context: int = 0,
) -> Iterator[Reading]:
    """Read planned windows one by one; consecutive windows with the same fed bases share one pass of the model."""
    masked = spans_by_contig(genome.merged(black_list))
    last = None
    for window in windows:
        if (window.fed, window.read_strand) != last:
            last = window.fed, window.read_strand
            whole = _read_whole(lm, genome.sequence(window.fed), window, min_context)
        inside = slice(window.kept.start - window.fed.start, window.kept.end - window.fed.start)
        black = cover(masked.get(window.kept.contig, NO_SPANS), window.kept.start, window.kept.end)
        readable = whole.readable[inside] & ~black
        arrays = whole.context[inside], whole.token_starts[inside], whole.activations[inside]
        yield Reading(window.kept, window.read_strand, readable, *arrays)


def _read_whole(lm: GeneLM, sequence: bytes, window: Window, min_context: int) -> Reading:
    """Read all fed bases of a window, and give them in forward order."""
    forward = window.read_strand == "+"
    oriented = sequence if forward else reverse_complement(sequence)
    activations = lm.activations(oriented)
    if not torch.isfinite(activations).all():
        raise SaeTracksError(f"{lm.model_id}: activations at {window.fed} are not finite; are the weights sound?")
    context, starts = np.arange(len(sequence), dtype=np.int32), lm.token_starts(oriented)
    known = context if lm.causal else np.minimum(context, context[::-1])
    readable = readable_bases(oriented) & (known >= min_context)
    if not forward:
        context, starts, readable, activations = context[::-1], starts[::-1], readable[::-1], activations.flip(0)
    return Reading(window.fed, window.read_strand, readable, np.ascontiguousarray(context), starts, activations)


def read(
    lm: GeneLM,
    genome: Genome,
    regions: Iterable[GenomicRegion] | None = None,
    *,
    read_strand: ReadStrand = "+",
    window: int | None = None,
    context: int | None = None,
    min_context: int = 0,
    black_list: Iterable[GenomicRegion] = (),
    shard: Shard = WHOLE,
) -> Iterator[Reading]:
    """Read regions of a genome through a language model.

    Parameters
    ----------
    lm : GeneLM
        From `load_lm`.
    genome : Genome
        The FASTA.
    regions : iterable of GenomicRegion, optional
        Default: the whole genome.
    read_strand : "+" or "-"
        Direction in which the model reads.
    window, context : int, optional
        Bases read at once, and how many of them are only context. By default the longest window of the model, half of
        it context but at most 8,192 bases.
    min_context : int
        Bases with less context are read but marked as not readable.
    black_list : iterable of GenomicRegion
        Bases that are read but marked as not readable.
    shard : Shard
        Contiguous subset of the windows to read.

    Yields
    ------
    Reading
        Disjoint, ascending in forward start, covering the regions outside N runs of >= 100 bases.
    """
    layout = window_layout(lm, window, context, min_context)
    windows = plan_windows(genome, regions, layout=layout, read_strand=read_strand, shard=shard)
    yield from read_windows(lm, genome, windows, black_list, min_context)
