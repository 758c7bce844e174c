"""What a training step says of its batch."""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class StepResult:
    """Of the whole batch, over all processes.

    Attributes
    ----------
    reconstruction, penalty : float
        The two terms of the loss.
    l0 : float
        Active features a row.
    fvu : float
        ``sum ||x^ - x||^2 / sum ||x||^2``.
    active : (d_sae,) int64
        Rows on which each feature is active.
    """

    reconstruction: float
    penalty: float
    l0: float
    fvu: float
    active: torch.Tensor


def share(part: float, whole: float) -> float:
    """A part of a whole; of nothing nothing, and infinity where there is a part all the same."""
    return part / whole if whole else part and math.inf
