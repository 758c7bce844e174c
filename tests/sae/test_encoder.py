"""The k largest values of every row, against torch's topk."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from toy import random_sae

from sae_tracks.sae.encoder import (
    FIRST_ROWS,
    ROWS,
    DeviceEncoder,
    SparseEncoder,
    _among_largest,
    cut_to_largest,
    keep_above,
    split_tiles,
)

NAN, INF = float("nan"), float("inf")
VALUES = [-2.0, -1e-45, -0.0, 0.0, 1e-45, 0.25, 0.5, 1.0, INF, -INF, NAN]  # few, so that they tie; 1e-45 is the least


def largest_by_topk(row: np.ndarray, k: int) -> np.ndarray:
    """What stays of a row: values above 0 that are among torch's k largest, of equal ones the first columns."""
    last = torch.from_numpy(row).topk(k).values[-1].item()
    stays = (row > last) & (row > 0)
    ties = np.flatnonzero((row == last) & (row > 0))
    stays[ties[: k - np.count_nonzero(row > last)]] = True
    return np.where(stays, row, 0)


@st.composite
def rows(draw):
    width = 8 * draw(st.integers(1, 40))
    seed, m = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 4))
    rng = np.random.default_rng(seed)
    if draw(st.booleans()):
        h = rng.normal(draw(st.sampled_from([-3.0, 0.0, 3.0])), 1, (m, width))
    else:
        h = rng.choice(draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=4)), (m, width))
    k = draw(st.one_of(st.just(1), st.just(width), st.integers(1, width)))
    return h.astype(np.float32), rng.permutation(m)[: draw(st.integers(1, m))].astype(np.int32), k


@given(rows())
def test_what_exceeds_its_cutoff_is_what_topk_keeps(drawn):
    h, at, k = drawn
    before = h.copy()
    cutoff = cut_to_largest(h, at, k)
    assert cutoff.dtype == np.float32
    for row, cut in zip(at, cutoff):
        expected = largest_by_topk(before[row], k)
        if np.isnan(before[row]).sum() >= k:
            assert np.isnan(cut)
        else:
            assert np.array_equal(np.where(h[row] > cut, h[row], 0), expected)
            assert cut >= 0
            assert cut == 0 or cut == np.nextafter(expected[expected > 0].min(), np.float32(-np.inf))
    others = np.setdiff1d(np.arange(len(h)), at)
    assert np.array_equal(h[others], before[others], equal_nan=True)


@given(rows())
@example((np.array([[NAN] * 3 + [1.0] * 5], np.float32), np.array([0], np.int32), 4))
def test_the_encoder_for_gpus_keeps_what_topk_keeps(drawn):
    h, at, k = drawn
    kept = _among_largest(torch.from_numpy(h[at]), k).numpy()
    for row, stays in zip(h[at], kept):
        assert np.array_equal(np.where(stays & (row > 0), row, 0), largest_by_topk(row, k))
        assert stays.sum() <= k


@pytest.mark.parametrize(
    ("row", "k", "cutoff", "left"),
    [
        ([0.0] * 8, 3, 0.0, [0.0] * 8),
        ([1.0] * 8, 3, 1.0, [1.0] * 3 + [0.0] * 5),  # the first of equal ones
        ([2.0, 1.0, 1.0, 3.0, 1.0, -1.0, 0.0, 1.0], 3, 1.0, [2.0, 1.0, 0.0, 3.0, 0.0, -1.0, 0.0, 0.0]),
        ([2.0, -1.0, 0.0, 3.0, -4.0, -1.0, 0.0, 0.0], 3, 0.0, [2.0, -1.0, 0.0, 3.0, -4.0, -1.0, 0.0, 0.0]),
        ([2.0, 1.0, 1.0, 3.0, 1.0, -1.0, 0.0, 1.0], 8, 0.0, [2.0, 1.0, 1.0, 3.0, 1.0, -1.0, 0.0, 1.0]),
        ([2.0, NAN, 1.0, 3.0, 1.0, -1.0, 0.0, 1.0], 2, 3.0, [2.0, NAN, 1.0, 3.0, 1.0, -1.0, 0.0, 1.0]),
    ],
)
def test_rows_at_the_borders(row, k, cutoff, left):
    h = np.float32([row])
    found = cut_to_largest(h, np.zeros(1, np.int32), k)
    below = np.nextafter(np.float32(cutoff), np.float32(-np.inf)) if cutoff else np.float32(0)
    assert found[0] == below
    assert np.array_equal(h[0], np.float32(left), equal_nan=True)


def test_every_k_of_a_wide_row_gives_as_many():
    h = np.random.default_rng(0).permutation(4096).astype(np.float32)[None] + 1
    for k in (1, 15, 16, 64, 127, 128, 129, 1000, 4095, 4096):
        assert cut_to_largest(h, np.zeros(1, np.int32), k)[0] == np.nextafter(np.float32(4097 - k), np.float32(0))


@given(st.integers(1, 40), st.integers(1, 70), st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]))
def test_values_above_both_cutoffs_are_kept_row_by_row_within_the_limit(n, width, seed, dtype):
    rng = np.random.default_rng(seed)
    values = rng.integers(-3, 4, (n, width)).astype(dtype)
    at = rng.permutation(n)[: rng.integers(1, n + 1)]
    lowest, cutoff = (rng.integers(-4, 3, size).astype(dtype) for size in (len(at), width))
    cutoff[rng.random(width) < 0.2] = np.inf
    above = [np.flatnonzero((values[row] > low) & (values[row] > cutoff)) for row, low in zip(at, lowest)]
    ids = np.arange(width, dtype=np.int32)

    kept_ids, kept, ends = np.zeros(n * width, np.int32), np.zeros(n * width, dtype), np.zeros(len(at), np.int64)
    used = keep_above(values, at, lowest, cutoff, ids, kept_ids, kept, 0, len(kept), ends)
    assert used == ends[-1] and ends.tolist() == np.cumsum([len(columns) for columns in above]).tolist()
    assert kept_ids[:used].tolist() == [j for columns in above for j in columns]
    assert kept[:used].tolist() == [values[row, j] for row, columns in zip(at, above) for j in columns]
    assert keep_above(values, at, lowest, cutoff, ids, kept_ids, kept, 0, width - 1, ends) == -1


@pytest.mark.parametrize("encoder", [SparseEncoder, DeviceEncoder])
@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "topk"])
def test_a_threshold_below_0_is_a_relu_on_both_paths(architecture, encoder):
    sae = random_sae(8, 100, architecture)
    if architecture == "jumprelu":
        sae.threshold = torch.linspace(-1, 1, 100)
    x = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    indptr, feature, value = encoder.of(sae).encode(x)
    dense = np.zeros((300, 100), np.float32)
    dense[np.repeat(np.arange(300), np.diff(indptr)), feature] = value
    h = ((x - sae.b_dec) @ sae.W_enc + sae.b_enc).numpy()
    if architecture == "jumprelu":
        assert (h[:, :50] < 0).any() and not (dense < 0).any()
        np.testing.assert_allclose(dense, np.maximum(h, 0) * (h > sae.threshold.numpy()), atol=2e-5)
    np.testing.assert_allclose(dense, sae.encode(x).numpy(), atol=2e-5)


@pytest.mark.parametrize("encoder", [SparseEncoder, DeviceEncoder])
def test_any_number_of_rows_is_encoded_as_the_sae_does_and_decoded_again(encoder):
    sae = random_sae(8, 1100, "topk", bias=-1)
    x = torch.randn(2100, 8, generator=torch.Generator().manual_seed(0))
    readable = np.arange(2100) % 7 > 0
    indptr, feature, value = encoder.of(sae).encode(x, readable)
    dense = np.zeros((2100, 1100), np.float32)
    dense[np.repeat(np.arange(2100), np.diff(indptr)), feature] = value
    expected = sae.encode(x).numpy() * readable[:, None]
    np.testing.assert_allclose(dense, expected, rtol=1e-4, atol=2e-5)
    exact = dense.astype(np.float64) @ sae.W_dec.double().numpy() + sae.b_dec.double().numpy()
    assert np.abs(sae.decode_sparse(indptr, feature, value).numpy() - exact).max() < 1e-6 * np.abs(exact).max()


@pytest.mark.parametrize("encoder", [SparseEncoder, DeviceEncoder])
def test_a_k_above_the_number_of_features_keeps_all_that_are_positive(encoder):
    sae = random_sae(8, 16, "topk")
    sae.k = 20
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    indptr, feature, _ = encoder.of(sae).encode(x)
    expected = (sae.encode(x) > 0).nonzero()
    assert (np.repeat(np.arange(50), np.diff(indptr)) == expected[:, 0].numpy()).all()
    assert (feature == expected[:, 1].numpy()).all()


@given(st.integers(0, 3 * ROWS), st.integers(1, 2 * ROWS), st.booleans())
def test_tiles_end_where_they_end_in_the_window(first, n, backwards):
    """Tiles of `FIRST_ROWS` up to `ROWS`, then of `ROWS`, wherever the places begin, in both directions."""
    place = np.arange(first, first + n)[:: -1 if backwards else 1]
    tiles = split_tiles(place)
    assert [tile.start for tile in tiles] == [0, *(tile.stop for tile in tiles[:-1])] and tiles[-1].stop == n
    number = [p // FIRST_ROWS if p < ROWS else ROWS // FIRST_ROWS + p // ROWS for p in place.tolist()]
    kinds = [set(number[tile]) for tile in tiles]
    assert all(len(kind) == 1 for kind in kinds) and all(a != b for a, b in zip(kinds, kinds[1:]))


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("k", [None, 5])
@pytest.mark.parametrize(("start", "end"), [(0, 1), (100, 300), (255, 257), (700, 1100), (1023, 1025), (1500, 2100)])
def test_rows_have_the_same_bits_wherever_the_reading_is_clipped(k, start, end, device):
    torch.manual_seed(0)
    rows = torch.randn(2100, 24)
    weights = torch.randn(24, 40), torch.randn(40)
    made = *weights, torch.zeros(40), k
    encoder = SparseEncoder(*made) if device is None else DeviceEncoder(*made, device)
    indptr, feature, value = encoder.encode(rows)
    place = np.arange(start, end)
    tiles = [encoder.encode_tile(rows[place[t]], place[t], np.ones(len(place[t]), bool)) for t in split_tiles(place)]
    counts, features, values = (np.concatenate(arrays) for arrays in zip(*tiles))
    inside = slice(indptr[start], indptr[end])
    assert (counts == np.diff(indptr)[start:end]).all()
    assert (features == feature[inside]).all() and (values == value[inside]).all()
    dense = (rows[start:end].double() @ weights[0].double() + weights[1].double()).relu()
    if k:
        dense = torch.where(dense >= dense.topk(k).values[:, -1:], dense, 0)
    found = torch.zeros(end - start, 40).double()
    found[np.repeat(np.arange(end - start), counts), features] = torch.from_numpy(values).double()
    assert torch.allclose(found, dense, atol=1e-4)
