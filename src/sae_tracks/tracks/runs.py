"""Runs of bases on the line of all contigs, see `GenomeLine`: cut, filled, collected and grouped."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.intervals import overlapping
from sae_tracks.jit import EXACT
from sae_tracks.tracks.bbi.runs import columns_of, make_runs


def clip(runs: NDArray, start: int, end: int) -> NDArray:
    """The parts of ascending runs that lie in ``start:end``."""
    part = runs[overlapping(runs["start"], runs["end"], start, end)].copy()
    part["start"] = np.maximum(part["start"], start)
    part["end"] = np.minimum(part["end"], end)
    return part


def fill_with_zeros(runs: NDArray, stretches: NDArray) -> NDArray:
    """Tile stretches: the runs, and runs of value 0 between; both ascend, and each run lies in one stretch."""
    most = 2 * len(runs) + len(stretches)
    start, end, value = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.float32)
    n = _tile(*columns_of(runs), *columns_of(stretches)[:2], start, end, value)
    return make_runs(start[:n], end[:n], value[:n])


@njit(**EXACT)
def _tile(start, end, value, fill_start, fill_end, out_start, out_end, out_value):
    """Write the tiles of `fill_with_zeros`, for which there is room, and return their number."""
    i = n = 0
    for k in range(len(fill_start)):
        at, stop = fill_start[k], fill_end[k]
        while i < len(start) and start[i] < stop:
            if at < start[i]:
                out_start[n], out_end[n], out_value[n] = at, start[i], 0
                n += 1
            out_start[n], out_end[n], out_value[n] = start[i], end[i], value[i]
            at = end[i]
            i, n = i + 1, n + 1
        if at < stop:
            out_start[n], out_end[n], out_value[n] = at, stop, 0
            n += 1
    return n


@njit(**EXACT)
def collect(indptr, feature, value, readable, first, place, slot, cutoff, last, key, start, end, height, used):
    """Append the runs of a block to those held; a run that goes on is made longer.

    Parameters
    ----------
    indptr, feature, value, readable
        Of a `FeatureBlock` of n bases.
    first : int
        The base to begin with.
    place : int
        Position of base 0 on the genome line.
    slot : (m,) int32
        Place of each feature id among the k features wanted; -1 if it is not wanted.
    cutoff : (k,) float32
        Values at or below are left out.
    last : (k + 1,) int64
        Index of the latest run held of each feature and, last, of the readable stretches; -1 for none. Updated.
    key, start, end, height : (most,) int32, int64, int64, float32
        The runs held: feature (its slot; k for readable stretches), 0-based half-open, value.
    used : int
        How many there are.

    Returns
    -------
    int, int
        The base to go on with, n when all are in, and how many runs there are now. It stops where the runs might run
        full.
    """
    for i in range(first, len(readable)):
        if used + 1 + indptr[i + 1] - indptr[i] > len(start):
            return i, used
        at = place + i
        if readable[i]:
            used = _extend(len(cutoff), at, np.float32(0), last, key, start, end, height, used)
        for j in range(indptr[i], indptr[i + 1]):
            k = slot[feature[j]] if feature[j] < len(slot) else -1
            if k >= 0 and value[j] > cutoff[k]:
                used = _extend(k, at, value[j], last, key, start, end, height, used)
    return len(readable), used


@njit(**EXACT)
def _extend(k, at, v, last, key, start, end, height, used):
    run = last[k]
    if run >= 0 and end[run] == at and height[run] == v:
        end[run] = at + 1
        return used
    key[used], start[used], end[used], height[used] = k, at, at + 1, v
    last[k] = used
    return used + 1


@njit(**EXACT)
def group(key, start, end, height, edges, order, bases, sums):
    """Find the stable order of n runs by their keys: a counting sort.

    Sets `order` (n,), the place in it at which each key begins (`edges`, keys + 1), the bases of each key, and the sum
    of their values.
    """
    edges[:], bases[:], sums[:] = 0, 0, 0
    for i in range(len(key)):
        k, width = key[i], end[i] - start[i]
        edges[k + 1] += 1
        bases[k] += width
        sums[k] += np.float64(height[i]) * width
    for k in range(len(bases)):
        edges[k + 1] += edges[k]
    free = edges[:-1].copy()
    for i in range(len(key)):
        order[free[key[i]]] = i
        free[key[i]] += 1
