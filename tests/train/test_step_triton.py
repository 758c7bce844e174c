"""The training step in Triton against the one in torch, without a GPU: Triton's interpreter runs kernels on the CPU.

The interpreter must be chosen before Triton is imported, so the cases below run in a process of their own; and what it
accepts the compiler may refuse, so every kernel is also compiled for an H100/H200 (sm_90), which needs no GPU either.
"""

import dataclasses
import logging
import math
import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton")

from sae_tracks.errors import SaeTracksError
from sae_tracks.train.parallel import Processes
from sae_tracks.train.settings import ARCHS, TrainSettings
from sae_tracks.train.step import SWITCH, PlainStep, Weights, triton_is_on, triton_step
from sae_tracks.train.step.triton_step import TritonStep

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)
FLOAT, INT = "*fp32", "*i32"
SIGNATURES = {  # what a kernel is called with, but for its constants
    "mark": ([FLOAT, FLOAT, FLOAT, INT, INT, "i32", "i32", "fp32"], {"SIZE": 128}),
    "spread": ([INT, INT, INT, "i32", "i32"], {"SIZE": 64}),
    "least_of_rows": ([FLOAT, FLOAT, "i32", "i32"], {"BITS": 31, "SIZE": 8192}),
    "tally": ([FLOAT, "*i64", INT, "i32", "i32"], {"BITS": 31, "DIGIT": 11, "SIZE": 4096, "ROUNDS": 8}),
    "narrow": ([INT, "*i64"], {"DIGIT": 11}),
    "decode": ([FLOAT, INT, INT, "*i64", "i32", *[FLOAT] * 6, "i32", "i32"], {"R": 16, "D": 256}),
    "gradients": (
        [INT, FLOAT, INT, INT, FLOAT, FLOAT, FLOAT, FLOAT, "*i64", "i32", "i32", "i32", *["fp32"] * 4],
        {"R": 16, "D": 256},
    ),
    "update": ([FLOAT, FLOAT, FLOAT, FLOAT, "i32", "i32", *["fp32"] * 5], {"D": 256}),
}


@pytest.mark.slow
def test_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-o", "python_functions=case_*", __file__]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout


def test_the_step_is_off_unless_the_environment_asks_and_then_needs_a_gpu(monkeypatch):
    monkeypatch.delenv(SWITCH, raising=False)
    assert not triton_is_on(torch.device("cuda"))
    monkeypatch.setenv(SWITCH, "1")
    with pytest.raises(SaeTracksError, match="SAE_TRACKS_TRITON needs an NVIDIA GPU"):
        triton_is_on(CPU)


@pytest.mark.parametrize("name", SIGNATURES)
def test_compiles_for_a_gpu(name):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel, (types, constants) = getattr(triton_step, name), SIGNATURES[name]
    names = [parameter.name for parameter in kernel.params]
    signature = dict(zip(names, [*types, *["constexpr"] * len(constants)], strict=True))
    source = ASTSource(kernel, signature, {(names.index(key),): value for key, value in constants.items()})

    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32))

    assert len(compiled.asm["cubin"]) > 1000
    assert "atom" not in compiled.asm["ptx"] or name == "tally"  # counts of integers, which have no order


def initial(d: int, features: int, dtype=torch.float32, bias: float = -1.0, cut: float = 0.0) -> Weights:
    """Random weights, rows of the decoder of length 1, every fifth feature always 0."""
    w = Weights.zeros(d, features, dtype)
    w.flat.normal_(generator=torch.Generator().manual_seed(0)).mul_(0.3)
    w.decoder.div_(w.decoder.norm(dim=1, keepdim=True))
    w.threshold.abs_().mul_(cut)
    w.b_enc.add_(bias)
    w.encoder[::5] = 0
    return w


def settings_of(arch: str, n: int, **more) -> TrainSettings:
    how = {"k": 3, "l1": 0.1, "bandwidth": 0.5, "sparse_below": 1.0, "batch_size": n, **more}
    return dataclasses.replace(TrainSettings(), arch=arch, **how)


def steps_of(w: Weights, settings: TrainSettings, n: int, group: Processes = ALONE):
    """A plain step and a sparse one, each with its own weights."""
    for kind in (PlainStep, TritonStep):
        own = Weights(w.flat.clone(), w.d_in, w.d_sae)
        yield kind(own, Weights.like(w), Weights.like(w), settings, n, group)


def rows_of(n: int, d: int, dtype=torch.float32, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_close(found: torch.Tensor, expected: torch.Tensor, share: float = 1e-5) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert (found - expected).abs().max() <= share * max(expected.abs().max().item(), 1e-6)


def assert_same_gradients(
    plain: PlainStep, sparse: TritonStep, x: torch.Tensor, share: float = 1e-5, dead=None
) -> None:
    expected, wanted = plain.gradients(x, dead)
    result, gradient = sparse.gradients(x, dead)
    for name in ("encoder", "decoder", "b_enc", "threshold", "b_dec"):
        assert_close(getattr(gradient, name), getattr(wanted, name), share)
    for name in ("reconstruction", "penalty", "l0", "fvu"):
        assert math.isclose(getattr(result, name), getattr(expected, name), rel_tol=1e-5), name
    assert torch.equal(result.active, expected.active) and result.active.dtype == torch.int64


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(
    ("dtype", "d", "features", "n"),
    [
        (torch.float32, 16, 32, 32),
        (torch.float32, 20, 70, 41),
        (torch.float32, 5, 130, 33),
        (torch.float64, 20, 34, 41),
    ],
)
def case_gradients_equal_the_plain_ones(arch, dtype, d, features, n):
    w = initial(d, features, dtype, cut=arch == "jumprelu")
    plain, sparse = steps_of(w, settings_of(arch, n), n)
    assert_same_gradients(plain, sparse, rows_of(n, d, dtype), 1e-5 if dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize("loss", ["l2norm", "l2sq", "nmse"])
@pytest.mark.parametrize("dead", [[], [0, 7], [*range(0, 34, 2)]])
def case_dead_features_learn_what_is_left_over(loss, dead):
    plain, sparse = steps_of(initial(16, 34), settings_of("topk", 33, loss=loss), 33)
    assert_same_gradients(plain, sparse, rows_of(33, 16), dead=torch.tensor(dead, dtype=torch.int64))


def case_dead_features_in_training():
    plain, sparse = steps_of(initial(16, 34), settings_of("topk", 33), 33)
    for number in (1, 2):
        for step in (plain, sparse):
            step(rows_of(33, 16, seed=number), 1e-2, number, torch.tensor([0, 5]))
    assert sparse.checked
    assert_close(sparse.weights.flat, plain.weights.flat)


@pytest.mark.parametrize("arch", ARCHS)
def case_one_row(arch):
    plain, sparse = steps_of(initial(16, 34, cut=arch == "jumprelu"), settings_of(arch, 1), 1)
    assert_same_gradients(plain, sparse, rows_of(1, 16))


@pytest.mark.parametrize("arch", ARCHS)
def case_a_feature_on_every_row_and_rows_with_every_feature_or_none(arch):
    w = initial(16, 34, bias=-3.0, cut=arch == "jumprelu")
    w.b_enc[7] = 50
    x = rows_of(70, 16)
    w.encoder[:, 0], x[:, 0] = 1, 0
    x[3, 0], x[10:40, 0] = 1e3, -1e3
    w.encoder[7] = 0
    plain, sparse = steps_of(w, settings_of(arch, 70), 70)
    assert_same_gradients(plain, sparse, x)
    active = plain.gradients(x)[0].active
    assert active[7] >= 69 or arch == "batchtopk"  # whose largest are all in the one row


@pytest.mark.parametrize("arch", ARCHS)
def case_nothing_is_active(arch):
    plain, sparse = steps_of(initial(16, 34, bias=-100.0), settings_of(arch, 33), 33)
    assert_same_gradients(plain, sparse, rows_of(33, 16))
    assert sparse(rows_of(33, 16), 1e-2, 1).l0 == 0
    assert sparse.trusted and not sparse.checked  # nothing was there to compare


@pytest.mark.parametrize("arch", ["topk", "batchtopk"])
def case_equal_values_at_the_border_are_all_kept(arch):
    w = initial(16, 34)
    w.encoder[11:15], w.b_enc[11:15] = 0, 60  # four features of one value, three wanted
    plain, sparse = steps_of(w, settings_of(arch, 33), 33)
    assert_same_gradients(plain, sparse, rows_of(33, 16))
    assert sparse.gradients(rows_of(33, 16))[0].l0 == 4


@pytest.mark.parametrize("arch", ["topk", "batchtopk"])
def case_fewer_are_positive_than_wanted(arch):
    plain, sparse = steps_of(initial(16, 34, bias=-1.5), settings_of(arch, 33, k=20), 33)
    assert_same_gradients(plain, sparse, rows_of(33, 16))
    assert 0 < sparse.gradients(rows_of(33, 16))[0].l0 < 20


def case_a_dictionary_too_wide_for_registers(monkeypatch):
    monkeypatch.setattr(triton_step, "WIDEST", 33)
    plain, sparse = steps_of(initial(16, 34), settings_of("topk", 33), 33)
    assert_same_gradients(plain, sparse, rows_of(33, 16))


@pytest.mark.parametrize("arch", ARCHS)
def case_training_equals_the_plain_one(arch, monkeypatch):
    monkeypatch.setattr(triton_step, "ORDER_EVERY", 2)
    w = initial(16, 34, cut=0.01 * (arch == "jumprelu"))
    plain, sparse = steps_of(w, settings_of(arch, 33, l0_coefficient=0.0), 33)
    for number in (1, 2, 3):
        x = rows_of(33, 16, seed=number)
        expected, result = (step(x, 1e-2, number) for step in (plain, sparse))
        assert math.isclose(result.reconstruction, expected.reconstruction, rel_tol=1e-5)
    assert sparse.checked and sparse.trusted
    assert ((w.threshold > 0) & (sparse.weights.threshold == 0)).any() == (arch == "jumprelu")  # stopped at 0
    assert sorted(sparse.order.tolist()) == [*range(34)] != sparse.order.tolist()
    assert_close(sparse.weights.flat, plain.weights.flat)
    for found, wanted in zip(sparse.moments, plain.moments):
        assert_close(found.flat, wanted.flat)


def case_the_order_of_features_changes_no_bit():
    _, sparse = steps_of(initial(16, 34), settings_of("standard", 33), 33)
    x = rows_of(33, 16)
    before = sparse.gradients(x)[1].flat.clone()
    sparse.order = sparse.order.flip(0)
    assert torch.equal(sparse.gradients(x)[1].flat, before)


@pytest.mark.parametrize("arch", ["standard", "jumprelu", "topk", "batchtopk"])
def case_a_dense_batch_is_the_plain_step_s(arch):
    settings = settings_of(arch, 33, sparse_below=0.01)
    plain, sparse = steps_of(initial(16, 34, cut=arch == "jumprelu"), settings, 33)
    for number in (1, 2):
        for step in (plain, sparse):
            step(rows_of(33, 16), 1e-2, number)
    assert not sparse.checked
    assert torch.equal(sparse.weights.flat, plain.weights.flat)
    assert torch.equal(sparse.gradients(rows_of(33, 16))[1].decoder, sparse.plain.gradients(rows_of(33, 16))[1].decoder)


def case_the_border_between_sparse_and_dense():
    x, w = rows_of(33, 16), initial(16, 34)
    listed = int(PlainStep(w, w, w, settings_of("standard", 33), 33, ALONE).gradients(x)[0].active.sum())
    both = Twins(0, 2, CPU)  # processes agree, so that they add up the same things
    for group, all_listed in ((ALONE, listed), (both, 2 * listed)):
        _, step = steps_of(w, settings_of("standard", 33), 33, group)
        for step.most in (all_listed, all_listed - 1):
            assert step._forward(x) is (step.most == all_listed)


def case_a_wrong_kernel_is_noticed_and_not_used(caplog):
    plain, sparse = steps_of(initial(16, 34), settings_of("standard", 33), 33)
    sparse.terms = (0.5, 0.0)  # as if the gradients were miscomputed
    with caplog.at_level(logging.WARNING):
        for number in (1, 2):
            for step in (plain, sparse):
                step(rows_of(33, 16, seed=number), 1e-2, number)
    assert (
        "goes on without Triton: its first step differs from torch's in weights, first moments, second" in caplog.text
    )
    assert len(caplog.records) == 1 and not sparse.trusted
    assert torch.equal(sparse.weights.flat, plain.weights.flat)


def case_a_wrong_update_is_noticed(monkeypatch, caplog):
    plain, sparse = steps_of(initial(16, 34), settings_of("standard", 33), 33)
    monkeypatch.setattr(triton_step, "adam_terms", lambda lr, *rest: torch.tensor([2 * lr, 30, 0.1, 0.001, 1e-8]))
    for step in (plain, sparse):
        step(rows_of(33, 16), 1e-2, 1)
    assert caplog.records[0].getMessage().endswith("in weights")
    assert torch.equal(sparse.weights.flat, plain.weights.flat)


class Twins(Processes):
    """Two processes with the same rows, of which this is one."""

    def gather(self, values):
        return torch.cat([values, values])

    def add_up(self, values):
        return values.mul_(2)


@pytest.mark.parametrize("arch", ARCHS)
def case_two_processes(arch):
    w, x = initial(16, 34, cut=arch == "jumprelu"), rows_of(33, 16)
    _, sparse = steps_of(w, settings_of(arch, 66), 33, Twins(0, 2, CPU))
    plain, _ = steps_of(w, settings_of(arch, 66), 66)
    for number in (1, 2):
        expected, result = plain(torch.cat([x, x]), 1e-2, number), sparse(x, 1e-2, number)
    for name in ("reconstruction", "penalty", "l0", "fvu"):
        assert math.isclose(getattr(result, name), getattr(expected, name), rel_tol=1e-5), name
    assert torch.equal(result.active, expected.active)
    assert_close(sparse.weights.flat, plain.weights.flat)


def case_products_are_in_the_precision_asked_for_and_the_setting_is_put_back(monkeypatch):
    seen, backend = [], torch.backends.cuda.matmul
    addmm = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *a, **k: seen.append(backend.allow_tf32) or addmm(*a, **k))
    w, settings = initial(16, 34), settings_of("standard", 33)
    step = TritonStep(w, Weights.like(w), Weights.like(w), settings, 33, ALONE)
    step.tf32 = True
    step(rows_of(33, 16), 1e-2, 1)
    assert seen == [True, False, False, True]  # found sparse; both ways of the check; the step itself
    assert not backend.allow_tf32
