"""How well a feature fits a concept: F1 with its interval, rankings without a cut-off, lag, and offset profiles."""

from typing import Any, cast

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.stats import spearmanr

from sae_tracks.controls.pairs import Reported, f1_of
from sae_tracks.jit import FAST

DRAWS = 1000
INTERVAL = (2.5, 97.5)  # percentiles
MIN_SITES = 10  # with a score, for a correlation
REACH = 50  # bases on either side of an anchor
ANCHORS = ("start", "end")


def f1_intervals(reported: Reported, seed: int, draws: int = DRAWS) -> pd.DataFrame:
    """F1 and its 95 % percentile interval by a bootstrap over bins.

    Bases near each other share repeats, GC content and the features of one context. So whole bins (32,768 bases or
    more; shorter if a block of the region is) are drawn: as many as there are, with replacement, `draws` times, the
    same draws for all pairs. With few bins the interval is too narrow, so their number is given.

    Returns
    -------
    DataFrame
        One row per pair: ``sample_f1``, ``f1_low``, ``f1_high``, ``bins``. An F1 is NaN if nothing is active or
        labelled; such draws are left out.
    """
    bins = reported.bins
    tp, active, labelled = reported.count(reported.bin, bins)
    drawn = np.zeros((draws, 0))  # how often each bin is drawn
    if bins:
        drawn = np.random.default_rng(seed).multinomial(bins, np.full(bins, 1 / bins), draws).astype(np.float64)
    f1 = f1_of(drawn @ tp.T, drawn @ (active + labelled).T)  # (draws, p)
    low, high = np.full((2, len(reported.pairs)), np.nan)
    some = np.isfinite(f1).any(axis=0)
    if some.any():
        low[some], high[some] = np.nanpercentile(f1[:, some], INTERVAL, axis=0)
    everywhere = f1_of(tp.sum(axis=1), (active + labelled).sum(axis=1))
    return pd.DataFrame({"sample_f1": everywhere, "f1_low": low, "f1_high": high, "bins": bins})


def rankings(reported: Reported) -> pd.DataFrame:
    """Average precision of bases and of sites, and the correlation of a site's activation with its score.

    A site's activation is the feature's maximum over its bases. Sites are ranked among windows that no site of the
    concept touches. The windows have the concept's median width and lie end to end from the left of every run of
    consecutive readable bases without a label; the rest of a run is left out. So chance reaches a precision equal to
    the share of sites among sites and windows, not to the share of labelled bases.

    Returns
    -------
    DataFrame
        One row per pair: ``average_precision`` (NaN without a labelled base), ``site_average_precision`` (NaN without
        a site) and ``spearman``, with the annotation's score (NaN with fewer than 10 scored sites, or if score or
        activation is the same on all).
    """
    features = [reported.features[column] for column in range(len(reported.features))]
    descending = [np.argsort(-value, kind="stable") for _, value in features]
    positive = np.zeros(len(reported), np.bool_)
    rows = []
    for concept, column in zip(reported.pairs.concept.tolist(), reported.column.tolist()):
        (base, value), first, (label, _) = features[column], descending[column], reported.labels[concept]
        positive[label] = True
        average = _average_precision(value[first], positive[base][first], len(label), len(reported))
        positive[label] = False
        rows.append((average, *_site_level(reported, base, value, concept)))
    return pd.DataFrame(rows, columns=["average_precision", "site_average_precision", "spearman"], dtype=float)


def _site_level(reported: Reported, base, value, concept: int) -> tuple[float, float]:
    """Average precision and correlation of the sites of a concept, for a feature with these bases and values."""
    sites, rank, rows = reported.sites, reported.rank, reported.instances(concept)
    if not len(rows):
        return np.nan, np.nan
    start, end = sites.start[rows], sites.end[rows]
    activation = _highest(base, value, rank[start], rank[end])
    label, _ = reported.labels[concept]
    windows, highest = _unlabelled_windows(base, value, label, reported.stretch, int(np.median(end - start)))
    values = np.concatenate((activation, highest))
    first = np.argsort(-values, kind="stable")
    first = first[values[first] > 0]
    average = _average_precision(values[first], first < len(activation), len(rows), len(rows) + windows)
    return average, _correlation(sites.score[rows], activation)


def _correlation(score: NDArray[np.float64], activation: NDArray[np.float32]) -> float:
    """Spearman's, over the sites that have a score."""
    scored = np.isfinite(score)
    score, activation = score[scored], activation[scored]
    if len(score) < MIN_SITES or np.ptp(score) == 0 or np.ptp(activation) == 0:
        return np.nan
    return float(cast(Any, spearmanr(score, activation)).statistic)


@njit(**FAST)
def _average_precision(scores, positive, positives, items):
    """Average precision over items of which some score above 0, those that are given.

    ``scores``, (k,) float32, descend; ``positive`` is (k,) bool. ``positives`` of all ``items`` are positive, those
    that score 0 included. NaN without a positive.
    """
    if positives == 0:
        return np.nan
    total, found, tied = 0.0, 0, 0
    for i in range(len(scores)):
        tied += positive[i]
        if i + 1 == len(scores) or scores[i + 1] < scores[i]:
            found += tied
            total += tied * (found / (i + 1))
            tied = 0
    return (total + (positives - found) * (positives / items)) / positives


@njit(**FAST)
def _highest(base, value, start, end):
    """(m,) float32: the highest value in each interval, 0 if it has none."""
    highest = np.zeros(len(start), np.float32)
    for i in range(len(start)):
        at = np.searchsorted(base, start[i])
        while at < len(base) and base[at] < end[i]:
            highest[i] = max(highest[i], value[at])
            at += 1
    return highest


@njit(**FAST)
def _unlabelled_windows(base, value, label, stretch, width):
    """Return the number of windows, and the highest value in each of those that have one above 0."""
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


def lags(reported: Reported) -> NDArray[np.float64]:
    """(p,) float64: the median number of bases of a site that are read before the feature becomes active.

    This is the distance, in the direction in which the model reads, from the first base of a site to the first one in
    the site on which the feature is active (0 also if it was active before the site began). Sites without such a base
    are left out; NaN if none is left. The median holds when up to half of the hits are chance.
    """
    found = np.full(len(reported.pairs), np.nan)
    for i, concept in enumerate(reported.pairs.concept.tolist()):
        rows, active = reported.instances(concept), reported.active(i)
        start, end = reported.sites.start[rows], reported.sites.end[rows]
        low = np.searchsorted(active, reported.rank[start])
        high = np.searchsorted(active, reported.rank[end])
        hit = high > low
        if hit.any() and reported.sample.read_strand == "+":
            found[i] = np.median(reported.base[active[low[hit]]] - start[hit])
        elif hit.any():
            found[i] = np.median(end[hit] - 1 - reported.base[active[high[hit] - 1]])
    return found


def offset_profiles(reported: Reported, concepts: pd.DataFrame) -> pd.DataFrame:
    """How often a feature is active at each distance from the start and from the end of a concept's sites.

    Distances are counted in the orientation of the site: offset 0 of ``start`` is its first base, offset 0 of ``end``
    its last one, and positive offsets lie downstream. On site strand ``-`` all is mirrored; ``.`` is taken as ``+``.
    Sites are those of the REPORT half. A site counts at an offset if its base there is readable and in the same bin.

    Parameters
    ----------
    concepts : DataFrame
        ``concept`` and ``site_strand``, in the order of their numbers.

    Returns
    -------
    DataFrame
        One row per (pair, anchor, offset), in this order; a concept without instances (A, C, G, T) has none.
        ``concept``, ``site_strand``, ``feature`` (its id), ``read_strand``, ``reading`` (``along`` if the model reads
        the site from its start to its end, else ``against``), ``anchor`` (start, end), ``offset`` (-50 to 50, bases),
        ``active_share`` (NaN without a site), ``sites`` (int64, counted at this offset), ``background`` (the share of
        readable bases of the REPORT half on which the feature is active).
    """
    sample, sites, pairs = reported.sample, reported.sites, reported.pairs
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
    return _profile_table(reported, shown, concepts, counts, share)


def _profile_table(reported: Reported, shown, concepts: pd.DataFrame, counts, background) -> pd.DataFrame:
    """Lay out (k, anchors, 2, offsets) counts of sites and of active ones among them as rows."""
    pairs, read_strand, width = reported.pairs, reported.sample.read_strand, 2 * REACH + 1
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


@njit(**FAST)
def _profile(start, end, low, high, mirrored, countable, active, counts):
    """Add the sites to (anchors, 2, offsets): those whose base counts, and the active ones among them."""
    step = -1 if mirrored else 1
    for i in range(len(start)):
        for anchor in range(2):
            at = start[i] if (anchor == 0) != mirrored else end[i] - 1
            for offset in range(counts.shape[2]):
                base = at + step * (offset - counts.shape[2] // 2)
                if low[i] <= base < high[i] and countable[base]:
                    counts[anchor, 0, offset] += 1
                    counts[anchor, 1, offset] += active[base]
