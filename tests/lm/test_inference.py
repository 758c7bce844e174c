"""The fast way through HyenaDNA against the differentiable one, and its kernels against fp64."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from toy import random_dna

from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, HyenaDNAReader, base_tokens, kernels
from sae_tracks.lm.passes import CHANNELS, ROWS


def random_model(seed=0, **sizes):
    torch.manual_seed(seed)
    model = HyenaDNAForCausalLM(HyenaDNAConfig(**{"d_model": 40, "n_layer": 3, "max_seq_len": 2 * ROWS + 4, **sizes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def hidden_states(model, sequence):
    with torch.no_grad():
        return model.hyena(torch.from_numpy(base_tokens(sequence))[None], output_hidden_states=True).hidden_states


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 3, 17, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 2])
def test_activations_equal_the_hidden_state_of_the_forward(length, layer):
    assert 40 % CHANNELS, "the last piece of channels is a short one"
    model = random_model()
    sequence = random_dna(length, length, "ACGTN").encode()
    ours, expected = HyenaDNAReader(model, layer).activations(sequence), hidden_states(model, sequence)[layer][0]
    assert (ours - expected).norm() <= 2e-6 * expected.norm()


def test_windows_of_several_lengths_do_not_disturb_one_another():
    reader = HyenaDNAReader(random_model(), 3)
    sequences = [random_dna(n, n).encode() for n in (ROWS + 100, 30, 700, ROWS + 100)]
    first = [reader.activations(s).clone() for s in sequences]
    again = [reader.activations(s) for s in sequences[::-1]][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(HyenaDNAReader(random_model(), 3).activations(sequences[2]), first[2])


@pytest.mark.parametrize("threads", [1, 3])
def test_sequences_read_together_have_the_bits_of_each_alone(threads):
    lengths = (ROWS, 30, 700, 30, 1, ROWS - 1) * 3
    sequences = [random_dna(n, i).encode() for i, n in enumerate(lengths)]
    reader, before = HyenaDNAReader(random_model(), 3), torch.get_num_threads()
    alone = [reader.activations(sequence) for sequence in sequences]
    try:
        torch.set_num_threads(threads)
        together = reader.activations_of(sequences)
        mixed = reader.activations_of([*sequences, longest := random_dna(ROWS + 1, 9).encode()])
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, together, alone)) and all(map(torch.equal, mixed, alone))
    assert torch.equal(mixed[-1], reader.activations(longest))


def test_the_number_of_threads_changes_no_bit_and_is_what_it_was_afterwards():
    sequence, threads = random_dna(2 * ROWS, 1).encode(), torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(HyenaDNAReader(random_model(), 3).activations(sequence))
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_callers_in_several_threads_get_what_one_would():
    reader = HyenaDNAReader(random_model(), 3)
    sequences = [random_dna(900, i).encode() for i in range(12)]
    expected = [reader.activations(s) for s in sequences]
    with ThreadPoolExecutor(3) as pool:
        assert all(torch.equal(a, b) for a, b in zip(pool.map(reader.activations, sequences), expected, strict=True))


def test_reading_works_in_inference_mode_and_its_result_outside_of_it():
    reader, sequence = HyenaDNAReader(random_model(), 3), random_dna(300).encode()
    with torch.inference_mode():
        inside = reader.activations(sequence)
    weight = torch.ones(40, requires_grad=True)
    (inside * weight).sum().backward()
    assert torch.equal(inside, reader.activations(sequence)) and weight.grad is not None


FORKED = """
import os, sys, torch
from sae_tracks.lm import load_lm

torch.set_num_threads(2)
lm = load_lm("demo", device="cpu")
here = lm.activations(b"ACGT" * 500)
child = os.fork()
if child == 0:
    torch.set_num_threads(1)  # as the workers of a DataLoader do: OpenMP's own threads do not live on after a fork
    os._exit(0 if torch.equal(lm.activations(b"ACGT" * 500), here) else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_can_read_too(warm_python):
    assert subprocess.run([warm_python, "-c", FORKED], timeout=600, check=False).returncode == 0


def test_a_base_depends_on_none_behind_it():
    reader = HyenaDNAReader(random_model(), 3)
    one, other = random_dna(900, 1).encode(), random_dna(600, 1).encode() + random_dna(300, 2).encode()
    a, b = reader.activations(one), reader.activations(other)
    assert one[:600] == other[:600]
    assert (a[:600] - b[:600]).abs().max() <= 1e-5 * a.abs().max()
    assert (a[600:] - b[600:]).abs().max() > 0.1 * a.abs().max()


def test_a_short_filter_of_another_length_is_read_too():
    model = random_model(short_filter_order=4)
    sequence = random_dna(100).encode()
    ours, expected = HyenaDNAReader(model, 2).activations(sequence), hidden_states(model, sequence)[2][0]
    assert (ours - expected).norm() <= 2e-6 * expected.norm()


def test_weights_that_are_not_finite_are_seen_in_the_result():
    for name in ("mlp.fc1.bias", "norm2.weight", "mixer.in_proj.bias", "mixer.out_proj.weight"):
        model = random_model()
        model.hyena.backbone.layers[1].get_parameter(name).data.view(-1)[3] = float("nan")
        assert not torch.isfinite(HyenaDNAReader(model, 3).activations(random_dna(50).encode())).all(), name


def drawn(shape, seed, scale=1.0):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.sampled_from([1e-3, 1.0, 30.0, 1e4]), st.integers(0, 99))
def test_add_gelu(rows, width, scale, seed):
    h, bias = drawn((rows, width), seed, scale), drawn(width, seed + 1)
    x = torch.from_numpy(h).double() + torch.from_numpy(bias).double()
    expected = F.gelu(x, approximate="tanh")
    kernels.add_gelu(h, bias)
    assert ((torch.from_numpy(h) - expected).abs() <= 4e-7 * x.abs()).all(), "a few units in the last place of x"


def test_gelu_is_the_identity_or_zero_far_from_zero():
    h = np.float32([[-np.float32(3e38), -1e6, -20, -10.5, 10.5, 20, 1e6, 3e38]])
    kernels.add_gelu(h, np.zeros(8, np.float32))
    np.testing.assert_array_equal(h, np.float32([[0, 0, 0, 0, 10.5, 20, 1e6, 3e38]]))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(2, 70), st.integers(0, 99))
def test_add_norm(rows, width, seed):
    x, add, weight, bias = (drawn(s, seed + i) for i, s in enumerate([(rows, width), width, width, width]))
    total = torch.from_numpy(x).double() + torch.from_numpy(add).double()
    expected = F.layer_norm(total, (width,), *(torch.from_numpy(v).double() for v in (weight, bias)), eps=1e-5)
    out = np.empty_like(x)
    kernels.add_norm(x, add, weight, bias, 1e-5, out)
    np.testing.assert_allclose(x, total, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def filtered(u, known, first, taps, add, bias):
    """The causal filter of three taps by numpy's convolution, fp64: of m sequences behind what is known."""
    rows = []
    for row, before, t, a, b in zip(u.astype(np.float64), known.astype(np.float64), taps, add, bias):
        sequences = [
            np.concatenate([before[:start], part + a]) for start, part in zip(first, np.split(row, len(first)))
        ]
        rows.append([np.convolve(one, t[::-1])[start : len(one)] + b for one, start in zip(sequences, first)])
    return np.array(rows).reshape(u.shape)


sequences = given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 4), st.integers(0, 99))


def places(m, length, seed):
    """The first base of each of m copies of a sequence of length + 4 bases: 0, 1 and others; and changed ones."""
    first = np.concatenate(([0, 1], np.random.default_rng(seed).integers(0, 5, m)))[:m]
    return first, np.random.default_rng(seed + 1).integers(0, length + 1, m)


@settings(max_examples=30, deadline=None)
@sequences
def test_the_short_filters(channels, length, m, seed):
    u, v, y = (drawn((channels, m * length), seed + i) for i in range(3))
    (s, t), (a, b, c, d) = [drawn((channels, 3), seed + i) for i in (3, 4)], drawn((4, channels), seed + 5)
    (k, n), (first, _) = drawn((2, channels, length + 4), seed + 6), places(m, length, seed)
    out = np.empty_like(u)
    kernels.filter_and_multiply(length, first, u, k, s, a, c, v, n, t, b, d, out)
    gate = filtered(u, k, first, s, a, c)
    np.testing.assert_allclose(out, gate * filtered(v, n, first, t, b, d), rtol=1e-4, atol=1e-4)
    kernels.filter_and_gate(length, first, u, k, s, a, c, y, out)
    np.testing.assert_allclose(out, y * gate, rtol=1e-4, atol=1e-4)


@settings(max_examples=30, deadline=None)
@sequences
def test_the_long_filter_of_what_copies_change(channels, length, m, seed):
    x, taps = drawn((channels, m * length), seed), drawn((channels, length), seed + 1)
    (known, convolved), (first, start) = drawn((2, channels, length + 4), seed + 2), places(m, length, seed)
    at = first[:, None] + np.arange(length)
    difference = x.reshape(channels, m, length) - known[:, at]
    difference[:, np.arange(length) < start[:, None]] = 0
    filtered = [[np.convolve(one, t)[:length] for one in of_channel] for of_channel, t in zip(difference, taps)]
    y = np.empty_like(x)
    kernels.keep_difference(length, first, start, known, x)
    np.testing.assert_array_equal(x, difference.reshape(x.shape))
    kernels.add_filtered(length, first, start, convolved, x, np.pad(taps, ((0, 0), (7, 0))), y)
    np.testing.assert_allclose(y, (convolved[:, at] + filtered).reshape(y.shape), rtol=1e-4, atol=1e-4)
