"""A training step in the words of torch, for every device: the oracle of the faster steps, and what they share with it.

The faster steps use its parameters, losses, auxiliary loss, result, and the scalars of Adam.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from sae_tracks.sae.model import SAE
from sae_tracks.train.parallel import Processes
from sae_tracks.train.settings import TrainSettings

B1, B2, EPS = 0.9, 0.999, 1e-8  # of Adam
AUXILIARY_WEIGHT = 1 / 16
Number = float | torch.Tensor


class Weights:
    """Parameters, or anything of their shape such as gradients and Adam's moments: views of one tensor, (size,) `flat`.

    Encoder, `SAE.W_enc` transposed, and decoder are (d_sae, d_in), b_enc and threshold (d_sae,), b_dec (d_in,).
    The threshold is 0 unless the architecture is ``jumprelu``.
    """

    def __init__(self, flat: torch.Tensor, d_in: int, d_sae: int) -> None:
        self.flat, self.d_in, self.d_sae = flat, d_in, d_sae
        matrix = d_in * d_sae
        encoder, decoder, self.b_enc, self.threshold, self.b_dec = flat.split([matrix, matrix, d_sae, d_sae, d_in])
        self.encoder, self.decoder = encoder.view(d_sae, d_in), decoder.view(d_sae, d_in)

    @classmethod
    def zeros(cls, d_in: int, d_sae: int, dtype: torch.dtype = torch.float32) -> "Weights":
        """All 0, on the CPU."""
        return cls(torch.zeros(weights_size(d_in, d_sae), dtype=dtype), d_in, d_sae)

    @classmethod
    def like(cls, other: "Weights") -> "Weights":
        """All 0, of the size, type and device of another."""
        return cls(torch.zeros_like(other.flat), other.d_in, other.d_sae)

    def sae(self) -> SAE:
        """An autoencoder of these weights without the threshold, float32 on the CPU."""
        tensors = (self.encoder.T, self.b_enc, self.decoder, self.b_dec)
        W_enc, b_enc, W_dec, b_dec = (t.to("cpu", torch.float32, copy=True).contiguous() for t in tensors)
        return SAE(W_enc, b_enc, W_dec, b_dec)


def weights_size(d_in: int, d_sae: int) -> int:
    """Number of parameters."""
    return 2 * d_in * d_sae + 2 * d_sae + d_in


@dataclass(frozen=True, slots=True)
class StepResult:
    """Sums over the whole batch and all processes; numbers may still be on the device, and reading one waits for it."""

    settings: TrainSettings
    loss: Number  # of the reconstruction
    features: Number  # sum of all features
    errors: Number  # ``sum ||x^ - x||^2``
    inputs: Number  # ``sum ||x||^2``
    active: torch.Tensor  # (d_sae,) int64: number of rows on which each feature is active

    @property
    def reconstruction(self) -> float:
        """The first term of the loss."""
        return float(self.loss)

    @property
    def penalty(self) -> float:
        """The second term of the loss."""
        if self.settings.arch == "standard":
            return self.settings.l1 * float(self.features) / self.settings.batch_size
        return self.settings.l0_coefficient * self.l0 if self.settings.arch == "jumprelu" else 0.0

    @property
    def l0(self) -> float:
        """Active features per row."""
        return self.active.sum().item() / self.settings.batch_size

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained, ``sum ||x^ - x||^2 / sum ||x||^2``."""
        return ratio(float(self.errors), float(self.inputs))


def ratio(part: float, whole: float) -> float:
    """``part / whole``; if the whole is 0, then 0 for a part of 0 and infinity for any other."""
    return part / whole if whole else part and math.inf


@dataclass(eq=False)
class Step:
    """Learns from one batch after another; parameters and Adam's two moments are changed in place."""

    weights: Weights
    first: Weights
    second: Weights
    settings: TrainSettings
    rows: int  # this process's share of a batch
    group: Processes

    def __post_init__(self) -> None:
        """Allocate memory for a batch."""

    @property
    def moments(self) -> tuple[Weights, Weights]:
        return self.first, self.second

    def __call__(self, x: torch.Tensor, lr: float, number: int, dead: torch.Tensor | None = None) -> StepResult:
        """Take one optimizer step, whose number counts from 1, on this process's rows, (n, d_in).

        Rows are centred on the mean of the training data. Dead features, (m,) int64, ascending and the same in all
        processes, learn what the others leave over.
        """
        raise NotImplementedError

    def gradients(self, x: torch.Tensor, dead: torch.Tensor | None = None) -> tuple[StepResult, Weights]:
        """Return the result of a batch and this process's part of its gradients; nothing is learned."""
        raise NotImplementedError


# A loss takes the errors x^ - x, (n, d), on some rows of a batch, the number of rows of the whole batch, and
# sum ||x||^2 over it, x centred on the mean of the training data. It returns these rows' part of the loss and a factor,
# a number or (n, 1): the gradient with respect to x^ is factor times error.


def l2norm(error: torch.Tensor, rows: int, total: Number) -> tuple[torch.Tensor, Number]:
    """Mean over rows of ``||x^ - x||`` (InterPLM); a row that is reconstructed exactly has no gradient."""
    norm = error.norm(dim=1, keepdim=True)
    return norm.sum() / rows, torch.where(norm > 0, 1 / (norm * rows), 0)


def l2sq(error: torch.Tensor, rows: int, total: Number) -> tuple[torch.Tensor, Number]:
    """Mean over rows of ``||x^ - x||^2``."""
    return error.square().sum() / rows, 2 / rows


def nmse(error: torch.Tensor, rows: int, total: Number) -> tuple[torch.Tensor, Number]:
    """Fraction of variance unexplained, ``sum ||x^ - x||^2 / sum ||x||^2``."""
    scale = 1 / total if total else 0.0
    return error.square().sum() * scale, 2 * scale


Loss = Callable[[torch.Tensor, int, Number], tuple[torch.Tensor, Number]]
LOSSES: dict[str, Loss] = {"l2norm": l2norm, "l2sq": l2sq, "nmse": nmse}


def adam_terms(lr: float, number: int, dtype: DTypeLike) -> NDArray:
    """The scalars of an Adam step, whose number counts from 1 (Kingma and Ba, arXiv 1412.6980).

    They are ``lr / (1 - b1^number)``, ``1 / sqrt(1 - b2^number)``, ``1 - b1``, ``1 - b2``, eps.
    """
    return np.array([lr / (1 - B1**number), (1 - B2**number) ** -0.5, 1 - B1, 1 - B2, EPS], dtype)


def kth_largest(values: torch.Tensor, k: int, group: Processes) -> float:
    """The k-th largest of the values, (n,) > 0, of all processes; 0 if there are fewer than k."""
    if group.count > 1:
        values = group.gather(values.topk(min(k, len(values)), sorted=False).values)
    return values.kthvalue(len(values) - k + 1).values.item() if len(values) >= k else 0.0


class Auxiliary:
    """The auxiliary loss of a batch: features that have not fired for long learn what the others leave over.

    See Gao et al., arXiv 2406.04093.

    It is ``scale AUXILIARY_WEIGHT min(1, m / k) sum ||z W - (x - x^)||^2``. W are the decoder rows of the m dead
    features, z the k = d_in / 2 largest of a row's pre-activations if positive; x - x^ counts as a constant.

    Parameters
    ----------
    dead : (m,) int64
        Features, ascending.
    y : (n, d_in)
        Input minus pre-bias.
    scale : float
        The reconstruction loss if nothing is explained, over the sum of squared errors of this batch.
    """

    def __init__(self, weights: Weights, dead: torch.Tensor, y: torch.Tensor, scale: Number) -> None:
        self.dead, self.y, self.k = dead, y, max(weights.d_in // 2, 1)
        self.encoder, self.decoder, self.b_enc = weights.encoder[dead], weights.decoder[dead], weights.b_enc[dead]
        self.factor = 2 * AUXILIARY_WEIGHT * scale * min(1.0, len(dead) / self.k)
        self.z, self.slope = (y.new_empty(len(dead), len(y)) for _ in range(2))
        self.out = torch.empty_like(y)

    def add_rows(self, rows: slice, error: torch.Tensor) -> None:
        """Take in some rows of the batch with their error, (n, d_in), the reconstruction minus the input."""
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


class PlainStep(Step):
    """Steps by five dense matrix products and no autograd, on any device.

    The encoder reads ``y = x - b_dec``. Its gradient with respect to y, the sixth product, is needed only as the sum
    over rows that b_dec gets, and that is ``W_enc`` times the gradient of b_enc.
    """

    def __post_init__(self) -> None:
        self.h, self.slope = (self.weights.b_enc.new_empty(self.rows, self.weights.d_sae) for _ in range(2))
        self.gradient = Weights.like(self.weights)

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, lr: float, number: int, dead: torch.Tensor | None = None) -> StepResult:
        """See `Step`."""
        result, gradient = self.gradients(x, dead)
        self.group.add_up(gradient.flat)
        w, (m, v) = self.weights, (moment.flat for moment in self.moments)
        gradient.decoder.sub_((gradient.decoder * w.decoder).sum(1, keepdim=True) * w.decoder)
        rate, scale, c1, c2, eps = adam_terms(lr, number, np.float64).tolist()
        m.lerp_(gradient.flat, c1)
        v.lerp_(gradient.flat.square(), c2)
        w.flat.addcdiv_(m, v.sqrt().mul_(scale).add_(eps), value=-rate)
        w.decoder.div_(w.decoder.norm(dim=1, keepdim=True))
        w.threshold.clamp_(min=0)
        return result

    @torch.no_grad()
    def gradients(self, x: torch.Tensor, dead: torch.Tensor | None = None) -> tuple[StepResult, Weights]:
        """See `Step`."""
        w, settings, g = self.weights, self.settings, self.gradient
        y = x - w.b_dec
        h = torch.addmm(w.b_enc, y, w.encoder.T, out=self.h)
        on = (h > w.threshold) & (h >= self._least(h))
        f = torch.where(on, h, 0)
        error = torch.mm(f, w.decoder).sub_(y)
        total = self.group.add_up(x.square().sum(dtype=torch.float64)).item()
        loss, factor = LOSSES[settings.loss](error, settings.batch_size, total)
        sums = torch.stack([loss.double(), f.sum(dtype=torch.float64), error.square().sum(dtype=torch.float64)])
        reconstruction, features, squares = self.group.add_up(sums).tolist()
        active = self.group.add_up(on.sum(0))
        result = StepResult(settings, reconstruction, features, squares, total, active)
        out = error * factor
        torch.mm(f.T, out, out=g.decoder)
        slope = torch.mm(out, w.decoder.T, out=self.slope)
        if settings.arch == "standard":
            slope += settings.l1 / settings.batch_size
        if settings.arch == "jumprelu":
            self._learn_thresholds(h, slope)
        slope.mul_(on)
        torch.mm(slope.T, y, out=g.encoder)
        torch.sum(slope, 0, out=g.b_enc)
        if dead is not None and len(dead):
            extra = Auxiliary(w, dead, y, ratio(reconstruction, result.fvu * result.fvu * total))
            extra.add_rows(slice(None), error)
            extra.add_to(0, g.encoder, g.decoder, g.b_enc)
        torch.sum(out, 0, out=g.b_dec).sub_(w.encoder.T @ g.b_enc)
        return result, g

    def _least(self, h: torch.Tensor) -> Number:
        """The lowest value of an active feature, besides being above its threshold."""
        settings = self.settings
        if settings.arch == "topk":
            return h.topk(min(settings.k, h.shape[1])).values[:, -1:].clamp(min=0)
        if settings.arch == "batchtopk":
            return kth_largest(h[h > 0], settings.k * settings.batch_size, self.group)
        return 0.0

    def _learn_thresholds(self, h: torch.Tensor, slope: torch.Tensor) -> None:
        """Set their gradient, through a rectangular kernel about them (Rajamanoharan et al., arXiv 2407.14435)."""
        settings, threshold = self.settings, self.weights.threshold
        near = (h - threshold).abs() < settings.bandwidth / 2
        pull = torch.where(near, threshold * slope + settings.l0_coefficient / settings.batch_size, 0)
        torch.sum(pull, 0, out=self.gradient.threshold).div_(-settings.bandwidth)
