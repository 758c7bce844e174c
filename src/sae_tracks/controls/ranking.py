"""How well a feature ranks bases and sites by its activation, without any cut-off.

Average precision is sum over n of (R_n - R_(n-1)) P_n, where P_n and R_n are precision and recall at the n-th highest
distinct score; items of equal score are taken together, and all that score 0 come last (scikit-learn's definition).
"""

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.stats import spearmanr

from sae_tracks.controls.pairs import Reported
from sae_tracks.jit import HOW

MIN_SITES = 10  # with a score, for a correlation


def rankings(reported: Reported) -> pd.DataFrame:
    """Average precision of bases and of sites, and the correlation of a site's activation with its score.

    A site's activation is the feature's maximum over its bases. Sites are ranked among windows that no site of the
    concept touches: of the concept's median width, laid end to end from the left of every run of consecutive readable
    bases without a label, the rest of a run left out. So the precision that chance reaches is the share of sites among
    sites and windows, not the share of labelled bases.

    Returns
    -------
    DataFrame
        A row a pair: ``average_precision`` (NaN without a labelled base), ``site_average_precision`` (NaN without a
        site) and ``spearman``, of the annotation's score (NaN with fewer than 10 scored sites, or where score or
        activation is the same on all).
    """
    order = _order(reported)
    rows = [
        (_base_level(reported, i, order), *_site_level(reported, i, int(concept)))
        for i, concept in enumerate(reported.pairs.concept)
    ]
    return pd.DataFrame(rows, columns=["average_precision", "site_average_precision", "spearman"], dtype=float)


def average_precision(scores: NDArray[np.float32], positive: NDArray[np.bool_], positives: int, items: int) -> float:
    """Average precision over items of which only those that score above 0 are given.

    Parameters
    ----------
    scores : (k,) float32
        Descending, > 0.
    positive : (k,) bool
    positives, items : int
        In all, those that score 0 among them.
    """
    if not positives:
        return np.nan
    return _average_precision(scores, positive, positives, items)


def _order(reported: Reported) -> list[NDArray[np.int64]]:
    """Of every feature, its entries by descending activation."""
    return [np.argsort(-reported.features[column][1], kind="stable") for column in range(len(reported.features))]


def _base_level(reported: Reported, pair: int, order: list[NDArray[np.int64]]) -> float:
    column = reported.column[pair]
    base, value = reported.features[column]
    label, _ = reported.labels[reported.pairs.concept[pair]]
    first = order[column]
    return average_precision(value[first], _member(base, label)[first], len(label), len(reported))


def _site_level(reported: Reported, pair: int, concept: int) -> tuple[float, float]:
    sites, rank, rows = reported.sites, reported.rank, reported.instances(concept)
    if not len(rows):
        return np.nan, np.nan
    start, end = sites.start[rows], sites.end[rows]
    base, value = reported.features[reported.column[pair]]
    activation = _highest(base, value, rank[start], rank[end])
    label, _ = reported.labels[concept]
    width = int(np.median(end - start))
    windows, highest = _unlabelled_windows(base, value, label, reported.stretch, width)
    scores = np.concatenate((activation, highest))
    positive = np.arange(len(scores)) < len(activation)
    first = np.argsort(-scores, kind="stable")
    first = first[scores[first] > 0]
    average = average_precision(scores[first], positive[first], len(rows), len(rows) + windows)
    return average, _correlation(sites.score[rows], activation)


def _correlation(score: NDArray[np.float64], activation: NDArray[np.float32]) -> float:
    """Spearman's, over the sites that have a score."""
    scored = np.isfinite(score)
    score, activation = score[scored], activation[scored]
    if len(score) < MIN_SITES or np.ptp(score) == 0 or np.ptp(activation) == 0:
        return np.nan
    return float(spearmanr(score, activation).statistic)


@njit(**HOW)
def _average_precision(scores, positive, positives, items):
    total, found, tied = 0.0, 0, 0
    for i in range(len(scores)):
        tied += positive[i]
        if i + 1 == len(scores) or scores[i + 1] < scores[i]:
            found += tied
            total += tied * (found / (i + 1))
            tied = 0
    return (total + (positives - found) * (positives / items)) / positives


@njit(**HOW)
def _member(base, label):
    """(k,) bool: which of some ascending bases are among others."""
    found = np.zeros(len(base), np.bool_)
    at = 0
    for i in range(len(base)):
        while at < len(label) and label[at] < base[i]:
            at += 1
        found[i] = at < len(label) and label[at] == base[i]
    return found


@njit(**HOW)
def _highest(base, value, start, end):
    """(m,) float32: the highest value in each interval, 0 where there is none."""
    highest = np.zeros(len(start), np.float32)
    for i in range(len(start)):
        at = np.searchsorted(base, start[i])
        while at < len(base) and base[at] < end[i]:
            highest[i] = max(highest[i], value[at])
            at += 1
    return highest


@njit(**HOW)
def _unlabelled_windows(base, value, label, stretch, width):
    """How many windows there are, and the highest value in each of those where one is above 0."""
    highest = np.empty(len(base), np.float32)
    windows, kept, at, entry = 0, 0, 0, 0
    for s in range(len(stretch) - 1):
        start = stretch[s]
        while start < stretch[s + 1]:
            labelled = at < len(label) and label[at] < stretch[s + 1]
            end = label[at] if labelled else stretch[s + 1]
            at += labelled
            last = -1
            while entry < len(base) and base[entry] < end:
                window = (base[entry] - start) // width if base[entry] >= start else -1
                if window >= 0 and start + (window + 1) * width <= end:
                    if window > last:
                        highest[kept] = value[entry]
                        kept += 1
                    highest[kept - 1] = max(highest[kept - 1], value[entry])
                    last = window
                entry += 1
            windows += (end - start) // width
            start = end + 1 if labelled else end
    return windows, highest[:kept]
