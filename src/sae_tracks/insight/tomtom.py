"""How alike matrices are: Tomtom's statistic (Gupta et al. 2007) with complete scores (Tanaka et al. 2011)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sae_tracks.motifs import Motif

FEW = 50  # targets below which p-values depend on which these are, as MEME's program warns too
BINS = 100  # whole numbers that the scores of two columns take, about


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

    The score of two columns is their negative Euclidean distance, less the median of that of the query's column with
    all columns of the targets and their reverse complements, in whole numbers. That of an alignment is the sum over its
    columns, so one that is not aligned adds what an indifferent one would. If the targets' columns are drawn at random,
    the sum over each span of the query has a distribution that follows by convolution. The p-value of the best of all
    offsets takes these as independent, and so both strands.

    Parameters
    ----------
    queries, targets : sequence of Motif
        Frequencies are compared, without pseudocounts. At least one target.
    min_overlap : int
        If fewer columns of the best alignment overlap (of a narrower matrix: not all its columns), p is 1.

    Returns
    -------
    Comparison
        Of alignments with equal scores the one of more columns, and of strands the forward one, is the best.
    """
    both = [*map(_columns, targets), *(_columns(motif.reverse_complement()) for motif in targets)]
    widest = max((motif.width for motif in queries), default=1)
    line, shape = _Line(both, widest - 1), (len(queries), 2, len(targets))
    p, score, overlap = np.empty(shape), np.empty(shape, np.int64), np.empty(shape, np.int64)
    for row, motif in enumerate(queries):
        scores = column_scores(_columns(motif), line.columns)
        best, aligned = line.best(scores)
        lowest, chances = best_chances(scores, set(line.widths.tolist()))
        tail = [chances[width][at] for width, at in zip(line.widths.tolist(), best - lowest)]
        score[row], overlap[row], p[row] = (np.reshape(part, shape[1:]) for part in (best, aligned, tail))
    reverse = score[:, 1] > score[:, 0]
    score, overlap = (np.where(reverse, part[:, 1], part[:, 0]) for part in (score, overlap))
    with np.errstate(divide="ignore"):
        p = -np.expm1(2 * np.log1p(-p.min(axis=1)))
    narrower = np.minimum.outer([m.width for m in queries], [m.width for m in targets])
    p = np.where(overlap >= np.minimum(min_overlap, narrower), p, 1.0)
    return Comparison(p, score.astype(np.float64), overlap, np.where(reverse, -1, 1))


def _columns(motif: Motif) -> NDArray[np.float64]:
    """(w, 4) float64: frequencies of A, C, G and T."""
    return motif.counts / motif.counts.sum(axis=1, keepdims=True)


class _Line:
    """All targets one behind the other, with so many free places between that an alignment touches one of them."""

    def __init__(self, targets: Sequence[NDArray[np.float64]], gap: int) -> None:
        self.columns, self.widths = np.concatenate(targets), np.array([*map(len, targets)])
        self._starts = np.cumsum(self.widths + gap) - self.widths
        self._column = np.full(int(self._starts[-1] + self.widths[-1]) + gap, len(self.columns))  # which is no column
        for start, (first, last) in zip(self._starts, pairwise(np.cumsum([0, *self.widths]))):
            self._column[start : start + last - first] = np.arange(first, last)

    def best(self, scores: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(T,) int64 each: the highest score of an alignment, and its overlap, from the (w, C) scores of a query."""
        width, places = len(scores), len(self._column) - len(scores) + 1
        padded = np.concatenate([scores, np.zeros((width, 1), np.int64)], axis=1)
        total, overlap = np.zeros(places, np.int64), np.zeros(places, np.int64)
        for k, own in enumerate(padded):
            there = self._column[k : k + places]
            total += own[there]
            overlap += there < len(self.columns)
        key = total * (width + 1) + overlap  # ties go to the larger overlap
        edges = np.stack([self._starts - width + 1, self._starts + self.widths], axis=1).ravel()
        found = np.maximum.reduceat(np.append(key, key.min()), edges)[::2]
        return found // (width + 1), found % (width + 1)


def column_scores(query: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.int64]:
    """(w, C) int64: scores of the columns of a query, (w, 4), with those of all targets on both strands, (C, 4)."""
    from scipy.spatial.distance import cdist

    apart = -np.round(cdist(query, columns), 9)  # equal distances are equal numbers
    apart -= np.median(apart, axis=1, keepdims=True)
    span = apart.max() - np.floor(apart.min())
    scale = np.floor(BINS / span) if span else 0.0  # all columns are alike
    return np.floor(apart * scale + 0.5).astype(np.int64)


def best_chances(scores: NDArray[np.int64], widths: set[int]) -> tuple[int, Mapping[int, NDArray[np.float64]]]:
    """The chance that the best alignment with a target reaches a score, for each width of a target.

    Parameters
    ----------
    scores : (w, C) int64
        From `column_scores`; the columns of a target are drawn from these C.
    widths : set of int

    Returns
    -------
    lowest : int
        The score to which the first entry of each array belongs; the others follow one by one.
    chances : mapping of int to (n,) float64
    """
    low, high = min(int(scores.min()), 0), max(int(scores.max()), 0)
    width, lowest = len(scores), low * len(scores)
    own = [np.bincount(row - low, minlength=high - low + 1) / len(row) for row in scores]
    least = np.zeros((width + 1, width + 1, (high - low) * width + 2))  # of spans: log of the chance to stay below
    for first in range(width):
        sums = np.ones(1)
        for last in range(first, width):
            sums = np.convolve(sums, own[last])
            reached = np.zeros(least.shape[2])
            at = low * (last + 1 - first) - lowest
            reached[at : at + len(sums)] = sums
            reached = np.minimum(np.cumsum(reached[::-1])[::-1], 1)
            with np.errstate(divide="ignore"):
                least[first, last + 1] = np.log1p(-reached)
    chances = {}
    for n in widths:
        spans = ((max(0, -at), min(width, n - at)) for at in range(1 - width, n))
        chances[n] = -np.expm1(np.sum([least[span] for span in spans], axis=0))
    return lowest, chances
