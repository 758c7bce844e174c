"""How alike matrices are: Tomtom's statistic (Gupta et al. 2007), computed by memelite."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from sae_tracks.motifs import Motif

FEW = 50  # targets below which p-values depend on which these are, as MEME's program warns too


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """The best alignment of every query (Q) with every target (T), on either strand; arrays are (Q, T).

    Attributes
    ----------
    p : float64
        p-value of the best alignment over all offsets and both strands.
    score : float64
        Sum over the aligned columns, in whole numbers.
    overlap : int64
        Number of columns aligned.
    strand : int64
        1, or -1 if the reverse complement of the target fits better.
    """

    p: NDArray[np.float64]
    score: NDArray[np.float64]
    overlap: NDArray[np.int64]
    strand: NDArray[np.int64]

    def best(self, query: int, n: int) -> NDArray[np.int64]:
        """The n targets with the lowest p-values; of equal ones those with a higher score, then the first."""
        return np.lexsort((-self.score[query], self.p[query]))[:n]


def compare_motifs(queries: Sequence[Motif], targets: Sequence[Motif], *, min_overlap: int = 1) -> Comparison:
    """Compare matrices with known ones.

    Parameters
    ----------
    queries, targets : sequence of Motif
        Frequencies are compared, without pseudocounts.
    min_overlap : int
        If fewer columns of the best alignment overlap (of a narrower matrix: not all its columns), p is 1.
    """
    from memelite import tomtom

    with warnings.catch_warnings():  # of few targets, which the caller says
        warnings.simplefilter("ignore")
        exact = cast(int, None)  # no columns are merged; memelite's default is typed as a number
        found = tomtom([*map(_columns, queries)], [*map(_columns, targets)], n_target_bins=exact)
    p, score, _, overlap, reverse = map(np.asarray, found)
    narrower = np.minimum.outer([m.width for m in queries], [m.width for m in targets])
    enough = overlap >= np.minimum(min_overlap, narrower)
    return Comparison(np.where(enough, p, 1.0), score, overlap.astype(np.int64), np.where(reverse > 0, -1, 1))


def _columns(motif: Motif) -> NDArray[np.float64]:
    """(4, w) float64: frequencies of A, C, G and T."""
    return np.ascontiguousarray((motif.counts / motif.counts.sum(axis=1, keepdims=True)).T)
