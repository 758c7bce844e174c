"""How well a feature fits a concept: F1 with its interval, rankings without a cut-off, lag, and offset profiles."""

from typing import Any, cast

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.stats import spearmanr

from sae_tracks.controls.pairs import Pairs, Reported, f1_of
from sae_tracks.controls.sample import Sample, Sites
from sae_tracks.jit import HOW

DRAWS = 1000
INTERVAL = (2.5, 97.5)  # percentiles


def f1_intervals(reported: Reported, seed: int, draws: int = DRAWS) -> pd.DataFrame:
    """F1 and its 95 % percentile interval.

    Bases near each other share repeats, GC content and the features of one context, so whole bins (of 32,768 bases or
    more; shorter where a block of the region is) are drawn: as many as there are, with replacement, `draws` times. F1
    is computed from the sums over the bins drawn, all pairs on the same draws. With few bins the interval is too
    narrow, so their number is given.

    Parameters
    ----------
    reported : Reported
    seed : int
        The same seed draws the same bins.
    draws : int

    Returns
    -------
    DataFrame
        A row a pair: ``sample_f1``, ``f1_low``, ``f1_high``, ``bins``. NaN where nothing is active or labelled, in all
        bins or in every draw; draws in which nothing is are left out.
    """
    counted = reported.count(reported.bin, reported.bins)
    drawn = _draw(reported.bins, draws, seed)
    f1 = f1_of(drawn @ counted.tp.T, drawn @ (counted.active + counted.labelled).T)  # (draws, p)
    low, high = np.full((2, len(reported.pairs)), np.nan)
    some = np.isfinite(f1).any(axis=0)
    if some.any():
        low[some], high[some] = np.nanpercentile(f1[:, some], INTERVAL, axis=0)
    everywhere = f1_of(counted.tp.sum(axis=1), (counted.active + counted.labelled).sum(axis=1))
    return pd.DataFrame({"sample_f1": everywhere, "f1_low": low, "f1_high": high, "bins": reported.bins})


def _draw(bins: int, draws: int, seed: int) -> NDArray[np.float64]:
    """(draws, bins): how often each bin is drawn."""
    if not bins:
        return np.zeros((draws, 0))
    return np.random.default_rng(seed).multinomial(bins, np.full(bins, 1 / bins), draws).astype(np.float64)


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
    return float(cast(Any, spearmanr(score, activation)).statistic)


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


REACH = 50  # bases on either side of an anchor
ANCHORS = ("start", "end")


def lags(reported: Reported) -> NDArray[np.float64]:
    """Bases of a site that are read before the feature becomes active.

    In the direction in which the model reads, the distance from the first base of a site to the first one in the site
    on which the feature is active (0 also where it was active before the site began): the median over the sites that
    are hit, those with such a base. The median holds when up to half of the hits are chance.

    Returns
    -------
    (p,) float64
        NaN where no site is hit.
    """
    return np.array([_lag(reported, i, int(concept)) for i, concept in enumerate(reported.pairs.concept)], float)


def _lag(reported: Reported, pair: int, concept: int) -> float:
    rows, active = reported.instances(concept), reported.active(pair)
    start, end = reported.sites.start[rows], reported.sites.end[rows]
    low = np.searchsorted(active, reported.rank[start])
    high = np.searchsorted(active, reported.rank[end])
    hit = high > low
    if not hit.any():
        return np.nan
    if reported.sample.read_strand == "+":
        distance = reported.base[active[low[hit]]] - start[hit]
    else:
        distance = end[hit] - 1 - reported.base[active[high[hit] - 1]]
    return float(np.median(distance))


def offset_profiles(sample: Sample, sites: Sites, pairs: Pairs, concepts: pd.DataFrame) -> pd.DataFrame:
    """How often a feature is active at each distance from the start and from the end of a concept's sites.

    Distances are counted in the orientation of the site: offset 0 of ``start`` is its first base, offset 0 of ``end``
    its last one, positive offsets lie downstream; on site strand ``-`` all is mirrored, ``.`` is taken as ``+``. Sites
    are those of the REPORT half; at each offset those count whose base there is readable and in the same bin.

    Parameters
    ----------
    sample : Sample
    sites : Sites
        Of the same bases.
    pairs : Pairs
        Those to show. A concept without instances (A, C, G, T) has no row.
    concepts : DataFrame
        ``concept`` and ``site_strand`` of every concept, in the order of their numbers.

    Returns
    -------
    DataFrame
        A row a (pair, anchor, offset), in this order: ``concept``, ``site_strand``, ``feature`` (its id),
        ``read_strand``, ``reading`` (``along`` where the model reads the site from its start to its end, ``against``
        where it meets the end first), ``anchor`` (start, end), ``offset`` (-50 to 50, bases), ``active_share`` (NaN
        without a site), ``sites`` (int64, counted at this offset), ``background`` (the share of readable bases of
        the REPORT half on which the feature is active).
    """
    reported = Reported(sample, sites, pairs)
    instances = [reported.instances(concept) for concept in pairs.concept.tolist()]
    shown = np.array([i for i, rows in enumerate(instances) if len(rows)], np.int64)
    strand = concepts["site_strand"].to_numpy(object)[pairs.concept]
    countable, active = np.zeros((2, len(sample)), np.bool_)
    countable[reported.base] = True
    bin_of_base = sample.bin_of_base()
    counts, share = np.zeros((len(shown), len(ANCHORS), 2, 2 * REACH + 1), np.int64), np.zeros(len(shown))
    for k, i in enumerate(shown.tolist()):
        start, end = sites.start[instances[i]], sites.end[instances[i]]
        low, high = sample.offset[bin_of_base[start]], sample.offset[bin_of_base[start] + 1]
        on = reported.base[reported.active(i)]
        active[on] = True
        _profile(start, end, low, high, strand[i] == "-", countable, active, counts[k])
        active[on] = False
        share[k] = len(on) / len(reported)
    return _table(sample.read_strand, pairs, shown, concepts, counts, share)


def _table(read_strand: str, pairs: Pairs, shown, concepts: pd.DataFrame, counts, background) -> pd.DataFrame:
    """Rows of (k, anchors, 2, offsets) counts of sites and of active ones among them."""
    width = 2 * REACH + 1
    each = np.repeat(np.arange(len(shown)), len(ANCHORS) * width)
    names = concepts.iloc[pairs.concept[shown][each]]
    mirrored = (names["site_strand"].to_numpy(object) == "-") != (read_strand == "-")
    sites, active = counts[:, :, 0].ravel(), counts[:, :, 1].ravel()
    return pd.DataFrame(
        {
            "concept": names["concept"].to_numpy(object),
            "site_strand": names["site_strand"].to_numpy(object),
            "feature": pairs.feature[shown][each],
            "read_strand": read_strand,
            "reading": np.where(mirrored, "against", "along"),
            "anchor": np.tile(np.repeat(ANCHORS, width), len(shown)),
            "offset": np.tile(np.arange(-REACH, REACH + 1), len(ANCHORS) * len(shown)),
            "active_share": np.divide(active, sites, out=np.full(len(sites), np.nan), where=sites > 0),
            "sites": sites,
            "background": background[each],
        }
    )


@njit(**HOW)
def _profile(start, end, low, high, mirrored, countable, active, counts):
    """Add the sites to (anchors, 2, offsets): those whose base counts, and those among them that are active there."""
    step = -1 if mirrored else 1
    for i in range(len(start)):
        for anchor in range(2):
            at = start[i] if (anchor == 0) != mirrored else end[i] - 1
            for offset in range(counts.shape[2]):
                base = at + step * (offset - counts.shape[2] // 2)
                if low[i] <= base < high[i] and countable[base]:
                    counts[anchor, 0, offset] += 1
                    counts[anchor, 1, offset] += active[base]
