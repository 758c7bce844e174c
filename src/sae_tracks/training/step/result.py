"""What a training step says of its batch."""

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
