"""False discovery rates by competition with decoys.

A motif that the features do not know scores like its own column-shuffled copies: the best of target and k decoys is
then the target once in k + 1. How often a decoy wins therefore tells how many of the targets that won did so by chance
(Emery, Hasam, Noble and Keich 2020, "Multiple competition-based FDR control", the max method, c = 1 / (k + 1)).
"""

import numpy as np
from numpy.typing import NDArray


def q_values(target: NDArray[np.float64], decoys: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest false discovery rate at which each target is among the discoveries.

    A target wins where it scores higher than all its decoys; a tie goes to the decoy. With W winners and L losers whose
    better score is at least t, the rate of the discoveries {winners at t or above} is ``(1 + L) / (k W)``.

    Parameters
    ----------
    target : (n,) float64
        Scores, higher is better; NaN where a target was not scored.
    decoys : (n, k) float64
        Scores of each target's own decoys; NaN counts as the lowest.

    Returns
    -------
    (n,) float64
        1 where a decoy won, NaN where the target was not scored.
    """
    rival = np.where(np.isnan(decoys), -np.inf, decoys).max(axis=1, initial=-np.inf)
    scored = ~np.isnan(target)
    won = scored & (target > rival)
    best = np.maximum(np.where(scored, target, -np.inf), rival)
    order = np.argsort(-best[scored], kind="stable")
    winners, losers = (np.cumsum(flag[scored][order]) for flag in (won, ~won))
    last = np.searchsorted(-best[scored][order], -best[scored][order], side="right") - 1  # ties share a rate
    rate = (1 + losers[last]) / (decoys.shape[1] * np.maximum(winners[last], 1))
    q = np.full(len(target), np.nan)
    q[np.flatnonzero(scored)[order]] = np.minimum(np.minimum.accumulate(rate[::-1])[::-1], 1)
    q[scored & ~won] = 1
    return q
