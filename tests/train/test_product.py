"""Our matrix products beside numpy's, of whole numbers, which no order of summation rounds."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.train.step.product import BYTES, DEPTH, HELD, multiply, pack, panels

DTYPES = (np.float32, np.float64)
SIZES = st.one_of(st.integers(1, 70), st.sampled_from([96, 128, 33 * 8, 4 * HELD]))
DEPTHS = st.one_of(st.integers(1, 40), st.sampled_from([DEPTH - 1, DEPTH, DEPTH + 1, 2 * DEPTH + 3]))


@st.composite
def matrices(draw, rows, columns, dtype):
    """Whole numbers, a row or a column of which lies together, or neither."""
    numbers = np.random.default_rng(draw(st.integers(0, 9))).integers(-9, 10, (rows, columns)).astype(dtype)
    lying = draw(st.sampled_from(["rows", "columns", "apart"]))
    if lying == "apart":
        return np.repeat(np.repeat(numbers, 2, 0), 3, 1)[::2, ::3]
    return np.asfortranarray(numbers) if lying == "columns" else numbers


@st.composite
def operands(draw):
    """Left and right matrix, and the matrix that is set or added to, a part of a larger one."""
    m, k, n = draw(SIZES), draw(DEPTHS), draw(SIZES)
    dtype = draw(st.sampled_from(DTYPES))
    a, b = draw(matrices(m, k, dtype)), draw(matrices(k, n, dtype))
    whole = np.arange((m + 2) * (n + 5), dtype=dtype).reshape(m + 2, n + 5) % 11
    return a, b, whole


def packed(b, more=0):
    """In panels that would hold so many more rows and columns."""
    room = panels(b.shape[0] + more, b.shape[1] + 9 * more, b.dtype)
    room[:] = np.nan
    pack(b, room)
    return room


@settings(deadline=None)  # the first of a layout is compiled
@given(operands(), st.booleans(), st.integers(0, 9))
def test_products_are_those_of_numpy(operands, add, more):
    a, b, whole = operands
    inside = np.s_[1:-1, 2:-3]
    expected = whole.astype(np.float64)
    expected[inside] = expected[inside] * add + a.astype(np.float64) @ b.astype(np.float64)

    multiply(a, packed(b, more), whole[inside], add)

    assert np.array_equal(whole, expected)  # nothing beside the part is touched


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_that_of_the_type(dtype):
    a, b = (np.random.default_rng(i).standard_normal((300, 300)).astype(dtype) for i in range(2))
    c = np.empty_like(a)
    multiply(a, packed(b), c, False)
    expected = a.astype(np.longdouble) @ b.astype(np.longdouble)
    assert np.abs(c - expected).max() < 1000 * np.finfo(dtype).eps


def test_what_is_not_a_number_stays_in_its_row_and_column():
    a, b, c = np.ones((HELD + 3, 20)), np.ones((20, 45)), np.empty((HELD + 3, 45))
    a[-1, 4], b[3, -1] = np.nan, np.inf
    multiply(a, packed(b), c, False)
    assert np.isnan(c[-1]).all() and np.isinf(c[:-1, -1]).all() and (c[:-1, :-1] == 20).all()


OTHERS = {
    "haswell": (32, {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}),
    "generic": (16, {"NUMBA_CPU_NAME": "generic"}),
}


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="names x86 processors")
@pytest.mark.parametrize("name", OTHERS)
def test_other_processors(name):
    """The same products, compiled for narrower vectors."""
    width, env = OTHERS[name]
    if width >= BYTES:
        pytest.skip("no narrower than here")
    selected = "numpy or rounding or number"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__, "-k", selected],
        env=os.environ | env | {"PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "4 passed" in done.stdout
