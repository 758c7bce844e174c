"""The best of many explanations of every concept: chosen on one half of a sample, measured on the other."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.controls.sample import REPORT, SELECT, Columns
from sae_tracks.jit import FAST
from sae_tracks.threads import in_threads

CONCEPTS = 8  # counted by one thread at a time; nucleotides cover a quarter of the bases each


@dataclass(frozen=True, slots=True)
class Cells:
    """Which columns are active at every base, and how many of its thresholds a column exceeds there.

    Base i owns the entries ``indptr[i]:indptr[i + 1]`` of `cell`, at most one per column. An entry is
    ``column * depth + t`` if the base exceeds the column's thresholds 0 to t, ascending, and no other; -1 if none.
    """

    indptr: NDArray[np.int64]
    cell: NDArray[np.int32]
    columns: int
    depth: int = 1  # thresholds per column


def cells_of(features: Columns, cutoffs: NDArray[np.float32], n: int) -> Cells:
    """(n x K) features as cells; `cutoffs`, (T, K), ascend along T, and active values are strictly greater."""
    rows = features.matrix(n).tocsr()
    cell = cells_above(rows.indices, rows.data, np.ascontiguousarray(cutoffs.T))
    return Cells(rows.indptr.astype(np.int64), cell, len(features), len(cutoffs))


@njit(**FAST)
def cells_above(column, value, cuts):
    """(nnz,) int32: the cells of entries, from their columns, values, and the (K, T) cuts; see `Cells`."""
    depth = cuts.shape[1]
    cell = np.empty(len(column), np.int32)
    for e in range(len(column)):
        above = 0
        while above < depth and value[e] > cuts[column[e], above]:
            above += 1
        cell[e] = column[e] * depth + above - 1 if above > 0 else -1
    return cell


@dataclass(frozen=True, slots=True)
class Best:
    """For each of C concepts the column and threshold with the best F1 on the select half.

    If several are equally good, they are the first column and its lowest threshold. Both are -1, `select_f1` is 0 and
    `f1` is NaN if no column has a base in common with the concept on the select half.
    """

    column: NDArray[np.int64]
    threshold: NDArray[np.int64]
    select_f1: NDArray[np.float64]
    f1: NDArray[np.float64]  # on the report half; NaN also if neither column nor concept has a base there

    @classmethod
    def none(cls, concepts: int) -> Self:
        """No column yet."""
        nothing = np.full(concepts, -1)
        return cls(nothing, nothing.copy(), np.zeros(concepts), np.full(concepts, np.nan))

    def or_better(self, other: "Best", first: int) -> "Best":
        """The better of two for each concept, this one if they tie; the other's columns count from `first`."""
        better = other.select_f1 > self.select_f1
        return Best(
            np.where(better, other.column + first, self.column),
            np.where(better, other.threshold, self.threshold),
            np.where(better, other.select_f1, self.select_f1),
            np.where(better, other.f1, self.f1),
        )


def best(cells: Cells, labels: Columns, half: NDArray[np.int8]) -> Best:
    """Choose a column and a threshold for every concept.

    Parameters
    ----------
    labels : Columns
        (n x C), readable bases only; its values are ignored.
    half : (n,) int8
        From `Sample.half_of_base`.
    """
    active = np.zeros((2, cells.columns * cells.depth), np.int64)
    _count_active(half, cells.indptr, cells.cell, active)
    by_cell = active.reshape(2, cells.columns, cells.depth)
    active = np.ascontiguousarray(np.flip(np.cumsum(np.flip(by_cell, 2), 2), 2))
    found = Best.none(len(labels))

    def choose(some: slice) -> None:
        arrays = (labels.indptr[some.start : some.stop + 1], labels.base, half, cells.indptr, cells.cell, active)
        _choose(*arrays, found.column[some], found.threshold[some], found.select_f1[some], found.f1[some])

    with in_threads() as each:
        each(choose, len(labels), CONCEPTS)
    return found


def best_cut(
    score: NDArray[np.float64], labelled: NDArray[np.bool_], half: NDArray[np.int8]
) -> tuple[float, float, float]:
    """Find the cut of one score, active if it is reached, with the best F1 on the select half.

    Only scores of labelled bases can be best, so all of these are tried. `half` is from `Sample.half_of_base`.

    Returns
    -------
    cut, select_f1, f1 : float
        All NaN if no base of the select half is labelled.
    """
    chooses, reports = half == SELECT, half == REPORT
    cuts, counts = np.unique(score[chooses & labelled], return_counts=True)
    if not len(cuts):
        return np.nan, np.nan, np.nan
    hits = np.cumsum(counts[::-1])[::-1]
    active = np.count_nonzero(chooses) - np.searchsorted(np.sort(score[chooses]), cuts)
    f1 = 2 * hits / (active + hits[0])
    cut = cuts[f1.argmax()]
    reached = reports & (score >= cut)
    both = np.count_nonzero(reached) + np.count_nonzero(reports & labelled)
    return float(cut), float(f1.max()), 2 * np.count_nonzero(reached & labelled) / both if both else np.nan


@njit(**FAST)
def _count_active(half, indptr, cell, active):
    """Add the entries of each cell to ``active``, (2, cells), by half."""
    for i in range(len(half)):
        if half[i] >= 0:
            for j in range(indptr[i], indptr[i + 1]):
                if cell[j] >= 0:
                    active[half[i], cell[j]] += 1


@njit(**FAST)
def _choose(label_ptr, label_base, half, indptr, cell, active, column, threshold, select_f1, report_f1):
    """Fill in the best of some concepts, whose labels are ``label_base[label_ptr[c]:label_ptr[c + 1]]``.

    ``active`` is (2, columns, depth): bases above each threshold.
    """
    columns, depth = active.shape[1:]
    hits = np.empty((2, columns * depth), np.int32)
    for c in range(len(column)):
        hits[:] = 0
        labelled = np.zeros(2, np.int64)
        for i in range(label_ptr[c], label_ptr[c + 1]):
            base = label_base[i]
            labelled[half[base]] += 1
            for j in range(indptr[base], indptr[base + 1]):
                if cell[j] >= 0:
                    hits[half[base], cell[j]] += 1
        for k in range(columns):
            chosen, report = 0, 0
            best_here, at, reported = 0.0, 0, 0
            for t in range(depth - 1, -1, -1):
                chosen += hits[SELECT, k * depth + t]
                report += hits[REPORT, k * depth + t]
                if chosen > 0:
                    f1 = 2.0 * chosen / (labelled[SELECT] + active[SELECT, k, t])
                    if f1 >= best_here:
                        best_here, at, reported = f1, t, report
            if best_here > select_f1[c]:
                column[c], threshold[c], select_f1[c] = k, at, best_here
                report_f1[c] = 2.0 * reported / (labelled[REPORT] + active[REPORT, k, at])
