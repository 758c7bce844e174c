"""Pairs of features and concepts on the readable bases of the REPORT half, where every control measures them.

These bases are numbered anew, from 0 to m - 1 and ascending, so no measurement has to ask again whether a base counts.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.controls.sample import REPORT, Columns, Sample, Sites
from sae_tracks.jit import FAST


@dataclass(frozen=True, slots=True)
class Pairs:
    """p features, each for a concept, which is numbered as in `Sites`."""

    concept: NDArray[np.int64]
    feature: NDArray[np.int64]
    cutoff: NDArray[np.float32]  # activation, >= 0: the feature is active if its value is strictly greater

    def __len__(self) -> int:
        return len(self.concept)


def f1_of(tp: NDArray, both: NDArray) -> NDArray[np.float64]:
    """F1 from true positives and from active plus labelled bases, of any shape; NaN if there are none of the latter."""
    both = np.broadcast_to(both, np.broadcast_shapes(tp.shape, both.shape))
    return np.divide(2.0 * tp, both, out=np.full(both.shape, np.nan), where=both > 0)


class Reported:
    """Pairs on the m readable bases of the REPORT half.

    Attributes
    ----------
    base : (m,) int64
        The number in the sample of each base.
    rank : (n + 1,) int64
        How many of these bases lie before each base of the sample: its interval [s, e) holds ``rank[s]:rank[e]``.
    bin, bins : (m,) int64, int
        The bin of each base, counted from 0 over the REPORT bins that have a readable base, and the number of bins.
    stretch : (s + 1,) int64
        The first base of every run without a gap in the sequence, inside one bin; and m.
    labels : Columns
        (m x concepts).
    features : Columns
        (m x distinct features); pair i has the column ``column[i]``.
    """

    def __init__(self, sample: Sample, sites: Sites, pairs: Pairs) -> None:
        counted = sample.in_half(REPORT)
        self.sample, self.sites, self.pairs = sample, sites, pairs
        self.base = np.flatnonzero(counted)
        self.rank = np.concatenate(([0], np.cumsum(counted)))
        bin_in_sample = sample.bin_of_base()[self.base]
        distinct, self.bin = np.unique(bin_in_sample, return_inverse=True)
        self.bins = len(distinct)
        breaks = (np.diff(self.base) > 1) | (np.diff(bin_in_sample) > 0)
        m = len(self.base)
        self.stretch = np.concatenate(([0], np.flatnonzero(breaks) + 1, [m])) if m else np.zeros(1, np.int64)
        self.labels = _renumbered(sites.labels, np.arange(len(sites.labels)), counted, self.rank)
        features, self.column = np.unique(pairs.feature, return_inverse=True)
        self.features = _renumbered(sample.features, features, counted, self.rank)

    def __len__(self) -> int:
        return len(self.base)

    def active(self, pair: int) -> NDArray[np.int32]:
        """Return the bases on which the feature of a pair is active, ascending."""
        base, value = self.features[self.column[pair]]
        return base[value > self.pairs.cutoff[pair]]

    def instances(self, concept: int) -> NDArray[np.int64]:
        """Return the rows in `sites` of the instances of a concept that hold at least one of the bases."""
        of = self.sites.of(concept)
        held = self.rank[self.sites.end[of]] > self.rank[self.sites.start[of]]
        return of.start + np.flatnonzero(held)

    def count(self, group: NDArray[np.int64], groups: int) -> tuple[NDArray[np.int64], ...]:
        """Count the bases of every pair by group; `group` is the group of each base, from 0.

        Returns
        -------
        tp, active, labelled : (p, groups) int64
        """
        counts = tuple(np.zeros((len(self.pairs), groups), np.int64) for _ in range(3))
        labels, features, pairs = self.labels, self.features, self.pairs
        _count(
            *(labels.indptr, labels.base, features.indptr, features.base, features.value),
            *(pairs.concept, self.column, pairs.cutoff, group, *counts),
        )
        return counts


def _renumbered(
    columns: Columns, which: NDArray[np.int64], counted: NDArray[np.bool_], rank: NDArray[np.int64]
) -> Columns:
    """Some columns, on the counted bases alone, by their new numbers."""
    bases, values = [np.empty(0, np.int32)], [np.empty(0, np.float32)]
    for column in which.tolist():
        base, value = columns[column]
        kept = counted[base]
        bases.append(rank[base[kept]].astype(np.int32))
        values.append(value[kept])
    indptr = np.cumsum([len(base) for base in bases])
    return Columns(indptr, np.concatenate(bases), np.concatenate(values))


@njit(**FAST)
def _count(label_at, label, active_at, base, value, concept, column, cutoff, group, tp, active, labelled):
    """Walk along the two ascending lists of each pair at once, and count into its row of the three tables."""
    for p in range(len(concept)):
        at, end = label_at[concept[p]], label_at[concept[p] + 1]
        for i in range(at, end):
            labelled[p, group[label[i]]] += 1
        for i in range(active_at[column[p]], active_at[column[p] + 1]):
            if not value[i] > cutoff[p]:
                continue
            while at < end and label[at] < base[i]:
                at += 1
            active[p, group[base[i]]] += 1
            if at < end and label[at] == base[i]:
                tp[p, group[base[i]]] += 1
