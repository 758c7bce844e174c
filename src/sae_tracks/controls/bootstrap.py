"""How sure an F1 is: a block bootstrap over the bins of the half that reports."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.controls.pairs import Reported, f1_of

DRAWS = 1000
INTERVAL = (2.5, 97.5)  # percentiles


def f1_intervals(reported: Reported, seed: int, draws: int = DRAWS) -> pd.DataFrame:
    """F1 and its 95 % percentile interval.

    Bases near each other share repeats, GC content and the features of one context, so whole bins (of 32,768 bases or
    more; shorter where a block of the region is) are drawn: as many as there are, with replacement, `draws` times. F1
    is computed from the sums over the bins drawn, all pairs on the same draws. With few bins the interval is too
    narrow, so their number is given.

    Parameters
    ----------
    reported : Reported
    seed : int
        The same seed draws the same bins.
    draws : int

    Returns
    -------
    DataFrame
        A row a pair: ``sample_f1``, ``f1_low``, ``f1_high``, ``bins``. NaN where nothing is active or labelled, in all
        bins or in every draw; draws in which nothing is are left out.
    """
    counted = reported.count(reported.bin, reported.bins)
    drawn = _draw(reported.bins, draws, seed)
    f1 = f1_of(drawn @ counted.tp.T, drawn @ (counted.active + counted.labelled).T)  # (draws, p)
    low, high = np.full((2, len(reported.pairs)), np.nan)
    some = np.isfinite(f1).any(axis=0)
    if some.any():
        low[some], high[some] = np.nanpercentile(f1[:, some], INTERVAL, axis=0)
    everywhere = f1_of(counted.tp.sum(axis=1), (counted.active + counted.labelled).sum(axis=1))
    return pd.DataFrame({"sample_f1": everywhere, "f1_low": low, "f1_high": high, "bins": reported.bins})


def _draw(bins: int, draws: int, seed: int) -> NDArray[np.float64]:
    """(draws, bins): how often each bin is drawn."""
    if not bins:
        return np.zeros((draws, 0))
    return np.random.default_rng(seed).multinomial(bins, np.full(bins, 1 / bins), draws).astype(np.float64)
