"""Reconstruction losses of a sparse autoencoder, with their gradients: parts of a batch add up to the whole."""

from collections.abc import Callable

import torch

Loss = Callable[[torch.Tensor, int, float], tuple[torch.Tensor, torch.Tensor | float]]


def l2norm(error: torch.Tensor, rows: int, total: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over rows of ``||x^ - x||`` (InterPLM).

    Parameters
    ----------
    error : (n, d)
        ``x^ - x`` on some rows of a batch.
    rows : int
        Of the batch in all.
    total : float
        ``sum ||x||^2`` over the batch, x centred on the mean of the training data.

    Returns
    -------
    part : ()
        Of the loss.
    factor : (n, 1) or float
        The gradient with respect to ``x^`` is ``factor * error``; 0 where a row is reconstructed exactly.
    """
    norm = error.norm(dim=1, keepdim=True)
    return norm.sum() / rows, torch.where(norm > 0, 1 / (norm * rows), 0)


def l2sq(error: torch.Tensor, rows: int, total: float) -> tuple[torch.Tensor, float]:
    """Mean over rows of ``||x^ - x||^2``; parameters and returns as in `l2norm`."""
    return error.square().sum() / rows, 2 / rows


def nmse(error: torch.Tensor, rows: int, total: float) -> tuple[torch.Tensor, float]:
    """Fraction of variance unexplained, ``sum ||x^ - x||^2 / sum ||x||^2``; parameters and returns as in `l2norm`."""
    scale = 1 / total if total else 0.0
    return error.square().sum() * scale, 2 * scale


LOSSES: dict[str, Loss] = {"l2norm": l2norm, "l2sq": l2sq, "nmse": nmse}
