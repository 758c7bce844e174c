"""The one reader: from a genome to activations that know where they lie.

Windows, N, left context and read strand are settled here and nowhere else. Windows are laid out per contig and read
strand from the start (for ``-``: from the end) of every stretch between long N runs, so a region, a shard or a sample
only selects windows and clips what they yield: any subset of the genome gives the values of the whole, bit for bit on
one machine and thread count, and the ``-`` read is the forward read of the reverse-complemented genome.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome, readable_bases, reverse_complement
from sae_tracks.lm.protocol import GeneLM
from sae_tracks.regions import GenomicRegion, Shard

ReadStrand = Literal["+", "-"]
WHOLE = Shard(1, 1)


@dataclass(frozen=True, slots=True)
class Window:
    """What the model reads at once, and the part of it that is kept.

    Attributes
    ----------
    fed : GenomicRegion
        The bases that the model reads.
    kept : GenomicRegion
        The part asked for, without the left context (of a ``-`` read: the right).
    read_strand : "+" or "-"
        ``-`` reads the reverse complement.
    """

    fed: GenomicRegion
    kept: GenomicRegion
    read_strand: ReadStrand


@dataclass(frozen=True, slots=True)
class Reading:
    """The kept part of one window.

    Attributes
    ----------
    region : GenomicRegion
        n bases, forward coordinates.
    read_strand : "+" or "-"
        The direction in which the model read.
    readable : (n,) bool
        False on N, other IUPAC letters and black-listed bases.
    context : (n,) int32
        Bases that the model had read before each base: its place in the window.
    activations : (n, d_model) float32
        Forward order, whatever the read strand.
    """

    region: GenomicRegion
    read_strand: ReadStrand
    readable: NDArray[np.bool_]
    context: NDArray[np.int32]
    activations: torch.Tensor


def window_sizes(max_length: int, window: int | None, context: int | None) -> tuple[int, int]:
    """Window and context in bases, defaults filled in: the model's longest window, a quarter of it as context."""
    window = max_length if window is None else window
    if not 1 <= window <= max_length:
        raise SaeTracksError(f"--window-size {window}: this model reads 1 to {max_length:,} bases at once")
    context = window // 4 if context is None else context
    if not 0 <= context < window:
        raise SaeTracksError(f"--context {context}: it must be smaller than the window, {window:,} bases")
    return window, context


def plan_windows(
    genome: Genome,
    regions: Iterable[GenomicRegion] | None = None,
    *,
    window: int,
    context: int,
    read_strand: ReadStrand = "+",
    sample: int | None = None,
    seed: int = 0,
    shard: Shard = WHOLE,
) -> list[Window]:
    """The windows that cover the regions, ascending in forward start.

    Their kept parts are disjoint and cover every base of the regions outside N runs of >= 100 bases.

    Parameters
    ----------
    regions : iterable of GenomicRegion, optional
        Default: the whole genome. Overlaps are merged.
    window, context : int
        Bases read at once; bases at the start of the read that only serve as context (not at the start of a stretch).
    sample : int, optional
        Keep this many windows, drawn without replacement with `seed`.
    shard : Shard
        Keep this contiguous part of the windows.
    """
    if read_strand not in get_args(ReadStrand):
        raise SaeTracksError(f"read strand {read_strand!r} is neither + nor -")
    wanted: dict[str, list[GenomicRegion]] = {}
    for region in genome.merged(regions):
        wanted.setdefault(region.contig, []).append(region)
    windows = []
    for contig, parts in wanted.items():
        laid = [w for stretch in genome.stretches(contig) for w in _lay_out(stretch, window, context, read_strand)]
        windows += _clip(laid, parts)
    if sample is not None:
        if sample > len(windows):
            raise SaeTracksError(f"--n-windows {sample:,}: the regions hold only {len(windows):,} windows")
        chosen = np.sort(np.random.default_rng(seed).choice(len(windows), sample, replace=False))
        windows = [windows[i] for i in chosen]
    if not windows:
        raise SaeTracksError("nothing to read: the regions hold no base outside runs of N")
    return windows[shard.slice(len(windows))]


def _lay_out(stretch: GenomicRegion, window: int, context: int, read_strand: ReadStrand) -> list[Window]:
    """All windows of one stretch, ascending."""
    step = window - context
    laid = []
    for offset in range(0, max(len(stretch) - context, 1), step):
        fed = (offset, min(offset + window, len(stretch)))
        kept = (offset + context if offset else 0, fed[1])
        laid.append(Window(_place(stretch, fed, read_strand), _place(stretch, kept, read_strand), read_strand))
    return laid if read_strand == "+" else laid[::-1]


def _place(stretch: GenomicRegion, span: tuple[int, int], read_strand: ReadStrand) -> GenomicRegion:
    """Offsets in the direction of reading as forward coordinates."""
    if read_strand == "+":
        return GenomicRegion(stretch.contig, stretch.start + span[0], stretch.start + span[1])
    return GenomicRegion(stretch.contig, stretch.end - span[1], stretch.end - span[0])


def _clip(windows: Sequence[Window], parts: Sequence[GenomicRegion]) -> Iterator[Window]:
    """The kept parts that lie in `parts`; both ascend along one contig and neither overlaps itself."""
    first = 0
    for window in windows:
        while first < len(parts) and parts[first].end <= window.kept.start:
            first += 1
        for part in parts[first:]:
            if part.start >= window.kept.end:
                break
            kept = window.kept.overlap(part)
            if kept:
                yield Window(window.fed, kept, window.read_strand)


def read_windows(
    lm: GeneLM, genome: Genome, windows: Iterable[Window], black_list: Iterable[GenomicRegion] = ()
) -> Iterator[Reading]:
    """Read planned windows one by one; consecutive ones that feed the same bases share one pass of the model."""
    masked = _by_contig(black_list)
    fed, activations = None, torch.empty(0)
    for window in windows:
        if window.fed != fed:
            fed = window.fed
            sequence = genome.sequence(fed)
            oriented = sequence if window.read_strand == "+" else reverse_complement(sequence)
            activations = lm.activations(oriented)
            if not torch.isfinite(activations).all():
                raise SaeTracksError(f"{lm.model_id}: activations at {fed} are not finite; are the weights sound?")
        inside = slice(window.kept.start - window.fed.start, window.kept.end - window.fed.start)
        readable = readable_bases(sequence)[inside]
        readable = readable & ~_covered(window.kept, masked.get(window.kept.contig, []))
        context = np.arange(len(fed), dtype=np.int32)
        kept = activations
        if window.read_strand == "-":
            context, kept = context[::-1], activations.flip(0)
        yield Reading(window.kept, window.read_strand, readable, np.ascontiguousarray(context[inside]), kept[inside])


def read(
    lm: GeneLM,
    genome: Genome,
    regions: Iterable[GenomicRegion] | None = None,
    *,
    read_strand: ReadStrand = "+",
    window: int | None = None,
    context: int | None = None,
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
        Bases read at once, and how many of them only serve as context; see `window_sizes`.
    black_list : iterable of GenomicRegion
        Bases that are read but not readable in what is yielded.
    shard : Shard
        Part of the windows to read.

    Yields
    ------
    Reading
        Disjoint, ascending in forward start, covering the regions outside N runs of >= 100 bases.
    """
    window, context = window_sizes(lm.max_length, window, context)
    windows = plan_windows(genome, regions, window=window, context=context, read_strand=read_strand, shard=shard)
    yield from read_windows(lm, genome, windows, black_list)


def _by_contig(regions: Iterable[GenomicRegion]) -> dict[str, list[GenomicRegion]]:
    grouped: dict[str, list[GenomicRegion]] = {}
    for region in sorted(regions):
        grouped.setdefault(region.contig, []).append(region)
    return grouped


def _covered(region: GenomicRegion, others: Sequence[GenomicRegion]) -> NDArray[np.bool_]:
    """(n,) bool: which bases of `region` lie in `others`, sorted by start."""
    covered = np.zeros(len(region), dtype=bool)
    for other in others:
        if other.start >= region.end:
            break
        covered[max(other.start - region.start, 0) : max(other.end - region.start, 0)] = True
    return covered
