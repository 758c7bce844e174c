"""Pairs of a feature and a concept, base by base: F1 with its interval, lag, rank correlation, and offset profiles."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.stats import spearmanr

from sae_tracks.arrays import ratio
from sae_tracks.bootstrap import draws_of, interval
from sae_tracks.controls.gather import FEATURES
from sae_tracks.controls.items import highest
from sae_tracks.controls.view import Pairs, View
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.jit import FAST

MIN_SITES = 10  # with a score, for a correlation
FARTHEST = 1000  # bases, for a lag: greater ones count as this
REACH = 50  # bases on either side of an anchor
ANCHORS = ("start", "end")


class ByBase:
    """What is counted of the pairs base by base, tile by tile."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self._tp, self._active, self._labelled = (np.zeros((len(pairs), pairs.blocks), np.int64) for _ in range(3))
        self._readable = 0
        self._lags = np.zeros((len(pairs), FARTHEST + 1), np.int64)
        self._offsets = np.zeros((len(pairs), len(ANCHORS), 2, 2 * REACH + 1), np.int64)
        self._scored: list[list[tuple[NDArray, NDArray]]] = [[] for _ in range(len(pairs))]

    def wanted(self) -> Mapping[str, NDArray[np.int64]]:
        return {FEATURES: self.pairs.feature}

    def add(self, view: View) -> None:
        self._readable += int(view.tile.covered[-1])
        for pair in range(len(self.pairs)):
            self._add(pair, view)

    def _add(self, pair: int, view: View) -> None:
        tile, n, concept = view.tile, len(view.tile), int(self.pairs.concept[pair])
        base, level = view.active(FEATURES, int(self.pairs.feature[pair]))
        start, end = view.labels.instances(concept)
        on = base[level > self.pairs.threshold[pair]]
        counts = self._tp[pair], self._active[pair], self._labelled[pair]
        _count_bases(start, end, on, tile.readable, tile.block, *counts)
        if concept < len(NUCLEOTIDES):
            return
        forward, mirrored = tile.read_strand == "+", self.pairs.site_strand[pair] == "-"
        begins = (start >= 0) if forward else (end <= n)
        first, last = np.clip(start, 0, n)[begins], np.clip(end, 0, n)[begins]
        _count_lags(first, last, on, forward, self._lags[pair])
        _profile(start[begins], end[begins], mirrored, tile.readable, on, self._offsets[pair])
        scores = view.labels.scores(concept)[begins]
        self._scored[pair].append((scores.astype(np.float32), highest(first, last, base, level)))

    def table(self) -> pd.DataFrame:
        """``f1_low`` and ``f1_high``, the 95 % interval by a bootstrap over blocks; ``bins``; ``spearman``; ``lag``."""
        blocks = self.pairs.blocks
        draws = draws_of(blocks, self.pairs.seed)
        both = draws @ (self._active + self._labelled).T  # (draws, p)
        f1 = ratio(2 * (draws @ self._tp.T), both)
        ends = np.array([interval(column) for column in f1.T]).reshape(-1, 2)
        return pd.DataFrame(
            {
                "f1_low": ends[:, 0],
                "f1_high": ends[:, 1],
                "bins": blocks,
                "spearman": [_correlation(parts) for parts in self._scored],
                "lag": [_median(counts) for counts in self._lags],
            }
        )

    def offsets(self) -> pd.DataFrame:
        """How often a feature is active at each distance from the start and from the end of a concept's sites.

        Distances are counted in the orientation of the site: offset 0 of ``start`` is its first base, offset 0 of
        ``end`` its last one, and positive offsets lie downstream. On site strand ``-`` all is mirrored; ``.`` is taken
        as ``+``. A site counts at an offset if its base there is readable and on the same tile of the report half.

        Returns
        -------
        DataFrame
            One row per (pair, anchor, offset), in this order; a concept without instances (A, C, G, T) has none.
            ``concept``, ``site_strand``, ``feature`` (its id), ``read_strand``, ``reading`` (``along`` if the model
            reads the site from its start to its end, else ``against``), ``anchor`` (start, end), ``offset`` (-50 to
            50, bases), ``active_share`` (NaN without a site), ``sites`` (int64, counted at this offset), ``background``
            (the share of readable bases of the report half on which the feature is active).
        """
        shown = np.flatnonzero(self._offsets.any(axis=(1, 2, 3)))
        width = 2 * REACH + 1
        each = np.repeat(shown, len(ANCHORS) * width)
        site_strand, read_strand = self.pairs.site_strand, self.pairs.read_strand
        mirrored = (site_strand[each] == "-") != (read_strand == "-")
        sites, active = self._offsets[shown, :, 0].ravel(), self._offsets[shown, :, 1].ravel()
        background = self._active.sum(axis=1) / max(self._readable, 1)
        return pd.DataFrame(
            {
                "concept": self.pairs.concepts["concept"].to_numpy(object)[self.pairs.concept[each]],
                "site_strand": site_strand[each],
                "feature": self.pairs.feature[each],
                "read_strand": read_strand,
                "reading": np.where(mirrored, "against", "along"),
                "anchor": np.tile(np.repeat(ANCHORS, width), len(shown)),
                "offset": np.tile(np.arange(-REACH, REACH + 1), len(ANCHORS) * len(shown)),
                "active_share": ratio(active, sites),
                "sites": sites,
                "background": background[each],
            }
        )


def _correlation(parts: list[tuple[NDArray, NDArray]]) -> float:
    """Spearman's, of the scores of sites and their levels, over the sites that have a score."""
    if not parts:
        return np.nan
    score, level = (np.concatenate(arrays) for arrays in zip(*parts))
    scored = np.isfinite(score)
    score, level = score[scored], level[scored]
    if len(score) < MIN_SITES or np.ptp(score) == 0 or np.ptp(level) == 0:
        return np.nan
    return float(cast(Any, spearmanr(score, level)).statistic)


def _median(counts: NDArray[np.int64]) -> float:
    """The median of a histogram of 0, 1, 2 ...; NaN if it is empty."""
    total = counts.sum()
    if not total:
        return np.nan
    below = np.cumsum(counts)
    low, high = np.searchsorted(below, ((total - 1) // 2, total // 2), side="right")
    return float(low + high) / 2


@njit(**FAST)
def _count_bases(start, end, on, readable, block, tp, active, labelled):
    """Add readable bases by block; instances ascend by start, and a base of several counts once."""
    n, at, covered = len(readable), 0, 0
    for base in on:
        active[block[base]] += 1
    for i in range(len(start)):
        first, last = max(start[i], covered), min(end[i], n)
        for base in range(first, last):
            labelled[block[base]] += readable[base]
        while at < len(on) and on[at] < first:
            at += 1
        while at < len(on) and on[at] < last:
            tp[block[on[at]]] += 1
            at += 1
        covered = max(covered, last)


@njit(**FAST)
def _count_lags(start, end, on, forward, lags):
    """Add, for every site that is hit, the bases read between its first base and the first active one."""
    for i in range(len(start)):
        low, high = np.searchsorted(on, start[i]), np.searchsorted(on, end[i])
        if high > low:
            lag = on[low] - start[i] if forward else end[i] - 1 - on[high - 1]
            lags[min(lag, len(lags) - 1)] += 1


@njit(**FAST)
def _profile(start, end, mirrored, readable, on, counts):
    """Add the sites to (anchors, 2, offsets): those whose base counts, and the active ones among them."""
    step = -1 if mirrored else 1
    active = np.zeros(len(readable), np.bool_)
    active[on] = True
    for i in range(len(start)):
        for anchor in range(2):
            at = start[i] if (anchor == 0) != mirrored else end[i] - 1
            for offset in range(counts.shape[2]):
                base = at + step * (offset - counts.shape[2] // 2)
                if 0 <= base < len(readable) and readable[base]:
                    counts[anchor, 0, offset] += 1
                    counts[anchor, 1, offset] += active[base]
