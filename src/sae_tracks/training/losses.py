"""Reconstruction losses of a sparse autoencoder, with their gradients."""

from collections.abc import Callable

import torch

Loss = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor | float]]


def l2norm(x: torch.Tensor, error: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over rows of ``||x^ - x||`` (InterPLM).

    Parameters
    ----------
    x : (n, d)
        Inputs, centred on the mean of the training data.
    error : (n, d)
        ``x^ - x``.

    Returns
    -------
    loss : ()
    factor : (n, 1) or float
        The gradient with respect to ``x^`` is ``factor * error``; 0 where a row is reconstructed exactly.
    """
    norm = error.norm(dim=1, keepdim=True)
    return norm.mean(), torch.where(norm > 0, 1 / (norm * len(x)), 0)


def l2sq(x: torch.Tensor, error: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Mean over rows of ``||x^ - x||^2``; parameters and returns as in `l2norm`."""
    return error.square().sum() / len(x), 2 / len(x)


def nmse(x: torch.Tensor, error: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fraction of variance unexplained, ``sum ||x^ - x||^2 / sum ||x||^2``; parameters and returns as in `l2norm`."""
    total = x.square().sum()
    return error.square().sum() / total, 2 / total


LOSSES: dict[str, Loss] = {"l2norm": l2norm, "l2sq": l2sq, "nmse": nmse}
