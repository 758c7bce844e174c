"""Is the match specific? The margin to the next concept that the same feature fits."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array, csc_array
from scipy.spatial.distance import squareform

from sae_tracks.arrays import ratio
from sae_tracks.dna import NUCLEOTIDES, codes
from sae_tracks.metrics import Counts, Evaluation
from sae_tracks.regions import GenomicRegion

JACCARD = 0.5  # of labelled bases: motifs that are at least as similar are of one cluster


def motif_clusters(evaluation: Evaluation, pieces: Sequence[GenomicRegion]) -> NDArray[np.int64]:
    """(C,) int64: the cluster of each concept, from 0 in the order of concepts; a cluster marks much the same bases.

    Both site strands of one name are one motif. The similarity of two motifs is the highest Jaccard index of their
    labelled bases over their strands, on pieces of the genome. The tree of average linkage over 1 - similarity is cut
    at 0.5, so members of a cluster share half of their bases on average.
    """
    concepts = evaluation.labels.concepts
    motif = pd.factorize(concepts["concept"])[0]
    motifs = int(motif.max(initial=-1)) + 1
    if motifs < 2:
        return motif.astype(np.int64)
    by_base = _labelled(evaluation, pieces)
    size = np.diff(by_base.indptr)
    shared = coo_array(by_base.T @ by_base.tocsr())
    first, second = shared.coords
    distance = np.ones((motifs, motifs))
    jaccard = shared.data / (size[first] + size[second] - shared.data)
    np.minimum.at(distance, (motif[first], motif[second]), 1 - jaccard)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    return pd.factorize(fcluster(tree, 1 - JACCARD, "distance")[motif])[0].astype(np.int64)


def _labelled(evaluation: Evaluation, pieces: Sequence[GenomicRegion]) -> csc_array:
    """(bases x C) int32: 1 on labelled bases of the pieces."""
    base, concept, offset = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for piece in pieces:
        letters = codes(evaluation.genome.sequence(piece))
        for code in range(len(NUCLEOTIDES)):
            base.append(offset + np.flatnonzero(letters == code))
            concept.append(np.full(len(base[-1]), code))
        there = evaluation.labels.overlapping(piece)
        start = np.maximum(there["Start"].to_numpy(np.int64) - piece.start, 0)
        end = np.minimum(there["End"].to_numpy(np.int64) - piece.start, len(piece))
        length = end - start
        base.append(offset + np.arange(length.sum()) + np.repeat(start - (np.cumsum(length) - length), length))
        concept.append(np.repeat(there["concept"].to_numpy(np.int64), length))
        offset += len(piece)
    key = np.unique(np.concatenate(concept) * max(offset, 1) + np.concatenate(base))
    column, row = np.divmod(key, max(offset, 1))
    shape = max(offset, 1), len(evaluation.labels.concepts)
    return csc_array(coo_array((np.ones(len(row), np.int32), (row, column)), shape=shape))


def selectivity(
    counts: Counts,
    strand: int,
    concept: NDArray[np.int64],
    column: NDArray[np.int64],
    threshold: NDArray[np.int64],
    cluster: NDArray[np.int64],
) -> pd.DataFrame:
    """The margin of each pair to the concept of another cluster that the same feature fits best, at the same cut-off.

    Parameters
    ----------
    concept, column, threshold : (p,) int64
        The pairs, as rows of the axes of the counts.
    cluster : (C,) int64
        From `motif_clusters`.

    Returns
    -------
    DataFrame
        One row per pair: ``margin``, its F1 minus the other's, both on the report half (negative if the other fits
        better); ``next_concept``, the other's name, the first if several tie. NaN and "" if the F1 is NaN or no
        concept of another cluster has a labelled base.
    """
    labelled, names = counts.labelled[strand, -1], counts.concepts["concept"].to_numpy(object)
    rows = []
    for c, k, t in zip(concept.tolist(), column.tolist(), threshold.tolist()):
        tp = counts.tp[strand, -1, :, t:, k].sum(axis=1, dtype=np.int64)
        both = labelled + counts.active[strand, -1, t:, k].sum()
        f1 = ratio(2.0 * tp, both)
        own = f1[c]
        f1[(cluster == cluster[c]) | (labelled == 0)] = -1
        best = int(np.argmax(f1))
        known = np.isfinite(own) and f1[best] >= 0
        rows.append((own - f1[best], names[best]) if known else (np.nan, ""))
    return cast(pd.DataFrame, pd.DataFrame(rows, columns=["margin", "next_concept"]))
