"""A training step in the words of torch: for every device, and the oracle of the faster ones."""

import numpy as np
import torch

from sae_tracks.train.parallel import Processes
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.step.common import LOSSES, Auxiliary, StepResult, Weights, adam_terms, kth_largest, ratio


class PlainStep:
    """Steps by five dense matrix products and no autograd; parameters as of `TiledStep`, on any device.

    The encoder reads ``y = x - b_dec``. Its gradient with respect to y, the sixth product, is needed only as the sum
    over rows that b_dec gets, and that is ``W_enc`` times the gradient of b_enc.
    """

    def __init__(
        self, weights: Weights, first: Weights, second: Weights, settings: TrainSettings, rows: int, group: Processes
    ) -> None:
        self.weights, self.moments, self.settings, self.group = weights, (first, second), settings, group
        self.h, self.slope = (weights.b_enc.new_empty(rows, weights.d_sae) for _ in range(2))
        self.gradient = Weights.like(weights)

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, lr: float, number: int, dead: torch.Tensor | None = None) -> StepResult:
        """Learn from a batch; see `Step`."""
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
        """Result of a batch and this process's part of its gradients; nothing is learned."""
        w, settings, g = self.weights, self.settings, self.gradient
        y = x - w.b_dec
        h = torch.addmm(w.b_enc, y, w.encoder.T, out=self.h)
        on = (h > w.threshold) & (h >= self._least(h))
        f = torch.where(on, h, 0)
        error = torch.mm(f, w.decoder).sub_(y)
        total = self.group.add_up(x.square().sum(dtype=torch.float64)).item()
        loss, factor = LOSSES[settings.loss](error, settings.batch_size, total)
        result = self._result(loss, f, on, error, total)
        out = error * factor
        torch.mm(f.T, out, out=g.decoder)
        slope = torch.mm(out, w.decoder.T, out=self.slope)
        if settings.arch == "standard":
            slope += settings.l1 / settings.batch_size
        self._threshold_gradient(h, slope)
        slope.mul_(on)
        torch.mm(slope.T, y, out=g.encoder)
        torch.sum(slope, 0, out=g.b_enc)
        if dead is not None and len(dead):
            scale = ratio(result.reconstruction, result.fvu * result.fvu * total)
            extra = Auxiliary(w, dead, y, scale)
            extra.add_rows(slice(None), error)
            extra.add_to(0, g.encoder, g.decoder, g.b_enc)
        torch.sum(out, 0, out=g.b_dec).sub_(w.encoder.T @ g.b_enc)
        return result, g

    def _least(self, h: torch.Tensor) -> torch.Tensor | float:
        """What an active feature is at least, besides being above its threshold."""
        settings = self.settings
        if settings.arch == "topk":
            return h.topk(min(settings.k, h.shape[1])).values[:, -1:].clamp(min=0)
        if settings.arch == "batchtopk":
            return kth_largest(h[h > 0], settings.k * settings.batch_size, self.group)
        return 0.0

    def _threshold_gradient(self, h: torch.Tensor, slope: torch.Tensor) -> None:
        """Through a rectangular kernel about the threshold (Rajamanoharan et al., arXiv 2407.14435)."""
        settings, threshold = self.settings, self.weights.threshold
        if settings.arch != "jumprelu":
            return
        near = (h - threshold).abs() < settings.bandwidth / 2
        pull = torch.where(near, threshold * slope + settings.l0_coefficient / settings.batch_size, 0)
        torch.sum(pull, 0, out=self.gradient.threshold).div_(-settings.bandwidth)

    def _result(self, loss, f, on, error, total: float) -> StepResult:
        """Sums over the processes."""
        settings, group = self.settings, self.group
        sums = torch.stack([f.sum(dtype=torch.float64), loss.double(), error.square().sum(dtype=torch.float64)])
        values, reconstruction, squares = group.add_up(sums).tolist()
        active = group.add_up(on.sum(0))
        l0 = active.sum().item() / settings.batch_size
        penalty = {"standard": settings.l1 * values / settings.batch_size, "jumprelu": settings.l0_coefficient * l0}
        return StepResult(reconstruction, penalty.get(settings.arch, 0.0), l0, ratio(squares, total), active)
