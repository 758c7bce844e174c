# pyright: reportMissingImports=false, reportOperatorIssue=false, reportAssignmentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false, reportArgumentType=false
"""A training step on a GPU whose backward pass goes over non-zeros, in Triton; exact, without a capacity.

It has never run on a GPU, only in Triton's interpreter, so it is off unless the environment has SAE_TRACKS_TRITON=1.

Pre-activations are a product of cuBLAS, so that they have the bits of `PlainStep`'s: a product that kept only active
features would save writing and reading them, 2 x 64 MB or 30 us on an H200, and lose more than that in fp32, because
Triton has no fast product in fp32. One pass over them sets a bit for each active feature. From 2 x 2 MB of bits come
the features of each row and the rows of each feature, in arrays with room for all.

For d_in 256, d_sae 8192, 2,048 rows and an L0 of 64, the rates of the data sheet (67 TFLOP/s in fp32, 495 in TF32, 4.8
TB/s; about 5.5 TB/s out of the L2 cache) give in us: the product 128 in fp32 and 17 in TF32, writing it 14, marking 15,
decoding 134 MB out of L2 25, gradients 268 MB out of L2 50, Adam 25; together 257 in fp32 and 146 in TF32.

In the kernels, floats are all float32 or all float64, and a program is one row of the grid. No float is added to memory
atomically and no order depends on the scheduler, so that the same batch gives the same bytes. Offsets that reach
n x d_sae are int64.
"""
# Triton's own types describe neither launches nor constants, hence the rules for pyright above

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import triton
import triton.language as tl
from triton.language import constexpr

from sae_tracks.train.parallel import tf32_products
from sae_tracks.train.step.plain import LOSSES, Auxiliary, PlainStep, Step, StepResult, Weights, adam_terms

log = logging.getLogger(__name__)
WORD = constexpr(32)  # bits
WORDS, FEATURES = 64, 128  # words that are spread at once, features that are marked at once
VALUES = 4096  # of a tile of gathered rows
DIGIT, ROUNDS = 11, 8  # bits of the k n-th largest found by one pass over a batch, tiles of VALUES per program
WIDEST = 1 << 16  # features of a row whose k-th largest is found in registers
ORDER_EVERY = 64  # steps
# share of the change by a step; of weights more, as Adam's first steps are of size lr even if a gradient is rounding
CLOSE = {"weights": 1e-2, "first moments": 1e-3, "second moments": 1e-3}
ROUNDING = 1e-6  # share of the value before


@triton.jit
def mark(h, threshold, least, by_row, by_feature, n, features, half, SIZE: constexpr):
    """Set a bit, in words of rows and in words of features, if a feature is active on a row or near its threshold.

    A program takes 32 rows and SIZE features. h: (n, features); threshold: (features,); least: (n,), what an active
    feature is at least; by_row: (n, ceil(features / 32)) int32; by_feature: (features, ceil(n / 32)) int32; half:
    distance from the threshold that counts as near.
    """
    bit, block = tl.arange(0, WORD), tl.program_id(0)
    row = block * WORD + bit
    feature = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = (row < n)[:, None] & (feature < features)[None, :]
    value = tl.load(h + row.to(tl.int64)[:, None] * features + feature[None, :], mask=inside, other=0.0)
    cut = tl.load(threshold + feature, mask=feature < features, other=0.0)[None, :]
    low = tl.load(least + row, mask=row < n, other=0.0)[:, None]
    found = ((value > cut) & (value >= low)) | (tl.abs(value - cut) < half)
    found = (found & inside).to(tl.int32)
    at = by_feature + feature * tl.cdiv(n, WORD) + block
    tl.store(at, tl.sum(found << bit[:, None], 0), mask=feature < features)
    words = tl.cdiv(features, WORD)
    word = tl.program_id(1) * (SIZE // WORD) + tl.arange(0, SIZE // WORD)
    packed = tl.sum(tl.reshape(found, (WORD, SIZE // WORD, WORD)) << bit[None, None, :], 2)
    tl.store(by_row + row[:, None] * words + word[None, :], packed, mask=(row < n)[:, None] & (word < words)[None, :])


@triton.jit
def spread(words, items, counts, width, length, SIZE: constexpr):
    """List the bits that are set, ascending; a program takes a line.

    words: (lines, width) int32; items: (lines, length) int32, set up to the line's count; counts:
    (lines,) int32.
    """
    line = tl.program_id(0).to(tl.int64)
    bit = tl.arange(0, WORD)
    count = 0
    for first in range(0, width, SIZE):
        at = first + tl.arange(0, SIZE)
        word = tl.load(words + line * width + at, mask=at < width, other=0)
        on = (word[:, None] >> bit[None, :]) & 1
        held = tl.sum(on, 1)
        place = count + (tl.cumsum(held, 0) - held)[:, None] + tl.cumsum(on, 1) - on
        tl.store(items + line * length + place, at[:, None] * WORD + bit[None, :], mask=on > 0)
        count += tl.sum(held, 0)
    tl.store(counts + line, count)


@triton.jit
def _keys(value, BITS: constexpr):
    """Integers that sort as floats do, of BITS bits besides the sign; 0 for a value that is not positive."""
    KEY: constexpr = tl.int64 if BITS > 31 else tl.int32
    return tl.where(value > 0, value, 0.0).to(KEY, bitcast=True)


@triton.jit
def least_of_rows(h, least, k, features, BITS: constexpr, SIZE: constexpr):
    """Find the k-th largest of each row, bit by bit; 0 if fewer than k are positive.

    h: (n, features); least: (n,); SIZE: >= features.
    """
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, SIZE)
    value = tl.load(h + row * features + at, mask=at < features, other=0.0)
    key = _keys(value, BITS)
    one = tl.full((1,), 1, key.dtype)
    best = tl.zeros((1,), key.dtype)
    for i in range(BITS):
        trial = best | (one << (BITS - 1 - i))
        enough = tl.sum((key >= trial).to(tl.int32), 0) >= k
        best = tl.where(enough, trial, best)
    tl.store(least + row + tl.arange(0, 1), best.to(value.dtype, bitcast=True))


@triton.jit
def tally(h, state, counts, size, low, BITS: constexpr, DIGIT: constexpr, SIZE: constexpr, ROUNDS: constexpr):
    """Count the digits, DIGIT bits from bit `low` on, of the positive values whose higher bits are those in `state`.

    h: (size,); state: (2,) int64, the higher bits and more; counts: (2^DIGIT,) int32, added to.
    """
    BINS: constexpr = 1 << DIGIT
    lane = tl.arange(0, SIZE)
    known = tl.load(state)
    total = tl.zeros((2 * BINS,), tl.int32)
    for i in range(ROUNDS):
        at = (tl.program_id(0).to(tl.int64) * ROUNDS + i) * SIZE + lane
        value = tl.load(h + at, mask=at < size, other=0.0)
        key = _keys(value, BITS).to(tl.int64) >> low
        digit = (key & (BINS - 1)).to(tl.int32)
        counted = (value > 0) & ((key >> DIGIT) == known)
        # other values go to as many bins above, one after the other, so that threads seldom wait for each other
        total += tl.histogram(tl.where(counted, digit, BINS + (lane & (BINS - 1))), 2 * BINS)
    bin = tl.arange(0, 2 * BINS)
    tl.atomic_add(counts + bin, total, mask=(bin < BINS) & (total > 0))


@triton.jit
def narrow(counts, state, DIGIT: constexpr):
    """Find one digit more of the k-th largest; all stay 0 if there are fewer than k.

    counts: (2^DIGIT,) int32, of `tally`; state: (2, 2) int64, the digits before and which of the values that begin with
    them is looked for, counted from the largest; the second row is set to what follows from the first.
    """
    BINS: constexpr = 1 << DIGIT
    bin = tl.arange(0, BINS)
    held = tl.load(counts + BINS - 1 - bin).to(tl.int64)
    known, wanted = tl.load(state), tl.load(state + 1)
    above = tl.sum((tl.cumsum(held, 0) < wanted).to(tl.int32), 0)
    above = tl.minimum(above, BINS - 1)
    tl.store(state + 2, (known << DIGIT) | (BINS - 1 - above).to(tl.int64))
    tl.store(state + 3, wanted - tl.sum(tl.where(bin < above, held, 0), 0))


@triton.jit
def decode(
    h, items, counts, listed, most, threshold, decoder, x, y, error, sums, features, d, R: constexpr, D: constexpr
):
    """Reconstruct a row from its features, R at a time, unless more than `most` are listed in the whole batch.

    h: (n, features); items: (n, features) int32; counts: (n,) int32; listed: () int64; threshold: (features,); decoder:
    (features, d); x, y: (n, d), with and without pre-bias; error: (n, d), set to ``x^ - x``; sums: (n, 3), set to the
    sum of the features, ``||error||^2`` and ``||x||^2``; D: >= d.
    """
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, D)
    inside = column < d
    target = tl.load(y + row * d + column, mask=inside, other=0.0)
    made = tl.zeros((R, D), target.dtype)
    total = tl.zeros((R,), target.dtype)
    count = tl.where(tl.load(listed) > most, 0, tl.load(counts + row))
    for first in range(0, count, R):
        i = first + tl.arange(0, R)
        valid = i < count
        f = tl.load(items + row * features + i, mask=valid, other=0).to(tl.int64)
        value = tl.load(h + row * features + f, mask=valid, other=0.0)
        value = tl.where(value > tl.load(threshold + f, mask=valid, other=0.0), value, 0.0)
        w = tl.load(decoder + f[:, None] * d + column[None, :], mask=valid[:, None] & inside[None, :], other=0.0)
        made += value[:, None] * w
        total += value
    wrong = tl.sum(made, 0) - target
    tl.store(error + row * d + column, wrong, mask=inside)
    given = tl.load(x + row * d + column, mask=inside, other=0.0)
    tl.store(sums + row * 3, tl.sum(total, 0))
    tl.store(sums + row * 3 + 1, tl.sum(wrong * wrong, 0))
    tl.store(sums + row * 3 + 2, tl.sum(given * given, 0))


@triton.jit
def gradients(
    order, h, items, counts, w, y, out, g, active, n, features, d, l1, l0, half, inverse, R: constexpr, D: constexpr
):
    """The gradients of a feature from the rows on which it is listed, R at a time.

    order: (features,) int32, which features begin first; h: (n, features); items: (features, n) int32; counts:
    (features,) int32; y, out: (n, d), the encoder's input and the gradient with respect to the reconstruction; w, g:
    parameters and gradients as of `Weights.flat`; active: (features,) int64; l1, l0: of the penalties, over the batch;
    half, inverse: half the width of the thresholds' kernel, 0 if there is none, and 1 over the width; D: >= d.
    """
    f, column = tl.load(order + tl.program_id(0)).to(tl.int64), tl.arange(0, D)
    inside = column < d
    matrix = tl.cast(features, tl.int64) * d
    here = f * d + column
    direction = tl.load(w + matrix + here, mask=inside, other=0.0)
    cut = tl.load(w + 2 * matrix + features + f)
    encoder = tl.zeros((R, D), direction.dtype)
    decoder = tl.zeros((R, D), direction.dtype)
    bias = tl.zeros((R,), direction.dtype)
    pull = tl.zeros((R,), direction.dtype)
    hits = tl.zeros((R,), tl.int32)
    count = tl.load(counts + f)
    for first in range(0, count, R):
        i = first + tl.arange(0, R)
        valid = i < count
        row = tl.load(items + f * n + i, mask=valid, other=0).to(tl.int64)
        value = tl.load(h + row * features + f, mask=valid, other=0.0)
        at, there = row[:, None] * d + column[None, :], valid[:, None] & inside[None, :]
        o = tl.load(out + at, mask=there, other=0.0)
        slope = tl.sum(o * direction[None, :], 1) + l1
        on = valid & (value > cut)
        pull += tl.where(valid & (tl.abs(value - cut) < half), cut * slope + l0, 0.0)
        slope = tl.where(on, slope, 0.0)
        decoder += tl.where(on, value, 0.0)[:, None] * o
        encoder += slope[:, None] * tl.load(y + at, mask=there, other=0.0)
        bias += slope
        hits += on.to(tl.int32)
    tl.store(g + here, tl.sum(encoder, 0), mask=inside)
    tl.store(g + matrix + here, tl.sum(decoder, 0), mask=inside)
    tl.store(g + 2 * matrix + f, tl.sum(bias, 0))
    tl.store(g + 2 * matrix + features + f, -inverse * tl.sum(pull, 0))
    tl.store(active + f, tl.sum(hits, 0).to(tl.int64))


@triton.jit
def _moved(old, slope, m, v, at, inside, rate, scale, c1, c2, eps):
    """Parameters after Adam's update; the moments at an offset are changed."""
    first = tl.load(m + at, mask=inside, other=0.0)
    second = tl.load(v + at, mask=inside, other=0.0)
    first += c1 * (slope - first)
    second += c2 * (slope * slope - second)
    tl.store(m + at, first, mask=inside)
    tl.store(v + at, second, mask=inside)
    return old - rate * first / (tl.sqrt(second) * scale + eps)


@triton.jit
def _learn(w, g, m, v, at, inside, rate, scale, c1, c2, eps, least):
    """Adam's update of the parameters at an offset, which are then at least `least`."""
    old, slope = tl.load(w + at, mask=inside, other=0.0), tl.load(g + at, mask=inside, other=0.0)
    new = _moved(old, slope, m, v, at, inside, rate, scale, c1, c2, eps)
    tl.store(w + at, tl.where(new < least, least, new), mask=inside)  # NaN stays NaN


@triton.jit
def update(w, g, m, v, features, d, rate, scale, c1, c2, eps, D: constexpr):
    """Adam on a feature, its decoder row kept at length 1; the program after the last feature's takes the pre-bias.

    w, g, m, v: parameters, gradients and moments as of `Weights.flat`; rate, scale, c1, c2, eps: of `adam_terms`.
    """
    f, column = tl.program_id(0).to(tl.int64), tl.arange(0, D)
    inside, one = column < d, tl.arange(0, 1)
    matrix = tl.cast(features, tl.int64) * d
    low = float("-inf")
    if f == features:
        at = 2 * (matrix + features) + column
        _learn(w, g, m, v, at, inside, rate, scale, c1, c2, eps, low)
    else:
        at = f * d + column
        _learn(w, g, m, v, at, inside, rate, scale, c1, c2, eps, low)
        at += matrix
        old, slope = tl.load(w + at, mask=inside, other=0.0), tl.load(g + at, mask=inside, other=0.0)
        slope -= tl.sum(slope * old, 0) * old
        new = tl.where(inside, _moved(old, slope, m, v, at, inside, rate, scale, c1, c2, eps), 0.0)
        tl.store(w + at, new / tl.sqrt(tl.sum(new * new, 0)), mask=inside)
        place = 2 * matrix + f + one
        _learn(w, g, m, v, place, one < 1, rate, scale, c1, c2, eps, low)
        _learn(w, g, m, v, place + features, one < 1, rate, scale, c1, c2, eps, 0.0)


class Lists:
    """The positions of the bits that are set in each line of a matrix, all int32."""

    def __init__(self, items: torch.Tensor) -> None:
        self.items, (lines, self.length) = items, items.shape  # ascending; a line has as many as its count
        self.words = items.new_empty(lines, -(-self.length // WORD.value))  # the bits
        self.counts = items.new_empty(lines)

    def fill(self) -> None:
        """Set items and counts from words."""
        lines, width = self.words.shape
        spread[(lines,)](self.words, self.items, self.counts, width, self.length, SIZE=WORDS)


class TritonStep(Step):
    """Steps on batches of one size, on a GPU; `PlainStep` says the same in the words of torch.

    Whether a batch is sparse depends on the batch alone; `PlainStep` takes the dense ones. The first sparse batch on
    which features are active is given to both. If the outcomes differ, `PlainStep` goes on alone, with a warning.
    """

    def __post_init__(self) -> None:
        weights, settings, rows = self.weights, self.settings, self.rows
        self.plain = PlainStep(weights, self.first, self.second, settings, rows, self.group)
        self.h, self.gradient = self.plain.h, self.plain.gradient
        self.tf32 = torch.backends.cuda.matmul.allow_tf32  # for the matrix products
        b_enc, device = weights.b_enc, weights.flat.device
        self.y, self.error = (b_enc.new_empty(rows, weights.d_in) for _ in range(2))
        self.least, self.sums = b_enc.new_zeros(rows), b_enc.new_empty(rows, 3)
        spare = self.plain.slope.view(torch.int32).flatten()[: self.h.numel()]  # PlainStep alone needs slopes in memory
        self.by_row = Lists(torch.empty(rows, weights.d_sae, dtype=torch.int32, device=device))
        self.by_feature = Lists(spare.view(weights.d_sae, rows))
        self.order = torch.arange(weights.d_sae, dtype=torch.int32, device=device)
        learns, mean = settings.arch == "jumprelu", 1 / settings.batch_size
        self.terms = settings.l1 * (settings.arch == "standard") * mean, settings.l0_coefficient * learns * mean
        self.half, self.inverse = (settings.bandwidth / 2, 1 / settings.bandwidth) if learns else (0.0, 0.0)
        whole, wanted = settings.batch_size * weights.d_sae, settings.k * settings.batch_size
        self.most, self.sparse = int(settings.sparse_below * whole), True
        self.counts = settings.arch not in ("topk", "batchtopk")
        if not self.counts:  # how many there are is known
            self.most, self.sparse = whole, wanted <= self.most
        self.listed, on_gpu = torch.zeros((), dtype=torch.int64, device=device), device.type == "cuda"
        self.known = torch.empty((), dtype=torch.int64, pin_memory=on_gpu)  # `listed` of all processes, on the host
        self.arrived = torch.cuda.Event() if on_gpu else None
        self.tile = {"D": 1 << (weights.d_in - 1).bit_length()}
        self.tile["R"] = min(64, max(1, VALUES // self.tile["D"]))
        self.bits = 8 * b_enc.element_size() - 1
        self.lows = range(0, self.bits, DIGIT)[::-1]  # the first bits of the digits of a float
        self.state = torch.tensor([[0, wanted]] * (1 + len(self.lows)), device=device)
        self.trusted, self.checked = True, False

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, lr: float, number: int, dead: torch.Tensor | None = None) -> StepResult:
        """See `Step`."""
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
    def gradients(self, x: torch.Tensor, dead: torch.Tensor | None = None) -> tuple[StepResult, Weights]:
        """See `Step`."""
        with _products(x, self.tf32):
            return self._backward(dead) if self._forward(x) else self.plain.gradients(x, dead)

    def _learn(self, lr: float, number: int, dead: torch.Tensor | None = None) -> StepResult:
        result, gradient = self._backward(dead)
        self.group.add_up(gradient.flat)
        flat, (d, n) = (each.flat for each in (self.weights, gradient, *self.moments)), self.weights.decoder.shape[::-1]
        update[(n + 1,)](*flat, n, d, *adam_terms(lr, number, np.float64).tolist(), D=self.tile["D"])
        return result

    def _forward(self, x: torch.Tensor) -> bool:
        """Find the active features and reconstruct; returns False if this was not done because they are too many."""
        if not (self.trusted and self.sparse):
            return False
        w, (rows, features) = self.weights, self.h.shape
        torch.sub(x, w.b_dec, out=self.y)
        torch.addmm(w.b_enc, self.y, w.encoder.T, out=self.h)
        self._select()
        bits = self.by_row.words, self.by_feature.words
        grid = -(-rows // WORD.value), -(-features // FEATURES)
        mark[grid](self.h, w.threshold, self.least, *bits, rows, features, self.half, SIZE=FEATURES)
        self.by_row.fill()
        self.by_feature.fill()
        torch.sum(self.by_row.counts, 0, dtype=torch.int64, out=self.listed)
        if self.counts:
            self.known.copy_(self.group.add_up(self.listed), non_blocking=True)
            if self.arrived:
                self.arrived.record()
        found = self.by_row.items, self.by_row.counts, self.listed, self.most
        batch = x.contiguous(), self.y, self.error, self.sums
        decode[(rows,)](self.h, *found, w.threshold, w.decoder, *batch, features, w.d_in, **self.tile)
        if self.counts and self.arrived:
            self.arrived.synchronize()  # waits for the number, and not for `decode`
        return not self.counts or int(self.known) <= self.most

    def _select(self) -> None:
        """Set the least value that an active feature of each row has."""
        k, features = min(self.settings.k, self.weights.d_sae), self.weights.d_sae
        if self.settings.arch == "batchtopk":
            self._select_of_batch()
        elif self.settings.arch == "topk" and features > WIDEST:
            torch.amin(self.h.topk(k, sorted=False).values.clamp_(min=0), 1, out=self.least)
        elif self.settings.arch == "topk":
            size = 1 << (features - 1).bit_length()
            options = {"BITS": self.bits, "SIZE": size, "num_warps": min(32, max(4, size // 1024))}
            least_of_rows[(len(self.h),)](self.h, self.least, k, features, **options)

    def _select_of_batch(self) -> None:
        """Find the k n-th largest of all processes, digit by digit."""
        size, counts = self.h.numel(), self.listed.new_zeros(len(self.lows), 1 << DIGIT, dtype=torch.int32)
        options = {"BITS": self.bits, "DIGIT": DIGIT, "SIZE": VALUES, "ROUNDS": ROUNDS, "num_warps": 8}
        for low, state, count in zip(self.lows, self.state, counts):
            tally[(-(-size // (VALUES * ROUNDS)),)](self.h, state, count, size, low, **options)
            narrow[(1,)](self.group.add_up(count), state, DIGIT=DIGIT)
        self.least.copy_(self.state[-1, 0].to(torch.int32 if self.bits == 31 else torch.int64).view(self.least.dtype))

    def _backward(self, dead: torch.Tensor | None) -> tuple[StepResult, Weights]:
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
        gradients[(w.d_sae,)](*entries, *batch, *self.terms, self.half, self.inverse, **self.tile, num_warps=8)
        if extra:
            extra.add_to(0, g.encoder, g.decoder, g.b_enc)
        torch.sum(self.error, 0, out=g.b_dec).sub_(w.encoder.T @ g.b_enc)
        return StepResult(settings, loss, *sums, self.group.add_up(active)), g

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
        """Return weights and moments as they are, and make them again as before."""
        states = [each.flat for each in (self.weights, *self.moments)]
        after = [state.clone() for state in states]
        for state, old in zip(states, before):
            state.copy_(old)
        return after

    def _agree(self, found: torch.Tensor, expected: torch.Tensor, before: torch.Tensor, share: float) -> bool:
        """Whether, in each kind of parameter, two outcomes differ by at most a share of the change, or by rounding."""
        d, n = self.weights.d_in, self.weights.d_sae
        kinds = zip(*(flat.split([d * n, d * n, n, n, d]) for flat in (found, expected, before)))
        return all((f - e).norm() <= share * (e - b).norm() + ROUNDING * b.norm() for f, e, b in kinds)


@contextmanager
def _products(x: torch.Tensor, tf32: bool) -> Iterator[None]:
    """Launch on the device of a tensor, matrix products in TF32 or in fp32."""
    with tf32_products(tf32), torch.cuda.device_of(x):
        yield
