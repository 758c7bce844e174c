"""The scalars of Adam's update (Kingma and Ba, arXiv 1412.6980)."""

import numpy as np
from numpy.typing import NDArray

B1, B2, EPS = 0.9, 0.999, 1e-8


def adam_terms(lr: float, number: int, dtype: np.dtype) -> NDArray:
    """What a step needs besides gradients and moments.

    Parameters
    ----------
    lr : float
    number : int
        Of the step, from 1.

    Returns
    -------
    (5,) array
        ``lr / (1 - b1^number)``, ``1 / sqrt(1 - b2^number)``, ``1 - b1``, ``1 - b2``, eps.
    """
    return np.array([lr / (1 - B1**number), (1 - B2**number) ** -0.5, 1 - B1, 1 - B2, EPS], dtype)
