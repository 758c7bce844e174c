"""Exact p-values of a matrix's scores, and the largest loss that a site may have.

A score is counted from the top: the best word loses nothing, every other word loses what its bases score less than the
best ones. Scores are rounded, base by base, to thousandths of a bit, and the distribution of their sum over random
words (each base 1/4) is exact. It depends on no order of columns or bases: a column-shuffled matrix and a reverse
complement have that of their original.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sae_tracks.motifs.kernels import loss_tail
from sae_tracks.motifs.matrix import Motif

SLACK = 1e-9  # bits: sums of floats in another order are the same score
PER_BIT = 1000  # a hundred, as PWMScan's integer matrices have, moves p by up to a tenth


@dataclass(frozen=True, slots=True, eq=False)
class Cutoff:
    """What a site of a motif may lose.

    Attributes
    ----------
    losses : (w, 4) int32
        Of each base at each position, in thousandths of a bit.
    tail : (limit + 1,) float64
        Entry l: the p-value of a word that loses l.
    most : float
        Bits that a site may lose at most, unrounded, so that its relative score is high enough.
    """

    losses: NDArray[np.int32]
    tail: NDArray[np.float64]
    most: float

    @property
    def limit(self) -> int:
        """The largest loss of a site in thousandths of a bit; -1 where no word reaches the p-value asked for."""
        return len(self.tail) - 1


def losses(motif: Motif) -> NDArray[np.int32]:
    """(w, 4) int32, 0 or more: what a base scores less than the best, both rounded to thousandths of a bit."""
    scores = np.rint(PER_BIT * motif.log_odds()).astype(np.int32)
    return scores.max(axis=1, keepdims=True) - scores


def cutoff(motif: Motif, p: float = 1e-4, relative: float = 0.8) -> Cutoff:
    """What a site may lose: its p-value is at most `p` and its relative score at least `relative`.

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
    """The tail up to a loss and p-value, losses in a fixed order: a motif serves its decoys, which come next."""
    tail = loss_tail(np.array(columns, np.int32), most)
    return tail[: np.searchsorted(tail, p, side="right")].copy()


def loss_limit(motif: Motif, p: float = 1e-4, relative: float = 0.8) -> int:
    """The largest loss of a site in thousandths of a bit, both conditions rounded alike; -1 where no word is a site."""
    found = cutoff(motif, p, relative)
    return min(found.limit, int(PER_BIT * found.most))
