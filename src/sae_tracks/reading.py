"""The one reader: from a genome to activations with their genome coordinates.

Windows begin at the start (for ``-``: at the end) of every stretch between long N runs. A region, a shard or a sample
only selects some of these windows and clips what they keep. So any subset of a genome gives the values of the whole,
bit for bit on one machine, and the ``-`` read is the forward read of the reverse-complemented genome.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.dna import readable_bases, reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.intervals import NO_SPANS, Spans, cover
from sae_tracks.lm.protocol import GeneLM, OffersBatches, checked_batch
from sae_tracks.lm.spans import PROBE
from sae_tracks.regions import WHOLE, GenomicRegion, ReadStrand, Shard, spans_by_contig

SHORT = (
    1024  # the longest window in bases that a model may read together with others: a longer one keeps all threads busy
)
BATCH = 1 << 14  # bases of windows that are read together, at most
MOST_CONTEXT = 8192  # bases, by default; docs/methods.md has the measurements
# Bases before the end of a window whose tokens this end may change, if tokens are longer than one base. Byte pairs have
# no exact limit, but in human DNA the tokens of at most 24 bases changed (docs/models.md).
MOST_CUT = 64


@dataclass(frozen=True, slots=True)
class Window:
    """The bases that the model reads at once, and the part of them that is kept.

    Attributes
    ----------
    fed : GenomicRegion
        Bases that the model reads.
    kept : GenomicRegion
        Requested bases, without those that are only context.
    read_strand : "+" or "-"
        On ``-`` the model reads the reverse complement.
    """

    fed: GenomicRegion
    kept: GenomicRegion
    read_strand: ReadStrand


@dataclass(frozen=True, slots=True)
class WindowLayout:
    """Size, context and offset of the windows along a stretch in bases, in the direction of reading.

    The first `before` and the last `after` bases of a window are only context, except at the ends of a stretch.
    """

    window: int
    before: int
    after: int = 0  # 0 for a causal model whose tokens are single bases
    shift: int = 0  # shorten the first window of a stretch by this, which moves all other windows
    causal: bool = True  # the model does not see the bases after a token, so those of `after` only complete tokens

    @property
    def context(self) -> int:
        """Bases of a window that are only context."""
        return self.before + self.after

    @property
    def step(self) -> int:
        """Number of bases from the start of one window to the next."""
        return self.window - self.context

    def spans(self, length: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Yield the (fed, kept) offsets of the windows of a stretch; the kept parts tile it."""
        start, end = 0, min(self.window - self.shift, length)
        while True:
            yield (start, end), (start + self.before if start else 0, end if end == length else end - self.after)
            if end == length:
                return
            start = start + self.step - (0 if start else self.shift)
            end = min(start + self.window, length)

    def low_context(self, windows: Iterable["Window"]) -> int:
        """Count the kept bases that have less context than the layout gives: those near the ends of their stretch.

        A causal model lacks nothing at the end of a stretch, because no token reaches over it.
        """
        total, behind = 0, 0 if self.causal else self.after
        for window in windows:
            before, after = window.kept.start - window.fed.start, window.fed.end - window.kept.end
            if window.read_strand == "-":
                before, after = after, before
            total += min(max(self.before - before, 0) + max(behind - after, 0), len(window.kept))
        return total


def window_layout(
    lm: GeneLM, window: int | None = None, context: int | None = None, min_context: int = 0
) -> WindowLayout:
    """The window layout of a model: by default its longest window, half of it context but at most `MOST_CONTEXT`.

    If the model is not causal, the context is split between the two ends of a window. If it is causal and has tokens of
    more than one base, `MOST_CUT` bases of the context, but at most half of it, lie at the end of a window, because the
    end may cut tokens. The next window keeps these bases.

    A window that the model cannot read, a context that fills the window, and a `min_context` above the layout's context
    are refused: such a `min_context` would mask bases of every window, not only at the ends of stretches.
    """
    window = lm.max_length if window is None else window
    if not 1 <= window <= lm.max_length:
        raise SaeTracksError(f"--window-size {window}: this model reads 1 to {lm.max_length:,} bases at once")
    context = min(window // 2, MOST_CONTEXT) if context is None else context
    if not 0 <= context < window:
        raise SaeTracksError(f"--context {context}: it must be smaller than the window, {window:,} bases")
    after = min(context // 2, most_after(lm))
    least = context - after if lm.causal else after  # after <= context - after
    if min_context > least:
        raise SaeTracksError(f"--min-context {min_context}: windows give {least:,} bases of context; raise --context")
    return WindowLayout(window, context - after, after, causal=lm.causal)


def most_after(lm: GeneLM) -> int:
    """Return how many bases of context a model can use at the end of a window. A causal one only completes tokens."""
    if not lm.causal:
        return lm.max_length
    single_bases = lm.token_starts(PROBE[: lm.max_length].encode()).all()
    return 0 if single_bases else MOST_CUT


def plan_windows(
    genome: Genome,
    regions: Iterable[GenomicRegion] | None = None,
    *,
    layout: WindowLayout,
    read_strand: ReadStrand = "+",
    sample: int | None = None,
    seed: int = 0,
    shard: Shard = WHOLE,
) -> list[Window]:
    """List the windows that cover regions (default: the whole genome), ascending in forward start.

    Their kept parts are disjoint and cover every base of the regions outside N runs of >= 100 bases. A `sample` is
    drawn from them without replacement, and `shard` is a contiguous subset of that. It is an error if the regions hold
    nothing to read or fewer windows than the sample.
    """
    if read_strand not in get_args(ReadStrand):
        raise SaeTracksError(f"read strand {read_strand!r} is neither + nor -")
    windows = []
    for contig, wanted in groupby(genome.merged(regions), lambda region: region.contig):
        all_windows = [w for stretch in genome.stretches(contig) for w in _windows_of(stretch, layout, read_strand)]
        windows += _clip(all_windows, list(wanted))
    if sample is not None:
        if sample > len(windows):
            raise SaeTracksError(f"--n-windows {sample:,}: the regions hold only {len(windows):,} windows")
        chosen = np.sort(np.random.default_rng(seed).choice(len(windows), sample, replace=False))
        windows = [windows[i] for i in chosen]
    if not windows:
        raise SaeTracksError("nothing to read: the regions hold no base outside runs of N")
    return windows[shard.slice(len(windows))]


def _windows_of(stretch: GenomicRegion, layout: WindowLayout, read_strand: ReadStrand) -> list[Window]:
    """All windows of one stretch, ascending."""

    def place(start: int, end: int) -> GenomicRegion:
        """Convert offsets in the direction of reading to forward coordinates."""
        if read_strand == "+":
            return GenomicRegion(stretch.contig, stretch.start + start, stretch.start + end)
        return GenomicRegion(stretch.contig, stretch.end - end, stretch.end - start)

    windows = [Window(place(*fed), place(*kept), read_strand) for fed, kept in layout.spans(len(stretch))]
    return windows if read_strand == "+" else windows[::-1]


def _clip(windows: Sequence[Window], regions: Sequence[GenomicRegion]) -> Iterator[Window]:
    """Yield windows clipped to regions; both ascend along one contig and are disjoint."""
    first = 0
    for window in windows:
        while first < len(regions) and regions[first].end <= window.kept.start:
            first += 1
        for i in range(first, len(regions)):
            region = regions[i]
            if region.start >= window.kept.end:
                break
            kept = window.kept.overlap(region)
            if kept:
                yield Window(window.fed, kept, window.read_strand)


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
    """Read planned windows; consecutive windows with the same fed bases share one pass of the model."""
    masked = spans_by_contig(genome.merged(black_list))
    for window, whole in _read_fed(lm, genome, windows, min_context):
        inside = slice(window.kept.start - window.fed.start, window.kept.end - window.fed.start)
        readable = whole.readable[inside] & ~_black(masked, window.kept)
        arrays = whole.context[inside], whole.token_starts[inside], whole.activations[inside]
        yield Reading(window.kept, window.read_strand, readable, *arrays)


def readable_in(
    lm: GeneLM, genome: Genome, window: Window, masked: Mapping[str, Spans], min_context: int = 0
) -> NDArray[np.bool_]:
    """(n,) bool: which kept bases of a window are readable; the model is not run. `masked` are black-listed."""
    fed, kept = window.fed, window.kept
    before = np.arange(kept.start - fed.start, kept.end - fed.start)
    behind = len(fed) - 1 - before
    if window.read_strand == "-":
        before, behind = behind, before
    known = before if lm.causal else np.minimum(before, behind)
    return readable_bases(genome.sequence(kept)) & (known >= min_context) & ~_black(masked, kept)


def _black(masked: Mapping[str, Spans], region: GenomicRegion) -> NDArray[np.bool_]:
    return cover(masked.get(region.contig, NO_SPANS), region.start, region.end)


def _read_fed(
    lm: GeneLM, genome: Genome, windows: Iterable[Window], min_context: int
) -> Iterator[tuple[Window, Reading]]:
    """Yield each window with all bases that are fed for it, several short ones at a time if the model offers that."""
    together: list[list[Window]] = []
    bases, offers = 0, isinstance(lm, OffersBatches)
    for (fed, _), same in groupby(windows, lambda window: (window.fed, window.read_strand)):
        if together and (not offers or len(fed) > SHORT or bases + len(fed) > BATCH):
            yield from _read_batch(lm, genome, together, min_context)
            together, bases = [], 0
        together.append([*same])
        bases += len(fed) if len(fed) <= SHORT else BATCH
    if together:
        yield from _read_batch(lm, genome, together, min_context)


def read_together(lm: GeneLM, bases: int) -> int:
    """How many windows of so many bases a model reads at once."""
    return max(BATCH // bases, 1) if isinstance(lm, OffersBatches) and bases <= SHORT else 1


def _read_batch(
    lm: GeneLM, genome: Genome, together: list[list[Window]], min_context: int
) -> Iterator[tuple[Window, Reading]]:
    sequences = [genome.sequence(ones[0].fed) for ones in together]
    forward = [ones[0].read_strand == "+" for ones in together]
    oriented = [text if plus else reverse_complement(text) for text, plus in zip(sequences, forward)]
    for ones, text, rows in zip(together, oriented, checked_batch(lm, oriented)):
        whole = _whole(lm, text, ones[0], min_context, *rows)
        for window in ones:
            yield window, whole


def _whole(
    lm: GeneLM,
    oriented: bytes,
    window: Window,
    min_context: int,
    activations: torch.Tensor,
    starts: NDArray[np.bool_],
) -> Reading:
    """All fed bases of a window, in forward order, from what was read of the oriented sequence."""
    if not np.isfinite(activations.detach().numpy()).all():
        raise SaeTracksError(f"{lm.model_id}: activations at {window.fed} are not finite; are the weights sound?")
    context = np.arange(len(oriented), dtype=np.int32)
    known = context if lm.causal else np.minimum(context, context[::-1])
    readable = readable_bases(oriented) & (known >= min_context)
    if window.read_strand == "-":
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
