"""Is a feature specific? Its F1 with a concept against its best F1 with any other kind of concept."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array, csc_array, csr_array
from scipy.spatial.distance import squareform

from sae_tracks.controls.pairs import Reported, f1_of
from sae_tracks.controls.sample import Sites

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
    return (pairs @ csc_array((ones, labels.base, labels.indptr), shape=(m, len(labels))).tocsr()).toarray()


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
