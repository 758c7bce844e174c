"""How well scores tell places from others that are like them: AUROC, with a bootstrap over blocks of the genome."""

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.stats import norm

from sae_tracks.bootstrap import draws_of, interval
from sae_tracks.jit import EXACT

BLOCKS = 256  # at most


@njit(**EXACT)
def like(wanted, offered):
    """The index of an offered value for each wanted one: the nearest that is not taken; as many as there are."""
    taken = np.zeros(len(offered), np.bool_)
    found = np.empty(min(len(wanted), len(offered)), np.int64)
    for i in range(len(found)):
        best = -1
        for j in range(len(offered)):
            if not taken[j] and (best < 0 or abs(offered[j] - wanted[i]) < abs(offered[best] - wanted[i])):
                best = j
        taken[best] = True
        found[i] = best
    return found


def separation(
    places: NDArray[np.float64],
    others: NDArray[np.float64],
    block: NDArray[np.int64],
    other_block: NDArray[np.int64],
    seed: int = 0,
) -> tuple[float, float, float, float]:
    """AUROC of the scores of places against those of others, with a block bootstrap.

    Parameters
    ----------
    places, others : (n,), (m,) float64
        Scores.
    block, other_block : (n,), (m,) int64
        The blocks of the genome in which they lie; neighbours are drawn together.

    Returns
    -------
    auroc, low, high, p : float
        Share of pairs in which the place scores higher, ties one half; its 95 % interval; and the one-sided p-value of
        an AUROC of 0.5, from the larger of the standard errors of the draws and of independent places.
    """
    names, number = np.unique(np.concatenate([block, other_block]), return_inverse=True)
    number = number * min(BLOCKS, len(names)) // len(names)
    blocks = int(number.max()) + 1
    wins = _wins(places, number[: len(places)], others, number[len(places) :], blocks)
    size, other_size = (np.bincount(some, minlength=blocks) for some in np.split(number, [len(places)]))
    drawn = draws_of(blocks, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = ((drawn @ wins) * drawn).sum(axis=1) / ((drawn @ size) * (drawn @ other_size))
    auroc = float(wins.sum() / (len(places) * len(others)))
    independent = np.sqrt((len(places) + len(others) + 1) / (12 * len(places) * len(others)))
    error = max(float(np.nanstd(values)), float(independent))
    return auroc, *interval(values), float(norm.sf((auroc - 0.5) / error))


@njit(**EXACT)
def _wins(places, block, others, other_block, blocks):
    """(B, B) float64: pairs of a place and another, by block, in which the place scores higher; ties count one half."""
    wins = np.zeros((blocks, blocks))
    for i in range(len(places)):
        for j in range(len(others)):
            if places[i] > others[j]:
                wins[block[i], other_block[j]] += 1.0
            elif places[i] == others[j]:
                wins[block[i], other_block[j]] += 0.5
    return wins
