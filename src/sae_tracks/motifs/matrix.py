"""A motif's count matrix, the score of a base at a position, and exact p-values of scores.

A score is counted as a loss: what a word scores less than the best word, summed over its bases. Losses are rounded,
base by base, to thousandths of a bit, and the distribution of their sum over random words (each base 1/4) is exact. It
does not depend on the order of columns or bases, so a decoy and a reverse complement have the
distribution of their original.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.jit import EXACT

SLACK = 1e-9  # bits: sums of floats in another order are the same score
PER_BIT = 1000  # a hundred, as PWMScan's integer matrices have, moves p by up to a tenth
BACKGROUND = 0.25  # of each base: uniform, as in the JASPAR tracks


@dataclass(frozen=True, slots=True, eq=False)
class Motif:
    """One matrix of a motif database."""

    matrix_id: str  # such as MA0139.1
    tf: str  # name of the transcription factor, or empty
    counts: NDArray[np.float64]  # (w, 4) sites with A, C, G and T at each position; no row is zero
    tf_class: str = ""  # structural class and family of the factor (TFClass), or empty
    tf_family: str = ""

    @property
    def width(self) -> int:
        """Number of positions."""
        return len(self.counts)

    def probabilities(self) -> NDArray[np.float64]:
        """(w, 4) float64: (count + sqrt(N) / 4) / (N + sqrt(N)), N the sites of a position, as in the JASPAR tracks."""
        n = self.counts.sum(axis=1, keepdims=True)
        return (self.counts + BACKGROUND * np.sqrt(n)) / (n + np.sqrt(n))

    def log_odds(self) -> NDArray[np.float64]:
        """(w, 4) float64, bits: log2 of the probabilities over the uniform background."""
        return np.log2(self.probabilities() / BACKGROUND)

    def costs(self) -> NDArray[np.float64]:
        """(w, 4) float64, bits, 0 or more: how much less a base scores than the best one."""
        scores = self.log_odds()
        return scores.max(axis=1, keepdims=True) - scores

    def span(self) -> float:
        """Bits between the best and the worst score of a word; 0 if all words score alike."""
        return float(self.costs().max(axis=1).sum())

    def reverse_complement(self) -> "Motif":
        """The matrix that scores a word as this one scores the word's reverse complement."""
        return replace(self, counts=np.ascontiguousarray(self.counts[::-1, ::-1]))


@dataclass(frozen=True, slots=True, eq=False)
class Cutoff:
    """How much less than the best word a site of a motif may score."""

    losses: NDArray[np.int32]  # (w, 4) of each base at each position, in thousandths of a bit
    tail: NDArray[np.float64]  # (limit + 1,) entry l: the p-value of a word that loses l
    most: float  # bits that a site may lose at most, unrounded, so that its relative score is high enough

    @property
    def limit(self) -> int:
        """The largest loss of a site in thousandths of a bit; -1 if no word reaches the p-value."""
        return len(self.tail) - 1


def losses(motif: Motif) -> NDArray[np.int32]:
    """(w, 4) int32, 0 or more: how much less a base scores than the best, both in rounded thousandths of a bit."""
    scores = np.rint(PER_BIT * motif.log_odds()).astype(np.int32)
    return scores.max(axis=1, keepdims=True) - scores


def cutoff(motif: Motif, p: float = 1e-4, relative: float = 0.8) -> Cutoff:
    """Return the largest loss of a site: its p-value is at most `p` and its relative score at least `relative`.

    The relative score is that of the unrounded matrix: `limit` leaves room for the rounding, `most` decides.
    """
    lost = losses(motif)
    most = (1 - relative) * motif.span() + SLACK
    worst = int(lost.max(axis=1).sum())
    columns = tuple(sorted(map(tuple, np.sort(lost).tolist())))
    tail = _tail(columns, min(int(PER_BIT * most) + motif.width + 1, worst), p)
    return Cutoff(lost, tail, most)


@lru_cache(maxsize=16)
def _tail(columns: tuple[tuple[int, ...], ...], most: int, p: float) -> NDArray[np.float64]:
    """Return the tail up to a loss and p-value. Losses are in a fixed order, so decoys find the tail of their motif."""
    tail = loss_tail(np.array(columns, np.int32), most)
    return tail[: np.searchsorted(tail, p, side="right")].copy()


def loss_limit(motif: Motif, p: float = 1e-4, relative: float = 0.8) -> int:
    """Return the largest loss of a site in rounded thousandths of a bit; -1 if no word is a site."""
    found = cutoff(motif, p, relative)
    return min(found.limit, int(PER_BIT * found.most))


@njit(**EXACT)
def loss_tail(losses, most):
    """(most + 1,) float64: the probability that a random word (each base 1/4) loses at most l, from (w, 4) losses."""
    now, after = np.zeros(most + 1), np.zeros(most + 1)
    now[0] = 1.0
    top = 0
    for column in losses:
        reach = min(top + column.max(), most)
        after[: reach + 1] = 0.0
        for loss in column:
            for s in range(min(top, most - loss) + 1):
                after[s + loss] += 0.25 * now[s]
        now, after = after, now
        top = reach
    now[top + 1 :] = 0.0
    return np.cumsum(now)
