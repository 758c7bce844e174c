"""The k largest values of a row: what a ``topk`` keeps."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.jit import HOW

WIDEST = 32  # values a group at most
SPARE = 4  # groups for each of the k: the more there are, the fewer values are looked at for nothing
LANES = 8  # marks that are looked at together
NAN = np.float32(np.nan)


def cut_to_largest(h: NDArray[np.float32], at: NDArray[np.int32], k: int) -> NDArray[np.float32]:
    """What the k largest positive values of some rows exceed, and no other value of theirs.

    Where more values tie for the last places than there are places, those of the higher columns are set to 0 in h. NaN
    counts as larger than any number, as torch has it; it takes a place and is never above a cutoff.

    Parameters
    ----------
    h : (m, width) float32
        C-contiguous; the width is a multiple of 8.
    at : (n,) int32
        Rows, none twice.
    k : int
        At least 1, at most the width.

    Returns
    -------
    (n,) float32
        0 or more; 0 where fewer than k values are positive, NaN where k values are NaN.
    """
    groups = max(h.shape[1] // WIDEST, min(SPARE * k, h.shape[1]))
    last = np.empty(len(at), np.float32)
    _last_of_largest(h, at, k, groups, last)
    return np.maximum(np.nextafter(last, np.float32(-np.inf)), np.float32(0))


@njit(**HOW)
def _last_of_largest(h, at, k, groups, last):
    """(n,): the least of the k largest positive values of every row, 0 where there are fewer; surplus ties go to 0."""
    width = h.shape[1]
    highest, found, marks = np.empty(groups, np.float32), np.empty(width, np.float32), np.empty(width, np.uint8)
    for i in range(len(at)):
        row = h[at[i]]
        places = k - _highest_of_groups(row, highest)
        if places <= 0:
            last[i] = NAN
            continue
        # at least so many groups, and so values, reach the bound: all that are looked for do
        bound = _nth(highest, groups, places) if places <= groups else np.float32(0)
        many = _reaching(row, max(bound, np.float32(0)), marks, found)
        last[i] = _nth(found, many, places) if many >= places else np.float32(0)
        if last[i] > 0 and (found[:many] >= last[i]).sum() > k:
            _drop_surplus(row, last[i], k)


@njit(**HOW)
def _highest_of_groups(row, highest):
    """Fill in the highest value of every group, (g,), of a row whose columns belong to groups in turn; how many NaN."""
    groups, nans, one = len(highest), np.int32(0), np.int32(1)  # as wide as the values, for vectors
    highest[:] = -np.inf
    for start in range(0, len(row), groups):
        part = row[start : start + groups]
        for j in range(len(part)):  # in vectors: a group lies across them
            highest[j] = part[j] if part[j] > highest[j] else highest[j]
            nans += one if part[j] != part[j] else np.int32(0)
    return nans


@njit(**HOW)
def _reaching(row, bound, marks, found):
    """Collect the positive values of a row that reach a bound; how many there are."""
    eight, many = marks.view(np.uint64), 0
    for j in range(len(row)):
        marks[j] = (row[j] >= bound) & (row[j] > 0)
    for g in range(len(eight)):
        if eight[g]:
            for j in range(LANES * g, LANES * (g + 1)):
                found[many] = row[j]
                many += marks[j]
    return many


@njit(**HOW)
def _nth(values, many, n):
    """The n-th largest of the first values, which change their order; n counts from 1, none is NaN (quickselect)."""
    low, high, place = 0, many - 1, n - 1
    while low < high:
        pivot, i, j = values[(low + high) // 2], low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i, j = i + 1, j - 1
        if place <= j:
            high = j
        elif place >= i:
            low = i
        else:
            break
    return values[place]


@njit(**HOW)
def _drop_surplus(row, last, k):
    """Set to 0 the values that tie for the last of k places and come too late for one."""
    places = k
    for j in range(len(row)):
        places -= row[j] > last
    for j in range(len(row)):
        if row[j] == last:
            if places <= 0:
                row[j] = 0
            places -= 1
