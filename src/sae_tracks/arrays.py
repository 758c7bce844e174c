"""Arithmetic on arrays."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ratio(part: ArrayLike, whole: ArrayLike) -> Any:
    """``part / whole``, NaN where `whole` is not positive: a share of nothing is not known.

    Parameters
    ----------
    part, whole : array-like
        Of shapes that broadcast.

    Returns
    -------
    float64 array, or float64 if both are scalars
    """
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)[()]


def adjusted(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) float64: Benjamini and Hochberg's q-values; NaN stays NaN and is no test."""
    from scipy.stats import false_discovery_control

    q, known = np.full(len(p), np.nan), ~np.isnan(p)
    if known.any():
        q[known] = false_discovery_control(p[known])
    return q
