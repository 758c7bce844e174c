"""Seams: how much a track depends on where its windows begin.

A model sees no base outside its window, so an activation depends on the base's context: the number of bases before it
in the window or, if the model is not causal, between it and the nearer end of the window. Where one window follows
another, a track steps from the context of a whole window down to that of ``--context``: a seam.

Every base is read four times, by windows that begin a quarter of a window apart, so its readings differ by quarters of
a window in context. The reading with the most context, at least three quarters of the window (not causal: of half the
window), is the reference. The other three are compared with it, each in the bin of its own context. The bin 512-767
thus says how readings after 512 to 767 bases differ from readings of the same bases after three quarters of a window or
more. How these would differ from a longer window is not measured: the filters of HyenaDNA never decay to zero, so no
context is exact.

Bases without a reference are left out: those in the first three quarters of a window of a stretch between long runs of
N, in the direction of reading (not causal: in the outer three eighths at either end).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sae_tracks.arrays import ratio
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import encode_reading
from sae_tracks.files import atomic, write_tsv
from sae_tracks.names import feature_name
from sae_tracks.progress import track
from sae_tracks.reading import WindowLayout, most_after, plan_windows, read_windows
from sae_tracks.regions import GenomicRegion, ReadStrand
from sae_tracks.sae.encoder import SparseEncoder
from sae_tracks.source import Source

PHASES = 4  # readings of each base
TABLE, BY_FEATURE = "seams.tsv", "seams_by_feature.parquet"
AGREEMENT = 0.95  # Jaccard index from which on two sets of bases pass for the same
RARE = 20  # active bases; the index of fewer is mostly chance


@dataclass(frozen=True, slots=True)
class Seams:
    """Readings with little context against readings with much, in b bins of context, for k features."""

    read_strand: ReadStrand
    window: int  # bases read at once
    causal: bool  # if not, context is the distance to the nearer end of the window
    context: NDArray[np.int64]  # (b, 2) bins: from, to, half-open, in bases, ascending; empty bins are left out
    bases: NDArray[np.int64]  # (b,) readings compared
    features: NDArray[np.int64]  # (k,) ids, ascending
    # (b, k) float64 and float32: sum and maximum of the absolute differences, as fractions of the feature's maximum or,
    # with scale="raw", in activations
    total: NDArray[np.float64]
    largest: NDArray[np.float32]
    both: NDArray[np.int64]  # (b, k) bases active in both readings
    either: NDArray[np.int64]  # (b, k) bases active in at least one
    most_after: int = 0  # if causal: bases of --context, but at most half of it, that complete tokens and lie behind

    def by_context(self) -> pd.DataFrame:
        """Return ``seams.tsv``: one row per bin.

        ``mean_difference`` is the mean over bases and features. The means of 95 % of the features stay below
        ``p95_difference``. ``max_difference`` is the largest of any base and feature. ``jaccard`` is bases active in
        both readings over those active in either, summed over the features; NaN if none is active. A feature that is
        active on fewer than `RARE` bases of the bin is too rare to say; ``rare`` is the number of these, ``features``
        that of the others. Of the others are ``jaccard_median``, ``jaccard_min`` and the feature with it, ``worst``.
        """
        mean, each = self.total / self.bases[:, None], self._jaccards()
        known = ~np.isnan(each)
        lowest = np.where(known, each, np.inf).argmin(axis=1)
        names = [feature_name(i) for i in self.features[lowest].tolist()]
        worst = [name if judged else "" for name, judged in zip(names, np.any(known, axis=1).tolist())]
        columns = {
            "read_strand": self.read_strand,
            "context_from": self.context[:, 0],
            "context_to": self.context[:, 1],
            "bases": self.bases,
            "mean_difference": mean.mean(axis=1),
            "p95_difference": np.quantile(mean, 0.95, axis=1),
            "max_difference": self.largest.max(axis=1),
            "jaccard": ratio(self.both.sum(axis=1), self.either.sum(axis=1)),
            "jaccard_median": self._medians(),
            "jaccard_min": each[np.arange(len(each)), lowest],
            "worst": worst,
            "features": known.sum(axis=1),
            "rare": (~known).sum(axis=1),
        }
        return pd.DataFrame(columns)

    def by_feature(self) -> pd.DataFrame:
        """Return ``seams_by_feature.parquet``: one row per feature and bin."""
        bins, features = len(self.context), len(self.features)
        columns = {
            "feature": np.repeat([feature_name(i) for i in self.features.tolist()], bins),
            "read_strand": self.read_strand,
            "context_from": np.tile(self.context[:, 0], features),
            "context_to": np.tile(self.context[:, 1], features),
            "bases": np.tile(self.bases, features),
            "mean_difference": (self.total / self.bases[:, None]).T.ravel(),
            "max_difference": self.largest.T.ravel(),
            "active_both": self.both.T.ravel(),
            "active_either": self.either.T.ravel(),
            "jaccard": ratio(self.both, self.either).T.ravel(),
        }
        return pd.DataFrame(columns)

    def _jaccards(self) -> NDArray[np.float64]:
        """(b, k) Jaccard index of each feature; NaN if it is too rare."""
        return np.where(self.either >= RARE, ratio(self.both, self.either), np.nan)

    def _medians(self) -> NDArray[np.float64]:
        """(b,) median over the features that are not too rare; NaN if all are."""
        return pd.DataFrame(self._jaccards()).median(axis=1).to_numpy()

    def smallest_context(self) -> int | None:
        """Return the least ``--context`` from which on the median of every bin is at least `AGREEMENT`, if any.

        A bin is an average over its contexts, and the first base after a seam has the least of them. A bin in which all
        features are too rare is left out.
        """
        median = self._medians()
        measured = np.flatnonzero(~np.isnan(median))
        agrees = median[measured] >= AGREEMENT
        from_here_on = np.logical_and.accumulate(agrees[::-1])[::-1]
        if not from_here_on.any():
            return None
        return self._option(int(self.context[measured[from_here_on.argmax()], 0]))

    def _option(self, context: int) -> int:
        """Return the ``--context`` that gives every base this much context."""
        return context + (min(context, self.most_after) if self.causal else context)

    def advice(self, context: int) -> str:
        """One line: the least context that is enough and its cost, beside the agreement and the cost of `context`."""
        enough, top = self.smallest_context(), self._option(int(self.context[-1, 1]))
        found = f"not reached below --context {top:,}"
        if enough is not None:
            found = f"reached from --context {enough:,} on ({_cost(self.window, enough)})"
        half = context // 2
        distance = context - min(half, self.most_after) if self.causal else half
        here = np.flatnonzero((self.context[:, 0] <= distance) & (distance < self.context[:, 1]))
        agreement = "was not measured"
        for row in self.by_context().iloc[here].to_dict("records"):
            place = bin_text(row["context_from"], row["context_to"])
            agreement = f"has only features that are too rare to say at {place} bases"
            if row["features"]:
                rare = f", {row['rare']:,} of {len(self.features):,} features are too rare to say" * (row["rare"] > 0)
                lowest = f"{row['jaccard_min']:.3f} for the worst feature, {row['worst']}"
                agreement = f"has a median of {row['jaccard_median']:.3f} and {lowest}, at {place} bases{rare}"
        now = f"--context {context:,} {agreement} ({_cost(self.window, context)})"
        return (
            f"read strand {self.read_strand}: a Jaccard index of {AGREEMENT} for half of the features is {found}; {now}"
        )


def bin_text(start: int, end: int) -> str:
    """A half-open bin for people: its first and last context."""
    return f"{start:,}" if end == start + 1 else f"{start:,}-{end - 1:,}"


def _cost(window: int, context: int) -> str:
    return f"bases read {window / (window - context):.2f} times"


def write_seams(measured: Sequence[Seams], folder: Path) -> pd.DataFrame:
    """Write ``seams.tsv`` and ``seams_by_feature.parquet``, one read strand after the other; return the first table."""
    table = pd.concat([seams.by_context() for seams in measured], ignore_index=True)
    with atomic(folder / BY_FEATURE) as temporary:
        pd.concat([seams.by_feature() for seams in measured]).to_parquet(temporary, index=False)
    write_tsv(table, folder / TABLE)
    return table


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
    """Read every base of the regions four times and compare; return the result of each read strand.

    Memory is bounded by the window and by features x bins. The context and least context of the source are not used.

    Parameters
    ----------
    features : iterable of int, optional
        Feature ids; default all. With ``scale="max"`` dead features are left out, because they have no maximum.
    threshold, scale
        See `SAE.cutoffs`; differences are in the same units as the threshold.
    """
    sae, edges = source.sae, context_bins(source.layout.window, source.lm.causal)
    units = sae.maxima() if scale == "max" else np.ones(sae.d_sae, np.float32)
    ids = sae.check_features(range(sae.d_sae) if features is None else features).numpy()
    ids = ids[units[ids] > 0]
    if not len(ids):
        raise SaeTracksError("all features asked for are dead, without a maximum: ask for others, or use --scale raw")
    encoder, cutoffs = source.encoder(ids.tolist()), sae.cutoffs(threshold, scale)
    measured = []
    for strand in source.read_strands:
        tally = _Tally(edges, units, cutoffs)
        shifts = (i * source.layout.window // PHASES for i in range(PHASES))
        for readings in _aligned([_phase(source, encoder, strand, shift) for shift in shifts]):
            tally.add(readings)
        if not tally.bases.any():
            side = "read before it" if source.lm.causal else "on either side of it"
            raise SaeTracksError(
                f"no base of the regions can be compared: it must be readable and have {edges[-1]:,} bases {side} "
                "up to a long run of N; ask for other regions or a smaller --window-size"
            )
        measured.append(tally.seams(strand, source, ids))
    return measured


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Consecutive bases of one of the four readings: (n,) context, (n, d_sae) values."""

    region: GenomicRegion
    readable: NDArray[np.bool_]
    context: NDArray[np.int32]
    values: csr_array

    def clip(self, start: int, end: int) -> "_Stretch":
        rows = slice(start - self.region.start, end - self.region.start)
        region = GenomicRegion(self.region.contig, start, end)
        return _Stretch(region, self.readable[rows], self.context[rows], self.values[rows])


def _phase(source: Source, encoder: SparseEncoder, read_strand: ReadStrand, shift: int) -> Iterator[_Stretch]:
    """Yield the regions as read by windows that lie end to end, the first of them shorter by `shift`."""
    layout = WindowLayout(source.layout.window, before=0, shift=shift)
    windows = plan_windows(source.genome, source.regions, layout=layout, read_strand=read_strand)
    readings = read_windows(source.lm, source.genome, windows, source.black_list)
    if not shift:  # one bar for all: the phases advance together
        readings = track(readings, f"reading {read_strand}, {PHASES} times", len(windows))
    for window, reading in zip(windows, readings, strict=True):
        context = reading.context
        if not source.lm.causal:
            context = np.minimum(context, len(window.fed) - 1 - context)
        for block in encode_reading(encoder, reading):
            first = block.region.start - reading.region.start
            here = context[first : first + len(block.region)]
            yield _Stretch(block.region, block.readable, here, block.to_scipy())


def _aligned(phases: Sequence[Iterator[_Stretch]]) -> Iterator[list[_Stretch]]:
    """Yield the same bases of every phase, cut where a stretch of any phase ends; all phases cover the same bases."""
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

    def add(self, readings: Sequence[_Stretch]) -> None:
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
        """Return (nnz,) int64: bin x d_sae + feature of every entry of a (bases x features) matrix."""
        return np.repeat(bins, np.diff(matrix.indptr)) * self.shape[1] + matrix.indices

    def _active(self, values: csr_array) -> csr_array:
        """Return a matrix whose only entries are True, at the values above the cutoff of their feature."""
        above = values.data > self.cutoffs[values.indices]
        indptr = np.concatenate(([0], np.cumsum(above)))[values.indptr]
        return csr_array((above[above], values.indices[above], indptr), shape=values.shape)

    def seams(self, read_strand: ReadStrand, source: Source, ids: NDArray[np.int64]) -> Seams:
        """Return the sums of some features, in the bins that hold a base."""
        bins = np.flatnonzero(self.bases)
        context = np.stack([self.edges[:-1], self.edges[1:]], axis=1)[bins]
        window, causal, shape, cells = source.layout.window, source.lm.causal, self.shape, np.ix_(bins, ids)
        total, largest = self.total.reshape(shape)[cells], self.largest.reshape(shape)[cells]
        counts = (count.reshape(shape)[cells] for count in (self.both, self.either))
        sums = self.bases[bins], ids, total, largest, *counts
        return Seams(read_strand, window, causal, context, *sums, most_after=most_after(source.lm))
