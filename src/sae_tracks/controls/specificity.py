"""Is the match specific? F1 outside of repeats, and the margin to the next concept."""

from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array, csc_array, csr_array
from scipy.spatial.distance import squareform

from sae_tracks.controls.pairs import Counted, Reported, f1_of
from sae_tracks.controls.sample import Columns, Sites

MIN_OUTSIDE = 10  # instances outside of repeats, for an F1 there


def in_repeats(reported: Reported, repeats: Columns, names: Sequence[str]) -> pd.DataFrame:
    """Where the true positives of each pair lie, and its F1 outside of repeats.

    Parameters
    ----------
    reported : Reported
    repeats : Columns
        (n x classes): the bases of the sample that repeats of each class cover, as `Sites.labels`.
    names : sequence of str
        Of the classes.

    Returns
    -------
    DataFrame
        A row a pair, all on the REPORT half:

        - ``repeat_class``: the class that holds most true positives, the first where several do; empty where none does.
        - ``repeat_class_share``, ``repeat_share``: the share of true positives in it, and in any class; NaN without a
          true positive.
        - ``instances_outside_repeats`` (int64): instances with a readable base and without a base in any repeat; of a
          concept without instances, such as A, C, G and T, its labelled bases outside.
        - ``f1_outside_repeats``: F1 counted on bases outside of every repeat; NaN where fewer than 10 instances lie
          outside, and the match cannot be told from one of the repeat.
        - ``outside_ratio``: that over the F1 on all bases; NaN where either is NaN or the latter 0.
    """
    everywhere = reported.in_all()
    tp, whole = everywhere.tp[:, 0], everywhere.f1()[:, 0]
    within = np.zeros((max(1, len(repeats)), len(tp)), np.int64)
    for c in range(len(repeats)):
        within[c] = _split(reported, _covered(reported, repeats, [c])).tp[:, 1]
    most = within.max(axis=0)
    classes = [names[c] if k else "" for c, k in zip(within.argmax(axis=0), most)]
    covered = _covered(reported, repeats, range(len(repeats)))
    split = _split(reported, covered)
    outside = _instances_outside(reported, covered, split)
    f1 = np.where(outside >= MIN_OUTSIDE, split.f1()[:, 0], np.nan)
    return pd.DataFrame(
        {
            "repeat_class": np.array(classes, object),
            "repeat_class_share": _ratio(most, tp),
            "repeat_share": _ratio(split.tp[:, 1], tp),
            "instances_outside_repeats": outside,
            "f1_outside_repeats": f1,
            "outside_ratio": _ratio(f1, whole),
        }
    )


def no_repeats_known(pairs: int) -> pd.DataFrame:
    """The columns of `in_repeats` if nothing is known of repeats: no class, and NaN."""
    columns = ("repeat_class_share", "repeat_share", "instances_outside_repeats", "f1_outside_repeats", "outside_ratio")
    return pd.DataFrame({"repeat_class": ""} | dict.fromkeys(columns, np.nan), index=range(pairs))


def _covered(reported: Reported, repeats: Columns, classes: Iterable[int]) -> NDArray[np.bool_]:
    """(n,) bool: the bases of the sample in some of the classes."""
    covered = np.zeros(len(reported.sample), np.bool_)
    for c in classes:
        covered[repeats[c][0]] = True
    return covered


def _split(reported: Reported, covered: NDArray[np.bool_]) -> Counted:
    """Counts (p, 2), outside and inside."""
    return reported.count(covered[reported.base].astype(np.int64), 2)


def _instances_outside(reported: Reported, covered: NDArray[np.bool_], split: Counted) -> NDArray[np.int64]:
    before = np.concatenate(([0], np.cumsum(covered)))
    sites, found = reported.sites, np.empty(len(reported.pairs), np.int64)
    for i, concept in enumerate(reported.pairs.concept.tolist()):
        rows, of = reported.instances(concept), sites.of(concept)
        free = before[sites.end[rows]] == before[sites.start[rows]]
        found[i] = free.sum() if of.stop > of.start else split.labelled[i, 0]
    return found


def _ratio(numerator: NDArray, denominator: NDArray) -> NDArray[np.float64]:
    """Quotient, NaN where the denominator is 0 or NaN."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)


JACCARD = 0.5  # of labelled bases, from which on two motifs are of one cluster


def motif_clusters(sites: Sites, concepts: pd.DataFrame) -> NDArray[np.int64]:
    """Concepts that mark much the same bases, together.

    Both site strands of one name are one motif. The similarity of two motifs is the highest Jaccard index of their
    labelled bases over their strands (on both halves: no feature is looked at); the tree of average linkage over
    1 - similarity is cut at 0.5, so members of a cluster share half of their bases on average.

    Parameters
    ----------
    sites : Sites
    concepts : DataFrame
        ``concept`` of every concept, in the order of their numbers.

    Returns
    -------
    (concepts,) int64
        The number of each one's cluster, from 0 in the order of concepts.
    """
    motif = pd.factorize(concepts["concept"])[0]
    motifs = int(motif.max(initial=-1)) + 1
    if motifs < 2:
        return motif.astype(np.int64)
    distance = 1 - _similarity(sites, motif, motifs)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    return pd.factorize(fcluster(tree, 1 - JACCARD, "distance")[motif])[0].astype(np.int64)


def selectivity(reported: Reported, cluster: NDArray[np.int64]) -> pd.DataFrame:
    """The margin of each pair to the concept of another cluster that the same feature fits best, at the same cut-off.

    Parameters
    ----------
    reported : Reported
    cluster : (concepts,) int64
        From `motif_clusters`.

    Returns
    -------
    DataFrame
        A row a pair: ``margin``, its F1 minus the other's, both on the REPORT half (negative where the other fits
        better); ``next_concept`` (int64), the other's number, the first where several tie. NaN and -1 where the F1 is
        none or no concept of another cluster has a labelled base.
    """
    concept, labelled = reported.pairs.concept, np.diff(reported.labels.indptr)
    active = [reported.active(i) for i in range(len(concept))]
    many = np.array([len(bases) for bases in active], np.int64)
    f1 = f1_of(_overlaps(reported, active), many[:, None] + labelled)  # (p, concepts)
    own = f1[np.arange(len(concept)), concept]
    f1[(cluster == cluster[concept, None]) | (labelled == 0)] = -1
    best = f1.argmax(axis=1)
    other = f1[np.arange(len(concept)), best]
    known = np.isfinite(own) & (other >= 0)
    return pd.DataFrame({"margin": np.where(known, own - other, np.nan), "next_concept": np.where(known, best, -1)})


def _overlaps(reported: Reported, active: list[NDArray[np.int32]]) -> NDArray[np.int64]:
    """(p, concepts): labelled bases of every concept on which the feature of a pair is active."""
    m, labels = len(reported), reported.labels
    bases = np.concatenate([*active, np.empty(0, np.int32)])
    indptr = np.cumsum([0, *map(len, active)])
    pairs = csr_array((np.ones(len(bases), np.int32), bases, indptr), shape=(len(active), m))
    ones = np.ones(len(labels.base), np.int32)
    shared = pairs @ csc_array((ones, labels.base, labels.indptr), shape=(m, len(labels))).tocsr()
    return cast(csr_array, shared).toarray()


def _similarity(sites: Sites, motif: NDArray[np.int64], motifs: int) -> NDArray[np.float64]:
    """(motifs, motifs): the highest Jaccard index over the concepts of each two."""
    labels, size = sites.labels, np.diff(sites.labels.indptr)
    n = int(labels.base.max(initial=-1)) + 1
    by_base = csc_array((np.ones(len(labels.base), np.int32), labels.base, labels.indptr), shape=(n, len(labels)))
    shared = coo_array(by_base.T @ by_base.tocsr())
    first, second = shared.coords
    jaccard = shared.data / (size[first] + size[second] - shared.data)
    highest = np.zeros((motifs, motifs))
    np.maximum.at(highest, (motif[first], motif[second]), jaccard)
    return highest
