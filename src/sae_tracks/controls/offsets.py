"""Where a feature is active around the sites of a concept: its profile of offsets, and its lag.

A model that reads left to right cannot know a site before it has read most of it, so a feature of the site becomes
active near the end that is read last and stays behind the annotation. Profiles and lag show by how much.
"""

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from sae_tracks.controls.pairs import Pairs, Reported
from sae_tracks.controls.sample import Sample, Sites
from sae_tracks.jit import HOW

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
