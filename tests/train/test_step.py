"""One training step: gradients equal those of autograd, whichever way they are computed."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from sae_tracks.train.parallel import Processes
from sae_tracks.train.settings import ARCHS, TrainSettings
from sae_tracks.train.step import PlainStep, Weights
from sae_tracks.train.step.tiled import ROWS, TiledStep

ALONE = Processes(0, 1, torch.device("cpu"))
D, F, N = 24, 700, 2 * ROWS + 37  # neither features nor rows fill their tiles
SETTINGS = TrainSettings(l1=0.7, l0_coefficient=0.3, bandwidth=0.4, k=6, batch_size=N, sparse_below=0.08)
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}
STEPS = {"plain": PlainStep, "tiled": TiledStep}


def some_weights(dtype=torch.float64, bias=-2.5, arch="standard", seed=0):
    draw = torch.Generator().manual_seed(seed)
    w = Weights.zeros(D, F, dtype)
    w.decoder.copy_(torch.nn.functional.normalize(torch.randn(F, D, generator=draw), dim=1))
    w.encoder.copy_(w.decoder + 0.1 * torch.randn(F, D, generator=draw))
    w.b_enc.copy_(bias + 0.2 * torch.randn(F, generator=draw))
    w.b_dec.copy_(0.1 * torch.randn(D, generator=draw))
    if arch == "jumprelu":
        w.threshold.copy_(torch.rand(F, generator=draw))
    return w


def some_rows(dtype=torch.float64, n=N, seed=1):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def make(kind, weights, settings):
    return STEPS[kind](weights, Weights.like(weights), Weights.like(weights), settings, settings.batch_size, ALONE)


def reconstruction_loss(name, error, x):
    if name == "l2norm":
        return error.norm(dim=1).mean()
    return error.square().sum() / (len(x) if name == "l2sq" else x.square().sum())


class JumpReLU(torch.autograd.Function):
    """h where h > threshold; both it and the number of its non-zeros teach the threshold through a rectangle."""

    @staticmethod
    def forward(ctx, h, threshold, width):
        ctx.save_for_backward(h, threshold)
        ctx.width = width
        on = (h > threshold).to(h)
        return h * on, on

    @staticmethod
    def backward(ctx, *slopes):
        h, threshold = ctx.saved_tensors
        value, number = slopes
        rectangle = ((h - threshold).abs() < ctx.width / 2).to(h) / ctx.width
        pull = -(threshold * value + number) * rectangle
        return value * (h > threshold), pull.sum(0), None


def by_autograd(weights, x, settings):
    """Loss, penalty, activity and gradients, in the order of the flat weights, by torch's own differentiation."""
    names = ("encoder", "decoder", "b_enc", "threshold", "b_dec")
    encoder, decoder, b_enc, threshold, b_dec = (getattr(weights, name).clone().requires_grad_() for name in names)
    h = (x - b_dec) @ encoder.T + b_enc
    penalty = torch.zeros((), dtype=x.dtype)
    if settings.arch == "standard":
        f = torch.relu(h)
        penalty = settings.l1 * f.sum() / len(x)
    elif settings.arch == "jumprelu":
        f, on = JumpReLU.apply(h, threshold, settings.bandwidth)
        penalty = settings.l0_coefficient * on.sum() / len(x)
    else:
        per_row = h.detach() if settings.arch == "topk" else h.detach().reshape(1, -1)
        k = settings.k if settings.arch == "topk" else settings.k * len(x)
        chosen = torch.zeros_like(per_row).scatter_(1, per_row.topk(k).indices, 1).reshape(h.shape)
        f = torch.relu(h) * chosen
    reconstruction = reconstruction_loss(settings.loss, f @ decoder + b_dec - x, x)
    (reconstruction + penalty).backward()
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in (encoder, decoder, b_enc, threshold, b_dec)]
    return reconstruction, penalty, (f > 0).sum(0), torch.cat([g.flatten() for g in grads])


def check(kind, weights, x, settings):
    """Compare a step with autograd; the step, which knows whether it was sparse."""
    step = make(kind, weights, settings)
    result, gradient = step.gradients(x)
    reconstruction, penalty, active, expected = by_autograd(weights, x, settings)
    tolerance = TOLERANCE[x.dtype]
    assert (gradient.flat - expected).abs().max() <= tolerance * expected.abs().max()
    assert result.active.tolist() == active.tolist()
    assert result.reconstruction == pytest.approx(reconstruction.item(), rel=10 * tolerance)
    assert result.penalty == pytest.approx(penalty.item(), rel=10 * tolerance, abs=1e-12)
    assert result.l0 == pytest.approx(active.sum().item() / len(x))
    return step


@pytest.mark.parametrize("bias", [-2.5, 0.0])
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_gradients_are_those_of_autograd(kind, arch, bias, dtype):
    settings = replace(SETTINGS, arch=arch)
    step = check(kind, some_weights(dtype, bias, arch), some_rows(dtype), settings)
    if kind == "tiled":
        assert step.encoding.sparse == (bias < 0 or "topk" in arch)


@pytest.mark.parametrize("loss", ["l2norm", "l2sq", "nmse"])
@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("bias", [-2.5, 0.0])
def test_every_loss(kind, loss, bias):
    check(kind, some_weights(bias=bias), some_rows(), replace(SETTINGS, loss=loss))


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("n", [1, 15, 16, 17, ROWS, ROWS + 1])
def test_any_number_of_rows(arch, n):
    settings = replace(SETTINGS, arch=arch, batch_size=n)
    check("tiled", some_weights(arch=arch), some_rows(n=n), settings)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("rows", [1, 40])
def test_rows_far_denser_than_the_others_lose_nothing(arch, rows):
    x = some_rows()
    x[:rows] *= 30
    step = check("tiled", some_weights(arch=arch), x, replace(SETTINGS, arch=arch))
    by_row = np.bincount(step.encoding.rows[0][: step.encoding.indptr[0, -1]], minlength=ROWS)
    if step.encoding.sparse and arch in ("standard", "jumprelu"):
        assert rows == 1 and by_row[0] > 20 * np.median(by_row)


@pytest.mark.parametrize("arch", ARCHS)
def test_rows_and_features_without_activity(arch):
    weights, x = some_weights(arch=arch), some_rows()
    weights.b_enc[100:400] = -1e3
    x[:300] = weights.b_dec  # their pre-activations are the biases
    step = check("tiled", weights, x, replace(SETTINGS, arch=arch))
    _, gradient = step.gradients(x)
    assert not gradient.encoder[100:400].any() and not gradient.decoder[100:400].any()


@pytest.mark.parametrize("arch", ["standard", "jumprelu", "topk"])
def test_a_batch_in_which_nothing_is_active(arch):
    weights = some_weights(bias=-1e3, arch=arch)
    for kind in STEPS:
        check(kind, weights, some_rows(), replace(SETTINGS, arch=arch))


@pytest.mark.parametrize("arch", ARCHS)
def test_what_came_before_changes_no_bit(arch):
    """Dense after sparse, sparse after dense, and from a new start: the batch alone decides."""
    settings = replace(SETTINGS, arch=arch, k=40)
    weights, sparse, dense = some_weights(bias=-1.5, arch=arch), some_rows() * 0.7, some_rows(seed=2) * 9
    used, kinds = make("tiled", weights, settings), []
    for x in (sparse, dense, dense, sparse, sparse):
        _, gradient = used.gradients(x)
        _, fresh = make("tiled", weights, settings).gradients(x)
        kinds.append(used.encoding.sparse)
        assert torch.equal(gradient.flat, fresh.flat)
    if arch in ("standard", "jumprelu"):
        assert kinds == [True, False, False, True, True]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_that_decides_is_a_setting(share):
    step = check("tiled", some_weights(), some_rows(), replace(SETTINGS, sparse_below=share))
    assert step.encoding.sparse == (share == 1.0)


def test_a_batchtopk_of_which_one_block_has_nearly_all():
    """The features of 10 large rows exceed a block's share, although the batch is sparse on the whole."""
    x = some_rows() * 1e-3
    x[:40] = some_rows(n=40) * 20
    step = check("tiled", some_weights(bias=0.0), x, replace(SETTINGS, arch="batchtopk", k=30))
    assert not step.encoding.sparse


def auxiliary_by_autograd(weights, x, settings, dead):
    """The gradients that the auxiliary loss adds."""
    names = ("encoder", "decoder", "b_enc", "threshold", "b_dec")
    encoder, decoder, b_enc, threshold, b_dec = (getattr(weights, name).clone().requires_grad_() for name in names)
    h = (x - b_dec) @ encoder.T + b_enc
    with torch.no_grad():
        f = torch.relu(h) * torch.zeros_like(h).scatter_(1, h.topk(settings.k, dim=1).indices, 1)
        left = x - f @ decoder - b_dec
        unexplained = x.square().sum() / len(x) if settings.loss == "l2sq" else torch.ones(())
        if settings.loss == "l2norm":
            unexplained = left.norm(dim=1).mean() * x.square().sum() / left.square().sum()
    chosen = h[:, dead].topk(min(D // 2, len(dead)), dim=1)
    z = torch.zeros(len(x), len(dead), dtype=x.dtype).scatter(1, chosen.indices, torch.relu(chosen.values))
    loss = (z @ decoder[dead] - left).square().sum() / left.square().sum() * unexplained / 16
    (loss * min(1.0, len(dead) / (D // 2))).backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in (encoder, decoder, b_enc, threshold, b_dec)]
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("dead", [[0], [3, 255, 256, 600], [*range(200, 500)], [*range(F)]])
@pytest.mark.parametrize("loss", ["l2sq", "nmse", "l2norm"])
@pytest.mark.parametrize("kind", STEPS)
def test_dead_features_learn_what_is_left_over(kind, loss, dead):
    settings = replace(SETTINGS, arch="topk", loss=loss)
    weights, x, dead = some_weights(bias=0.0), some_rows(), torch.tensor(dead)
    step = make(kind, weights, settings)
    _, gradient = step.gradients(x, dead)
    expected = by_autograd(weights, x, settings)[-1] + auxiliary_by_autograd(weights, x, settings, dead)
    assert (gradient.flat - expected).abs().max() <= 1e-10 * expected.abs().max()
    _, without = step.gradients(x)
    assert not torch.equal(without.flat, expected)


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("arch", ARCHS)
def test_steps_are_those_of_torchs_adam(kind, arch):
    settings = replace(SETTINGS, arch=arch)
    weights, expected = some_weights(arch=arch), some_weights(arch=arch)
    step = make(kind, weights, settings)
    parameter = torch.nn.Parameter(expected.flat)
    adam = torch.optim.Adam([parameter], lr=1e-2)
    for number in range(1, 6):
        x = some_rows(seed=number)
        step(x, 1e-2, number)
        grad = Weights(by_autograd(expected, x, settings)[-1], D, F)
        grad.decoder -= (grad.decoder * expected.decoder).sum(1, keepdim=True) * expected.decoder
        parameter.grad = grad.flat
        adam.step()
        with torch.no_grad():
            expected.decoder /= expected.decoder.norm(dim=1, keepdim=True)
            expected.threshold.clamp_(min=0)
    assert torch.allclose(weights.flat, expected.flat, atol=1e-9)
    assert torch.allclose(weights.decoder.norm(dim=1), torch.ones(F, dtype=torch.float64))


class Pair:
    """Two processes that are threads: one adds up and gathers when both are there."""

    count, device = 2, torch.device("cpu")

    def __init__(self, rank, shared):
        self.rank, (self.slots, self.barrier) = rank, shared

    def exchange(self, values):
        self.slots[self.rank] = values.clone()
        self.barrier.wait(30)
        both = list(self.slots)
        self.barrier.wait(30)
        return both

    def add_up(self, values):
        return values.copy_(sum(self.exchange(values)))

    def gather(self, values):
        return torch.cat(self.exchange(values))


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("kind", STEPS)
def test_two_processes_take_the_steps_of_one(kind, arch):
    """One has a block that is dense, and the inputs shrink: what a process knows from before must not matter."""
    batches = [torch.cat([some_rows(n=ROWS, seed=s) * 30, some_rows(n=N - ROWS, seed=s + 9)]) for s in range(6)]
    batches = [x * 0.3 ** max(0, i - 2) for i, x in enumerate(batches)]
    settings, share = replace(SETTINGS, arch=arch, k=20), ROWS + 10
    shared = ([None, None], threading.Barrier(2))
    models = [some_weights(bias=-0.5, arch=arch) for _ in range(3)]

    def run(rank):
        w, rows = models[rank], slice(0, share) if rank == 0 else slice(share, N)
        moments = Weights.like(w), Weights.like(w)
        step = STEPS[kind](w, *moments, settings, len(range(N)[rows]), Pair(rank, shared))
        return [step(x[rows], 1e-2, i + 1) for i, x in enumerate(batches)]

    with ThreadPoolExecutor(2) as pool:
        results = [*pool.map(run, range(2))]
    alone = make("plain", models[2], settings)
    expected = [alone(x, 1e-2, i + 1) for i, x in enumerate(batches)]
    for mine, theirs in zip(results[0], expected):
        assert mine.reconstruction == pytest.approx(theirs.reconstruction, rel=1e-9)
        assert mine.l0 == theirs.l0 and mine.active.tolist() == theirs.active.tolist()
    for model in models[:2]:
        assert torch.allclose(model.flat, models[2].flat, atol=1e-9)


def test_threads_change_no_bit():
    results = []
    for threads in (1, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            weights = some_weights(torch.float32)
            step = make("tiled", weights, SETTINGS)
            for number in (1, 2, 3):
                step(some_rows(torch.float32, seed=number), 1e-2, number)
        finally:
            torch.set_num_threads(before)
        results.append(weights.flat)
    assert torch.equal(*results)


def test_a_processor_without_wide_vectors():
    """The same kernels, compiled for an AVX2 machine."""
    selected = "test_gradients_are_those_of_autograd and tiled"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__, "-k", selected]
    done = subprocess.run(
        command,
        env={**AVX2, "NUMBA_CACHE_DIR": "", "PATH": "/usr/bin:/bin"} | _path(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "16 passed" in done.stdout


def _path():
    return {"PYTHONPATH": ":".join(path for path in sys.path if path)}
