"""Reported pairs on the bases that report: their sorted lists of active and of labelled bases, and counts of both.

Everything that is measured of a pair starts here. The readable bases of the REPORT half are numbered anew, from 0 to
m - 1 and ascending, so that nothing below has to ask again whether a base counts.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.controls.sample import REPORT, Columns, Sample, Sites
from sae_tracks.jit import HOW


@dataclass(frozen=True, slots=True)
class Pairs:
    """A feature for a concept.

    Attributes
    ----------
    concept : (p,) int64
        As numbered in `Sites`.
    feature : (p,) int64
        Ids of features.
    cutoff : (p,) float32
        In units of the activation, >= 0: the feature is active where its value is strictly greater.
    """

    concept: NDArray[np.int64]
    feature: NDArray[np.int64]
    cutoff: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.concept)


@dataclass(frozen=True, slots=True)
class Counted:
    """Of each pair and each group of bases, (p, groups) int64 each: true positives, active and labelled bases."""

    tp: NDArray[np.int64]
    active: NDArray[np.int64]
    labelled: NDArray[np.int64]

    @property
    def fp(self) -> NDArray[np.int64]:
        """False positives."""
        return self.active - self.tp

    @property
    def fn(self) -> NDArray[np.int64]:
        """False negatives."""
        return self.labelled - self.tp

    def f1(self) -> NDArray[np.float64]:
        """(p, groups): 2 TP / (2 TP + FP + FN), NaN where nothing is active or labelled."""
        return f1_of(self.tp, self.active + self.labelled)


def f1_of(tp: NDArray, both: NDArray) -> NDArray[np.float64]:
    """F1 of true positives and of active plus labelled bases, of any shape; NaN where the latter are none."""
    both = np.broadcast_to(both, np.broadcast_shapes(tp.shape, both.shape))
    return np.divide(2.0 * tp, both, out=np.full(both.shape, np.nan), where=both > 0)


class Reported:
    """Pairs on the readable bases of the REPORT half, which are numbered from 0.

    Parameters
    ----------
    sample : Sample
    sites : Sites
        Of the same bases.
    pairs : Pairs

    Attributes
    ----------
    base : (m,) int64
        The number in the sample of each base.
    rank : (n + 1,) int64
        How many of these bases lie before each base of the sample: the interval [s, e) of the sample holds
        ``rank[s]:rank[e]``.
    bin, bins : (m,) int64, int
        The bin of each base, counted from 0 over the REPORT bins that have a readable base, and how many there are.
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
        where = sample.bin_of_base()[self.base]
        distinct, self.bin = np.unique(where, return_inverse=True)
        self.bins = len(distinct)
        breaks = (np.diff(self.base) > 1) | (np.diff(where) > 0)
        m = len(self.base)
        self.stretch = np.concatenate(([0], np.flatnonzero(breaks) + 1, [m])) if m else np.zeros(1, np.int64)
        self.labels = _renumbered(sites.labels, np.arange(len(sites.labels)), counted, self.rank)
        features, self.column = np.unique(pairs.feature, return_inverse=True)
        self.features = _renumbered(sample.features, features, counted, self.rank)

    def __len__(self) -> int:
        return len(self.base)

    def active(self, pair: int) -> NDArray[np.int32]:
        """The bases on which the feature of a pair is active, ascending."""
        base, value = self.features[self.column[pair]]
        return base[value > self.pairs.cutoff[pair]]

    def instances(self, concept: int) -> NDArray[np.int64]:
        """Rows in `sites` of the instances of a concept that hold a readable base of the REPORT half."""
        of = self.sites.of(concept)
        held = self.rank[self.sites.end[of]] > self.rank[self.sites.start[of]]
        return of.start + np.flatnonzero(held)

    def count(self, group: NDArray[np.int64], groups: int) -> Counted:
        """Count every pair in each group of bases.

        Parameters
        ----------
        group : (m,) int64
            The group of each base, from 0.
        groups : int
        """
        tp, active, labelled = (np.zeros((len(self.pairs), groups), np.int64) for _ in range(3))
        labels, features, pairs = self.labels, self.features, self.pairs
        _count(
            *(labels.indptr, labels.base, features.indptr, features.base, features.value),
            *(pairs.concept, self.column, pairs.cutoff, group, tp, active, labelled),
        )
        return Counted(tp, active, labelled)

    def in_all(self) -> Counted:
        """Count every pair on all bases; (p, 1) each."""
        return self.count(np.zeros(len(self), np.int64), 1)


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


@njit(**HOW)
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
