"""Is the match specific? F1 outside of repeats, and the margin to the next concept."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array, csr_array
from scipy.spatial.distance import squareform

from sae_tracks.controls.pairs import Reported, f1_of
from sae_tracks.controls.sample import Columns, Sites

MIN_OUTSIDE = 10  # instances outside of repeats, for an F1 there
JACCARD = 0.5  # of labelled bases: motifs that are at least as similar are of one cluster


def in_repeats(reported: Reported, repeats: Columns | None, names: Sequence[str] = ()) -> pd.DataFrame:
    """Where the true positives of each pair lie, and its F1 outside of repeats.

    Parameters
    ----------
    repeats : Columns, optional
        (n x classes): the bases of the sample in repeats of each class. None: not known; all columns are empty.
    names : sequence of str
        Of the classes.

    Returns
    -------
    DataFrame
        One row per pair, all on the REPORT half:

        - ``repeat_class``: the class that holds most true positives, the first if several do; "" if none does.
        - ``repeat_class_share``, ``repeat_share``: the share of true positives in it, and in any class; NaN without a
          true positive.
        - ``instances_outside_repeats`` (int64): instances with a readable base and without a base in any repeat; of a
          concept without instances, such as A, C, G and T, its labelled bases outside.
        - ``f1_outside_repeats``: F1 counted on bases outside of every repeat; NaN if fewer than 10 instances lie
          outside, because then a match of the motif and one of the repeat look the same.
        - ``outside_ratio``: this over the F1 on all bases; NaN if either is NaN or the latter 0.
    """
    if repeats is None:
        numbers = ("repeat_class_share", "repeat_share", "instances_outside_repeats")
        unknown = dict.fromkeys((*numbers, "f1_outside_repeats", "outside_ratio"), np.nan)
        return pd.DataFrame({"repeat_class": ""} | unknown, index=range(len(reported.pairs)))
    covered = np.zeros(len(reported.sample), np.bool_)
    within = np.zeros((max(1, len(repeats)), len(reported.pairs)), np.int64)
    for c in range(len(repeats)):
        of_class = np.zeros(len(covered), np.bool_)
        of_class[repeats[c][0]] = True
        within[c] = reported.count(of_class[reported.base].astype(np.int64), 2)[0][:, 1]
        covered |= of_class
    tp, active, labelled = reported.count(covered[reported.base].astype(np.int64), 2)  # (p, 2): outside and inside
    most = within.max(axis=0)
    classes = [names[c] if k else "" for c, k in zip(within.argmax(axis=0), most)]
    outside = _instances_outside(reported, covered, labelled[:, 0])
    f1 = np.where(outside >= MIN_OUTSIDE, f1_of(tp[:, 0], active[:, 0] + labelled[:, 0]), np.nan)
    everywhere = tp.sum(axis=1)
    return pd.DataFrame(
        {
            "repeat_class": np.array(classes, object),
            "repeat_class_share": _ratio(most, everywhere),
            "repeat_share": _ratio(tp[:, 1], everywhere),
            "instances_outside_repeats": outside,
            "f1_outside_repeats": f1,
            "outside_ratio": _ratio(f1, f1_of(everywhere, (active + labelled).sum(axis=1))),
        }
    )


def _instances_outside(reported: Reported, covered: NDArray[np.bool_], labelled: NDArray[np.int64]) -> NDArray:
    """(p,) int64: instances without a covered base, or `labelled` if the concept has no instances."""
    before = np.concatenate(([0], np.cumsum(covered)))
    sites, found = reported.sites, labelled.copy()
    for i, concept in enumerate(reported.pairs.concept.tolist()):
        rows, of = reported.instances(concept), sites.of(concept)
        if of.stop > of.start:
            found[i] = (before[sites.end[rows]] == before[sites.start[rows]]).sum()
    return found


def _ratio(numerator: NDArray, denominator: NDArray) -> NDArray[np.float64]:
    """Quotient, NaN if the denominator is 0 or NaN."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)


def motif_clusters(sites: Sites, concepts: pd.DataFrame) -> NDArray[np.int64]:
    """(C,) int64: the cluster of each concept, from 0 in the order of concepts; a cluster marks much the same bases.

    Both site strands of one name are one motif. The similarity of two motifs is the highest Jaccard index of their
    labelled bases over their strands (on both halves, because no feature is chosen). The tree of average linkage
    over 1 - similarity is cut at 0.5, so members of a cluster share half of their bases on average.

    Parameters
    ----------
    concepts : DataFrame
        ``concept`` of every concept, in the order of their numbers.
    """
    motif = pd.factorize(concepts["concept"])[0]
    motifs = int(motif.max(initial=-1)) + 1
    if motifs < 2:
        return motif.astype(np.int64)
    labels, size = sites.labels, np.diff(sites.labels.indptr)
    by_base = labels.matrix(int(labels.base.max(initial=-1)) + 1).astype(np.int32)
    shared = coo_array(by_base.T @ by_base.tocsr())
    first, second = shared.coords
    distance = np.ones((motifs, motifs))
    jaccard = shared.data / (size[first] + size[second] - shared.data)
    np.minimum.at(distance, (motif[first], motif[second]), 1 - jaccard)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    return pd.factorize(fcluster(tree, 1 - JACCARD, "distance")[motif])[0].astype(np.int64)


def selectivity(reported: Reported, cluster: NDArray[np.int64]) -> pd.DataFrame:
    """The margin of each pair to the concept of another cluster that the same feature fits best, at the same cut-off.

    Parameters
    ----------
    cluster : (C,) int64
        From `motif_clusters`.

    Returns
    -------
    DataFrame
        One row per pair: ``margin``, its F1 minus the other's, both on the REPORT half (negative if the other fits
        better); ``next_concept`` (int64), the other's number, the first if several tie. NaN and -1 if the F1 is NaN
        or no concept of another cluster has a labelled base.
    """
    concept, labelled = reported.pairs.concept, np.diff(reported.labels.indptr)
    active = [reported.active(i) for i in range(len(concept))]
    bases = np.concatenate([*active, np.empty(0, np.int32)])
    indptr = np.cumsum([0, *map(len, active)])
    by_pair = csr_array((np.ones(len(bases), np.int32), bases, indptr), shape=(len(active), len(reported)))
    labels = reported.labels.matrix(len(reported)).astype(np.int32)
    shared = cast(csr_array, by_pair @ labels.tocsr()).toarray()  # (p, C): bases both active and labelled
    f1 = f1_of(shared, np.diff(indptr)[:, None] + labelled)
    own = f1[np.arange(len(concept)), concept]
    f1[(cluster == cluster[concept, None]) | (labelled == 0)] = -1
    best = f1.argmax(axis=1)
    other = f1[np.arange(len(concept)), best]
    known = np.isfinite(own) & (other >= 0)
    return pd.DataFrame({"margin": np.where(known, own - other, np.nan), "next_concept": np.where(known, best, -1)})
