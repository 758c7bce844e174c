"""Draws of whole blocks with replacement, and the intervals of what follows from them."""

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
INTERVAL = (2.5, 97.5)  # percentiles


def draws_of(blocks: int, seed: int) -> NDArray[np.float64]:
    """(draws, B) float64: how often each block is drawn, with replacement, as often as there are blocks."""
    return np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), DRAWS).astype(np.float64)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % percentile interval of draws; those that are NaN are left out, (NaN, NaN) if all are."""
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, INTERVAL) if len(values) else (np.nan, np.nan)
    return float(low), float(high)
