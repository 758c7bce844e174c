"""What all forms of the training step share: parameters, losses, Adam's scalars, the auxiliary loss, the result."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from sae_tracks.sae.model import SAE
from sae_tracks.train.parallel import Processes

B1, B2, EPS = 0.9, 0.999, 1e-8  # of Adam
AUXILIARY_WEIGHT = 1 / 16
SLACK = 0.9  # of the last batch's least value: smaller values are taken to be none of this batch's largest
Loss = Callable[[torch.Tensor, int, float | torch.Tensor], tuple[torch.Tensor, torch.Tensor | float]]


class Weights:
    """Parameters, or anything of their shape: their gradients, Adam's moments.

    Attributes
    ----------
    flat : (size,) tensor
        All of them; the others are views of it.
    encoder, decoder : (d_sae, d_in)
        One row per feature: the encoder is `SAE.W_enc` transposed.
    b_enc : (d_sae,)
    threshold : (d_sae,)
        For a ``jumprelu``; otherwise 0.
    b_dec : (d_in,)
    """

    def __init__(self, flat: torch.Tensor, d_in: int, d_sae: int) -> None:
        self.flat, self.d_in, self.d_sae = flat, d_in, d_sae
        matrix = d_in * d_sae
        encoder, decoder, self.b_enc, self.threshold, self.b_dec = flat.split([matrix, matrix, d_sae, d_sae, d_in])
        self.encoder, self.decoder = encoder.view(d_sae, d_in), decoder.view(d_sae, d_in)

    @classmethod
    def zeros(
        cls, d_in: int, d_sae: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> "Weights":
        """All 0."""
        return cls(torch.zeros(weights_size(d_in, d_sae), dtype=dtype, device=device), d_in, d_sae)

    @classmethod
    def like(cls, other: "Weights") -> "Weights":
        """All 0, of the size, type and device of another."""
        return cls(torch.zeros_like(other.flat), other.d_in, other.d_sae)

    def sae(self, *, threshold: torch.Tensor | None = None, k: int | None = None) -> SAE:
        """An autoencoder of these weights, float32 on the CPU; with a threshold or a k, see `SAE`."""
        parts = (self.encoder.T, self.b_enc, self.decoder, self.b_dec)
        W_enc, b_enc, W_dec, b_dec = (p.to("cpu", torch.float32, copy=True).contiguous() for p in parts)
        return SAE(W_enc, b_enc, W_dec, b_dec, threshold=threshold, k=k)


def weights_size(d_in: int, d_sae: int) -> int:
    """How many parameters there are."""
    return 2 * d_in * d_sae + 2 * d_sae + d_in


@dataclass(frozen=True, slots=True)
class StepResult:
    """Of the whole batch, over all processes.

    Attributes
    ----------
    reconstruction, penalty : float
        The two terms of the loss.
    l0 : float
        Active features per row.
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


def ratio(part: float, whole: float) -> float:
    """``part / whole``; if the whole is 0, then 0 for a part of 0 and infinity for any other."""
    return part / whole if whole else part and math.inf


class Step(Protocol):
    """Learns from one batch after another."""

    def __call__(self, x: torch.Tensor, lr: float, number: int, dead: torch.Tensor | None = None) -> StepResult:
        """One optimizer step.

        Parameters
        ----------
        x : (n, d_in)
            This process's rows, centred on the mean of the training data.
        lr : float
        number : int
            Of the step, from 1.
        dead : (m,) int64, optional
            Features, ascending, that learn what the others leave over; the same in all processes.
        """
        ...


def l2norm(error: torch.Tensor, rows: int, total: float | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
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
        The gradient with respect to ``x^`` is ``factor * error``; 0 if a row is reconstructed exactly.
    """
    norm = error.norm(dim=1, keepdim=True)
    return norm.sum() / rows, torch.where(norm > 0, 1 / (norm * rows), 0)


def l2sq(error: torch.Tensor, rows: int, total: float | torch.Tensor) -> tuple[torch.Tensor, float | torch.Tensor]:
    """Mean over rows of ``||x^ - x||^2``; parameters and returns as in `l2norm`."""
    return error.square().sum() / rows, 2 / rows


def nmse(error: torch.Tensor, rows: int, total: float | torch.Tensor) -> tuple[torch.Tensor, float | torch.Tensor]:
    """Fraction of variance unexplained, ``sum ||x^ - x||^2 / sum ||x||^2``; parameters and returns as in `l2norm`."""
    scale = 1 / total if total else 0.0
    return error.square().sum() * scale, 2 * scale


LOSSES: dict[str, Loss] = {"l2norm": l2norm, "l2sq": l2sq, "nmse": nmse}


def adam_terms(lr: float, number: int, dtype: DTypeLike) -> NDArray:
    """The scalars of an Adam step (Kingma and Ba, arXiv 1412.6980).

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


def kth_largest(values: torch.Tensor, k: int, group: Processes) -> float:
    """The k-th largest of the values of all processes; 0 if there are fewer than k.

    Parameters
    ----------
    values : (n,)
        This process's, > 0.
    """
    every = group.gather(_largest(values, k) if group.count > 1 else values)
    return every.kthvalue(len(every) - k + 1).values.item() if len(every) >= k else 0.0


def _largest(values: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest, or all if there are fewer, in no order."""
    return values.topk(min(k, len(values)), sorted=False).values


class Auxiliary:
    """The auxiliary loss of a batch: features that have not fired for long learn what the others leave over.

    See Gao et al., arXiv 2406.04093.

    It is ``scale AUXILIARY_WEIGHT min(1, m / k) sum ||z W - (x - x^)||^2``. W are the decoder rows of the m dead
    features, z the k = d_in / 2 largest of a row's pre-activations if positive; x - x^ counts as a constant.

    Parameters
    ----------
    weights : Weights
    dead : (m,) int64
        Features, ascending.
    y : (n, d_in)
        Input minus pre-bias.
    scale : float
        The reconstruction loss of a batch of which nothing is explained, over the sum of squared errors of this batch.
    """

    def __init__(self, weights: Weights, dead: torch.Tensor, y: torch.Tensor, scale: float | torch.Tensor) -> None:
        self.dead, self.y, self.k = dead, y, max(weights.d_in // 2, 1)
        self.encoder, self.decoder, self.b_enc = weights.encoder[dead], weights.decoder[dead], weights.b_enc[dead]
        self.factor = 2 * AUXILIARY_WEIGHT * scale * min(1.0, len(dead) / self.k)
        self.z, self.slope = (y.new_empty(len(dead), len(y)) for _ in range(2))
        self.out = torch.empty_like(y)

    def add_rows(self, rows: slice, error: torch.Tensor) -> None:
        """Take in some rows of the batch, of which (n, d_in) `error` is the reconstruction minus the input."""
        z = torch.addmm(self.b_enc[:, None], self.encoder, self.y[rows].T).relu_()
        if len(self.dead) > self.k:
            values, at = z.topk(self.k, dim=0, sorted=False)
            z = torch.zeros_like(z).scatter_(0, at, values)
        self.z[:, rows] = z
        out = self.out[rows] = torch.addmm(error, z.T, self.decoder).mul_(self.factor)
        self.slope[:, rows] = torch.mm(self.decoder, out.T).mul_(z > 0)

    def add_to(self, first: int, g_encoder: torch.Tensor, g_decoder: torch.Tensor, g_bias: torch.Tensor) -> None:
        """Add to the gradients of a tile of features that begins with `first`, once all rows are taken in."""
        edges = torch.tensor([first, first + len(g_bias)], device=self.dead.device)
        mine = slice(*torch.searchsorted(self.dead, edges).tolist())
        at, slope = self.dead[mine] - first, self.slope[mine]
        g_encoder.index_add_(0, at, slope @ self.y)
        g_decoder.index_add_(0, at, self.z[mine] @ self.out)
        g_bias.index_add_(0, at, slope.sum(1))
