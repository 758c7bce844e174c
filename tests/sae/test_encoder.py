"""The k largest values of every row, against torch's topk."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sae_tracks.sae.encoder import cut_to_largest

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
