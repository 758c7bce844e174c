"""Seams: how much of a track depends on where the windows began.

A model sees no base outside its window, so an activation depends on the base's context: the bases before it in the
window or, of a model that is not causal, those between it and the nearer end of the window. Where one window takes over
from the other a track steps from the context of a whole window down to that of ``--context``: a seam.

What is compared: every base is read four times, by windows that begin a quarter of a window apart, so that its readings
differ by quarters of a window in context. The reading with the most context, at least three quarters of the window (not
causal: of half the window), stands for what the model says at its best; the other three are compared with it, each in
the bin of its own context. The bin 512-767 thus says how readings after 512 to 767 bases differ from readings of the
same bases after three quarters of a window or more. How these would differ from a longer window is not measured: the
filters of HyenaDNA never decay to zero, so no context is exact.

Bases without such a reading are left out: those in the first three quarters of a window of a stretch between long runs
of N, in the direction of reading (not causal: in the outer three eighths at either end).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sae_tracks.errors import SaeTracksError
from sae_tracks.evaluate.seams.found import Seams
from sae_tracks.features import encode_reading
from sae_tracks.progress import track
from sae_tracks.reading.reader import read_windows
from sae_tracks.reading.windows import WindowLayout, plan_windows
from sae_tracks.regions import GenomicRegion, ReadStrand
from sae_tracks.sae.encoder import SparseEncoder
from sae_tracks.source import Source

PHASES = 4  # readings of each base


def context_bins(window: int, causal: bool) -> NDArray[np.int64]:
    """(b + 1,) int64: edges 0, 1, 2, 3, 4, 6, 8, 12, 16, ... up to the context that the best of four always has."""
    if window < PHASES:
        raise SaeTracksError(f"--window-size {window}: seams are measured in windows of at least {PHASES} bases")
    best = window + -window // PHASES
    best = best if causal else best // 2
    edges = {best, 0, 1} | {base << i for i in range(best.bit_length()) for base in (2, 3)}
    return np.array(sorted(edge for edge in edges if edge <= best), np.int64)


def measure_seams(
    source: Source, features: Iterable[int] | None = None, threshold: float = 0.15, scale: str = "max"
) -> list[Seams]:
    """Read every base of the regions four times and compare; what is compared stands at the head of this module.

    Memory is bounded by the window and by features x bins. The context and least context of the source play no part.

    Parameters
    ----------
    source : Source
        Model, SAE, genome, regions and read strands.
    features : iterable of int, optional
        Feature ids; default all. With ``scale="max"`` dead features are left out: they have no maximum.
    threshold, scale
        See `SAE.cutoffs`; differences are in the same units as the threshold.

    Returns
    -------
    list of Seams
        One for each read strand.

    Raises
    ------
    SaeTracksError
        The window is shorter than 4 bases, all features are dead, or no base has a reading to compare with.
    """
    sae, edges = source.sae, context_bins(source.layout.window, source.lm.causal)
    units = sae.maxima() if scale == "max" else np.ones(sae.d_sae, np.float32)
    ids = sae.check_features(range(sae.d_sae) if features is None else features).numpy()
    ids = ids[units[ids] > 0]
    if not len(ids):
        raise SaeTracksError("all features asked for are dead, without a maximum: ask for others, or use --scale raw")
    encoder, cutoffs = SparseEncoder.of(sae, ids.tolist()), sae.cutoffs(threshold, scale)
    measured = []
    for strand in source.read_strands:
        tally = _Tally(edges, units, cutoffs)
        shifts = (i * source.layout.window // PHASES for i in range(PHASES))
        for readings in _aligned([_phase(source, encoder, strand, shift) for shift in shifts]):
            tally.add(readings)
        if not tally.bases.any():
            where = "read before it" if source.lm.causal else "on either side of it"
            raise SaeTracksError(
                f"no base of the regions can be compared: it must be readable and have {edges[-1]:,} bases {where} "
                "up to a long run of N; ask for other regions or a smaller --window-size"
            )
        measured.append(tally.seams(strand, source, ids))
    return measured


@dataclass(frozen=True, slots=True)
class _Part:
    """Consecutive bases as one of the four readings has them: (n,) context, (n, d_sae) values."""

    region: GenomicRegion
    readable: NDArray[np.bool_]
    context: NDArray[np.int32]
    values: csr_array

    def clip(self, start: int, end: int) -> "_Part":
        rows = slice(start - self.region.start, end - self.region.start)
        region = GenomicRegion(self.region.contig, start, end)
        return _Part(region, self.readable[rows], self.context[rows], self.values[rows])


def _phase(source: Source, encoder: SparseEncoder, read_strand: ReadStrand, shift: int) -> Iterator[_Part]:
    """The regions, read by windows that lie end to end, the first of them shorter by `shift`."""
    laid = WindowLayout(source.layout.window, before=0, shift=shift)
    windows = plan_windows(source.genome, source.regions, layout=laid, read_strand=read_strand)
    readings = read_windows(source.lm, source.genome, windows, source.black_list)
    if not shift:  # one bar for all: the phases advance together
        readings = track(readings, f"reading {read_strand}, {PHASES} times", len(windows))
    for window, reading in zip(windows, readings, strict=True):
        context = reading.context
        if not source.lm.causal:
            context = np.minimum(context, len(window.fed) - 1 - context)
        for block in encode_reading(encoder, reading):
            shape = len(block.region), source.sae.d_sae
            values = csr_array((block.value, block.feature, block.indptr), shape=shape)
            first = block.region.start - reading.region.start
            yield _Part(block.region, block.readable, context[first : first + len(block.region)], values)


def _aligned(phases: Sequence[Iterator[_Part]]) -> Iterator[list[_Part]]:
    """The same bases from every phase, cut where a part of any of them ends; all phases cover the same bases."""
    heads = [next(phase) for phase in phases]
    while heads:
        start, end = max(head.region.start for head in heads), min(head.region.end for head in heads)
        yield [head.clip(start, end) for head in heads]
        following = (head if head.region.end > end else next(phase, None) for head, phase in zip(heads, phases))
        heads = [head for head in following if head]  # the phases end together


class _Tally:
    """Sums over bases in bins of context, for all d_sae features."""

    def __init__(self, edges: NDArray[np.int64], units: NDArray[np.float32], cutoffs: NDArray[np.float32]) -> None:
        self.edges, self.units, self.cutoffs = edges, units, cutoffs
        self.shape = len(edges) - 1, len(units)
        cells = self.shape[0] * self.shape[1]
        self.bases = np.zeros(self.shape[0], np.int64)
        self.total, self.largest = np.zeros(cells), np.zeros(cells, np.float32)
        self.both, self.either = np.zeros(cells, np.int64), np.zeros(cells, np.int64)

    def add(self, readings: Sequence[_Part]) -> None:
        """Compare the readings of some bases with the one that has the most context, base by base."""
        context = np.stack([reading.context for reading in readings])
        best, enough = context.argmax(axis=0), context.max(axis=0) >= self.edges[-1]
        for i, one in enumerate(readings):
            short = one.readable & enough & (context[i] < self.edges[-1])
            for j, reference in enumerate(readings):
                rows = np.flatnonzero(short & (best == j))
                if i != j and len(rows):
                    bins = np.searchsorted(self.edges, context[i, rows], side="right") - 1
                    self._compare(one.values[rows], reference.values[rows], bins)

    def _compare(self, values: csr_array, reference: csr_array, bins: NDArray[np.int64]) -> None:
        self.bases += np.bincount(bins, minlength=len(self.bases))
        difference = abs(values - reference)
        relative, cells = difference.data / self.units[difference.indices], self._cells(difference, bins)
        self.total += np.bincount(cells, relative, minlength=len(self.total))
        np.maximum.at(self.largest, cells, relative)
        first, second = self._active(values), self._active(reference)
        for count, active in ((self.both, first.multiply(second)), (self.either, first.maximum(second))):
            count += np.bincount(self._cells(active, bins), minlength=len(count))

    def _cells(self, matrix: csr_array, bins: NDArray[np.int64]) -> NDArray[np.int64]:
        """(nnz,) int64: bin x d_sae + feature of every entry of a (bases x features) matrix."""
        return np.repeat(bins, np.diff(matrix.indptr)) * self.shape[1] + matrix.indices

    def _active(self, values: csr_array) -> csr_array:
        """True where a value is above the cutoff of its feature, and no other entries."""
        above = values.data > self.cutoffs[values.indices]
        indptr = np.concatenate(([0], np.cumsum(above)))[values.indptr]
        return csr_array((above[above], values.indices[above], indptr), shape=values.shape)

    def seams(self, read_strand: ReadStrand, source: Source, ids: NDArray[np.int64]) -> Seams:
        """What was found for some features, in the bins that bases fell in."""
        bins = np.flatnonzero(self.bases)
        context = np.stack([self.edges[:-1], self.edges[1:]], axis=1)[bins]
        counts = (
            sums.reshape(self.shape)[np.ix_(bins, ids)] for sums in (self.total, self.largest, self.both, self.either)
        )
        return Seams(read_strand, source.layout.window, source.lm.causal, context, self.bases[bins], ids, *counts)
