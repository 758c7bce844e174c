"""Which windows a model reads: laid out per contig and read strand, so that any subset is a selection of the same ones.

Windows run from the start (for ``-``: from the end) of every stretch between long N runs. A region, a shard or a sample
only selects windows and clips what they keep.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.lm.protocol import GeneLM
from sae_tracks.regions import GenomicRegion, Shard

ReadStrand = Literal["+", "-"]
WHOLE = Shard(1, 1)
MOST_CONTEXT = 8192  # bases, by default; docs/methods.md says what was measured


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
class Layout:
    """How windows lie along a stretch, in the direction of reading.

    Attributes
    ----------
    window : int
        Bases read at once.
    before, after : int
        Bases at either end of a window that only serve as context, but for those at the ends of a stretch. A causal
        model has them all in front.
    shift : int
        The first window of a stretch is that much shorter, which moves all others: to see what their borders do.
    causal : bool
        Whether the bases behind count for nothing as context.
    """

    window: int
    before: int
    after: int = 0
    shift: int = 0
    causal: bool = True

    @property
    def context(self) -> int:
        return self.before + self.after

    @property
    def step(self) -> int:
        return self.window - self.context

    def spans(self, length: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """(fed, kept) offsets of the windows of a stretch; the kept parts follow one another and cover it."""
        start, end = 0, min(self.window - self.shift, length)
        while True:
            yield (start, end), (start + self.before if start else 0, end if end == length else end - self.after)
            if end == length:
                return
            start = start + self.step - (0 if start else self.shift)
            end = min(start + self.window, length)

    def low_context(self, windows: Iterable["Window"]) -> int:
        """Bases of planned windows that have less context than asked for: those near the ends of their stretch."""
        total = 0
        for window in windows:
            before, after = window.kept.start - window.fed.start, window.fed.end - window.kept.end
            if window.read_strand == "-":
                before, after = after, before
            low = max(self.before - before, 0) + max(self.after - after, 0)
            total += min(low, len(window.kept))
        return total


def layout(lm: GeneLM, window: int | None = None, context: int | None = None) -> Layout:
    """Windows for a model, defaults filled in: its longest window, and half of that as context, at most `MOST_CONTEXT`.

    The context of a model that is not causal is split between the two ends of a window.
    """
    window = lm.max_length if window is None else window
    if not 1 <= window <= lm.max_length:
        raise SaeTracksError(f"--window-size {window}: this model reads 1 to {lm.max_length:,} bases at once")
    context = min(window // 2, MOST_CONTEXT) if context is None else context
    if not 0 <= context < window:
        raise SaeTracksError(f"--context {context}: it must be smaller than the window, {window:,} bases")
    after = 0 if lm.causal else context // 2
    return Layout(window, context - after, after, causal=lm.causal)


def check_min_context(layout: Layout, min_context: int) -> None:
    """Refuse a least context that windows do not give: it would mask the start of each, not of stretches alone."""
    least = layout.before if layout.causal else min(layout.before, layout.after)
    if min_context > least:
        raise SaeTracksError(f"--min-context {min_context}: windows give {least:,} bases of context; raise --context")


def plan_windows(
    genome: Genome,
    regions: Iterable[GenomicRegion] | None = None,
    *,
    layout: Layout,
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
    layout : Layout
        From `layout`.
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
        laid = [w for stretch in genome.stretches(contig) for w in _lay_out(stretch, layout, read_strand)]
        windows += _clip(laid, parts)
    if sample is not None:
        if sample > len(windows):
            raise SaeTracksError(f"--n-windows {sample:,}: the regions hold only {len(windows):,} windows")
        chosen = np.sort(np.random.default_rng(seed).choice(len(windows), sample, replace=False))
        windows = [windows[i] for i in chosen]
    if not windows:
        raise SaeTracksError("nothing to read: the regions hold no base outside runs of N")
    return windows[shard.slice(len(windows))]


def _lay_out(stretch: GenomicRegion, layout: Layout, read_strand: ReadStrand) -> list[Window]:
    """All windows of one stretch, ascending."""
    spans = layout.spans(len(stretch))
    laid = [Window(*(_place(stretch, span, read_strand) for span in pair), read_strand) for pair in spans]
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
