"""A training step on a GPU whose backward pass goes over non-zeros, in Triton; exact, without a capacity.

It has never run on a GPU, only in Triton's interpreter, so it is off unless the environment has SAE_TRACKS_TRITON=1.

Pre-activations are a product of cuBLAS, so that they have the bits of `PlainStep`'s: a product that kept only what is
active would save writing and reading them, 2 x 64 MB or 30 us on an H200, and lose more than that in fp32, where Triton
has no fast product. One pass over them sets a bit where a feature is active; from 2 x 2 MB of bits come the features of
each row and the rows of each feature, in arrays with room for all.

Of d_in 256, d_sae 8192, 2,048 rows and an L0 of 64 that is, at the rates of the data sheet (67 TFLOP/s in fp32, 495 in
TF32, 4.8 TB/s; about 5.5 TB/s out of the L2 cache), in us: the product 128 in fp32 and 17 in TF32, writing it 14,
marking 15, decoding 134 MB out of L2 25, gradients 268 MB out of L2 50, Adam 25; together 257 in fp32 and 146 in TF32.
"""

import importlib.util
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.train.parallel import Processes
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.step.common import LOSSES, Auxiliary, StepResult, Weights, adam_terms
from sae_tracks.train.step.plain import PlainStep

kernels: Any = None  # Triton's own types describe neither launches nor constants
if importlib.util.find_spec("triton"):
    kernels = importlib.import_module("sae_tracks.train.step.triton_kernels")

log = logging.getLogger(__name__)
SWITCH = "SAE_TRACKS_TRITON"
WORD, WORDS, FEATURES = 32, 64, 128  # bits of a word, words that are spread at once, features that are marked at once
VALUES = 4096  # of a tile of gathered rows
DIGIT, ROUNDS = 11, 8  # bits that a pass over a batch tells of its k n-th largest, tiles of VALUES a program
WIDEST = 1 << 16  # features of a row that the k-th largest is found of in registers
ORDER_EVERY = 64  # steps
# share of the change by a step; of weights more, as Adam's first steps are of size lr even where a gradient is rounding
CLOSE = {"weights": 1e-2, "first moments": 1e-3, "second moments": 1e-3}
ROUNDING = 1e-6  # share of what was there before


def triton_is_on(device: torch.device) -> bool:
    """Whether `SWITCH` asks for this step on a device; an error if it does and the device cannot run it.

    It needs an NVIDIA GPU of compute capability 8 or more, Triton, and the C compiler that Triton calls.
    """
    if os.environ.get(SWITCH, "0") in ("", "0"):
        return False
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    known = device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device)[0] >= 8
    if not (known and compiler and importlib.util.find_spec("triton")):
        raise SaeTracksError(f"{SWITCH} needs an NVIDIA GPU of compute capability 8 or more, triton and a C compiler")
    return True


@dataclass(frozen=True, slots=True)
class DeferredResult:
    """A `StepResult` whose numbers are still on the device: reading one waits for the step."""

    settings: TrainSettings
    loss: torch.Tensor
    sums: torch.Tensor  # of features, squared errors and squared inputs
    active: torch.Tensor

    @property
    def reconstruction(self) -> float:
        return self.loss.item()

    @property
    def penalty(self) -> float:
        if self.settings.arch == "standard":
            return self.settings.l1 * self.sums[0].item() / self.settings.batch_size
        return self.settings.l0_coefficient * self.l0 if self.settings.arch == "jumprelu" else 0.0

    @property
    def l0(self) -> float:
        return self.active.sum().item() / self.settings.batch_size

    @property
    def fvu(self) -> float:
        return (self.sums[1] / self.sums[2]).item()


class Lists:
    """The positions of the bits that are set in each line of a matrix.

    Attributes
    ----------
    words : (lines, ceil(length / 32)) int32
    items : (lines, length) int32
        Ascending; a line has as many as its count.
    counts : (lines,) int32
    """

    def __init__(self, items: torch.Tensor) -> None:
        self.items, (lines, self.length) = items, items.shape
        self.words = items.new_empty(lines, -(-self.length // WORD))
        self.counts = items.new_empty(lines)

    def fill(self) -> None:
        """Set items and counts from words."""
        lines, width = self.words.shape
        kernels.spread[(lines,)](self.words, self.items, self.counts, width, self.length, SIZE=WORDS)


class Peek:
    """A number of the device that the host learns while the device goes on."""

    def __init__(self, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self.number = torch.empty((), dtype=torch.int64, pin_memory=on_gpu)
        self.ready = torch.cuda.Event() if on_gpu else None

    def send(self, number: torch.Tensor) -> None:
        """Queue a () int64 tensor."""
        self.number.copy_(number, non_blocking=True)
        if self.ready:
            self.ready.record()

    def receive(self) -> int:
        """Wait for what was sent, and for nothing queued later."""
        if self.ready:
            self.ready.synchronize()
        return int(self.number)


class TritonStep:
    """Steps on batches of one size, parameters as of `PlainStep`, on a GPU; `PlainStep` says the same.

    Whether a batch is sparse depends on the batch alone; a dense one is `PlainStep`'s. The first sparse batch on which
    features are active is given to both, and where the outcomes differ, `PlainStep` goes on alone, with a warning.

    Parameters
    ----------
    precision : str, optional
        ``float32``, or ``tf32`` for the matrix products; default: what torch is set to.
    """

    def __init__(
        self,
        weights: Weights,
        first: Weights,
        second: Weights,
        settings: TrainSettings,
        rows: int,
        group: Processes,
        precision: str | None = None,
    ) -> None:
        self.weights, self.moments, self.settings, self.group = weights, (first, second), settings, group
        self.plain = PlainStep(weights, first, second, settings, rows, group)
        self.h, self.gradient = self.plain.h, self.plain.gradient
        self.tf32 = bool(torch.backends.cuda.matmul.allow_tf32 if precision is None else precision == "tf32")
        b_enc, device = weights.b_enc, weights.flat.device
        self.y, self.error = (b_enc.new_empty(rows, weights.d_in) for _ in range(2))
        self.least, self.sums = b_enc.new_zeros(rows), b_enc.new_empty(rows, 3)
        spare = self.plain.slope.view(torch.int32).flatten()[: self.h.numel()]  # PlainStep alone needs slopes in memory
        self.by_row = Lists(torch.empty(rows, weights.d_sae, dtype=torch.int32, device=device))
        self.by_feature = Lists(spare.view(weights.d_sae, rows))
        self.order = torch.arange(weights.d_sae, dtype=torch.int32, device=device)
        self.listed, self.peek = torch.zeros((), dtype=torch.int64, device=device), Peek(device)
        learns, mean = settings.arch == "jumprelu", 1 / settings.batch_size
        self.terms = settings.l1 * (settings.arch == "standard") * mean, settings.l0_coefficient * learns * mean
        self.half, self.inverse = (settings.bandwidth / 2, 1 / settings.bandwidth) if learns else (0.0, 0.0)
        whole, wanted = settings.batch_size * weights.d_sae, settings.k * settings.batch_size
        self.most, self.sparse = int(settings.sparse_below * whole), True
        self.counts = settings.arch not in ("topk", "batchtopk")
        if not self.counts:  # how many there are is known
            self.most, self.sparse = whole, wanted <= self.most
        self.tile = {"D": 1 << (weights.d_in - 1).bit_length()}
        self.tile["R"] = min(64, max(1, VALUES // self.tile["D"]))
        self.bits = 8 * b_enc.element_size() - 1
        self.lows = range(0, self.bits, DIGIT)[::-1]  # the first bits of the digits of a float
        self.state = torch.tensor([[0, wanted]] * (1 + len(self.lows)), device=device)
        self.trusted, self.checked = True, False

    @torch.no_grad()
    def __call__(
        self, x: torch.Tensor, lr: float, number: int, dead: torch.Tensor | None = None
    ) -> StepResult | DeferredResult:
        """Learn from a batch; see `Step`."""
        with _products(x, self.tf32):
            if not self.checked and self._forward(x):
                self._check(x, lr, number)
            if not (self.checked and self._forward(x)):
                return self.plain(x, lr, number, dead)
            result = self._learn(lr, number, dead)
        if number % ORDER_EVERY == 0:
            self.order = self.by_feature.counts.argsort(descending=True).int()
        return result

    @torch.no_grad()
    def gradients(
        self, x: torch.Tensor, dead: torch.Tensor | None = None
    ) -> tuple[StepResult | DeferredResult, Weights]:
        """Result of a batch and this process's part of its gradients; nothing is learned."""
        with _products(x, self.tf32):
            return self._backward(dead) if self._forward(x) else self.plain.gradients(x, dead)

    def _learn(self, lr: float, number: int, dead: torch.Tensor | None = None) -> DeferredResult:
        result, gradient = self._backward(dead)
        self.group.add_up(gradient.flat)
        flat, (d, n) = (each.flat for each in (self.weights, gradient, *self.moments)), self.weights.decoder.shape[::-1]
        kernels.update[(n + 1,)](*flat, n, d, *adam_terms(lr, number, np.float64).tolist(), D=self.tile["D"])
        return result

    def _forward(self, x: torch.Tensor) -> bool:
        """Find what is active and reconstruct; whether it is so little that it was done."""
        if not (self.trusted and self.sparse):
            return False
        w, (rows, features) = self.weights, self.h.shape
        torch.sub(x, w.b_dec, out=self.y)
        torch.addmm(w.b_enc, self.y, w.encoder.T, out=self.h)
        self._select()
        bits = self.by_row.words, self.by_feature.words
        grid = -(-rows // WORD), -(-features // FEATURES)
        kernels.mark[grid](self.h, w.threshold, self.least, *bits, rows, features, self.half, SIZE=FEATURES)
        self.by_row.fill()
        self.by_feature.fill()
        torch.sum(self.by_row.counts, 0, dtype=torch.int64, out=self.listed)
        if self.counts:
            self.peek.send(self.group.add_up(self.listed))
        found = self.by_row.items, self.by_row.counts, self.listed, self.most
        batch = x.contiguous(), self.y, self.error, self.sums
        kernels.decode[(rows,)](self.h, *found, w.threshold, w.decoder, *batch, features, w.d_in, **self.tile)
        return not self.counts or self.peek.receive() <= self.most

    def _select(self) -> None:
        """Set what an active feature of a row is at least."""
        k, features = min(self.settings.k, self.weights.d_sae), self.weights.d_sae
        if self.settings.arch == "batchtopk":
            self._select_of_batch()
        elif self.settings.arch == "topk" and features > WIDEST:
            torch.amin(self.h.topk(k, sorted=False).values.clamp_(min=0), 1, out=self.least)
        elif self.settings.arch == "topk":
            size = 1 << (features - 1).bit_length()
            how = {"BITS": self.bits, "SIZE": size, "num_warps": min(32, max(4, size // 1024))}
            kernels.least_of_rows[(len(self.h),)](self.h, self.least, k, features, **how)

    def _select_of_batch(self) -> None:
        """The k n-th largest of all processes, digit by digit."""
        size, counts = self.h.numel(), self.listed.new_zeros(len(self.lows), 1 << DIGIT, dtype=torch.int32)
        how = {"BITS": self.bits, "DIGIT": DIGIT, "SIZE": VALUES, "ROUNDS": ROUNDS, "num_warps": 8}
        for low, state, count in zip(self.lows, self.state, counts):
            kernels.tally[(-(-size // (VALUES * ROUNDS)),)](self.h, state, count, size, low, **how)
            kernels.narrow[(1,)](self.group.add_up(count), state, DIGIT=DIGIT)
        self.least.copy_(self.state[-1, 0].to(torch.int32 if self.bits == 31 else torch.int64).view(self.least.dtype))

    def _backward(self, dead: torch.Tensor | None) -> tuple[DeferredResult, Weights]:
        """Result and gradients of the batch that was last found sparse."""
        w, g, settings, rows = self.weights, self.gradient, self.settings, len(self.y)
        sums = self.group.add_up(self.sums.sum(0, dtype=torch.float64))
        loss, factor = LOSSES[settings.loss](self.sums[:, 1:2].sqrt(), settings.batch_size, sums[2])
        loss, extra = self.group.add_up(loss.double()), None
        if dead is not None and len(dead):
            extra = Auxiliary(w, dead, self.y, loss * sums[2] / sums[1].square())
            extra.add_rows(slice(None), self.error)
        self.error.mul_(factor)
        active = self.listed.new_empty(w.d_sae)
        entries = self.order, self.h, self.by_feature.items, self.by_feature.counts
        batch = w.flat, self.y, self.error, g.flat, active, rows, w.d_sae, w.d_in
        kernels.gradients[(w.d_sae,)](*entries, *batch, *self.terms, self.half, self.inverse, **self.tile, num_warps=8)
        if extra:
            extra.add_to(0, g.encoder, g.decoder, g.b_enc)
        torch.sum(self.error, 0, out=g.b_dec).sub_(w.encoder.T @ g.b_enc)
        return DeferredResult(settings, loss, sums, self.group.add_up(active)), g

    def _check(self, x: torch.Tensor, lr: float, number: int) -> None:
        """Take a step both ways, in fp32, and take it back; trust this one if they agree."""
        before = [each.flat.clone() for each in (self.weights, *self.moments)]
        with _products(x, False):
            if not self._forward(x):  # as it was in TF32
                return
            result = self._learn(lr, number)
            found = self._take_back(before)
            self.plain(x, lr, number)
            expected = self._take_back(before)
        self.checked = bool(result.active.any())
        wrong = [name for i, name in enumerate(CLOSE) if not self._agree(found[i], expected[i], before[i], CLOSE[name])]
        if wrong:
            self.trusted = False
            log.warning("training goes on without Triton: its first step differs from torch's in %s", ", ".join(wrong))

    def _take_back(self, before: list[torch.Tensor]) -> list[torch.Tensor]:
        """Weights and moments as they are; they are then as before."""
        states = [each.flat for each in (self.weights, *self.moments)]
        after = [state.clone() for state in states]
        for state, old in zip(states, before):
            state.copy_(old)
        return after

    def _agree(self, found: torch.Tensor, expected: torch.Tensor, before: torch.Tensor, share: float) -> bool:
        """Whether, in each kind of parameter, two outcomes differ by at most a share of the change, or by rounding."""
        d, n = self.weights.d_in, self.weights.d_sae
        parts = zip(*(flat.split([d * n, d * n, n, n, d]) for flat in (found, expected, before)))
        return all((f - e).norm() <= share * (e - b).norm() + ROUNDING * b.norm() for f, e, b in parts)


@contextmanager
def _products(x: torch.Tensor, tf32: bool) -> Iterator[None]:
    """Launch on the device of a tensor, matrix products in TF32 or in fp32."""
    backend = torch.backends.cuda.matmul
    before, backend.allow_tf32 = backend.allow_tf32, tf32
    try:
        with torch.cuda.device_of(x):
            yield
    finally:
        backend.allow_tf32 = before
