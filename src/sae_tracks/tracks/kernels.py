"""What is done base by base or run by run, compiled by numba.

Sums are taken in the order of the bases, so they do not depend on how a stream was cut. A kernel runs in the thread
that calls it, without the interpreter's lock.
"""

import numpy as np
from numba import njit

from sae_tracks.jit import HOW

EXACT = HOW | {"fastmath": False}
START, END, VALID, LOW, HIGH, TOTAL, SQUARES = range(7)  # columns of a bin


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
        Place of each feature id among the k features wanted; -1 where it is not.
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
    """Put runs in the order of their keys, otherwise kept: a counting sort.

    Parameters
    ----------
    key, start, end, height : (n,)
        The runs.
    edges : (keys + 1,) int64
        Set to where the runs of each key begin in the new order.
    order : (n,) int64
        Set to the new order.
    bases, sums : (keys,) int64, float64
        Set to the bases of each key and the sum of their values.
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


@njit(**EXACT)
def tile(start, end, value, fill_start, fill_end, out_start, out_end, out_value):
    """Tile stretches: the runs that lie in them, and runs of value 0 between; returns the number of tiles.

    Both ascend, and every run lies in one stretch; there is room for twice the runs and the stretches.
    """
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
def summarize(start, end, value, sizes, opened, out, base, used):
    """Sum up runs in bins of several sizes, each a multiple of the one before.

    Parameters
    ----------
    start, end, value : (n,) int64, int64, float32
        Ascending runs of one contig.
    sizes : (levels,) int64
        Bases a bin; bins lie at multiples of it.
    opened : (levels, 7) float64
        The latest bin of each level, which may go on; 0 valid bases where there is none. Updated.
    out : (most, 7) float64
        Bins that are over: start and end of their valid bases, number, smallest and largest value, sum and sum of
        squares. Those of level l begin at ``base[l]``.
    base, used : (levels,) int64
        Where the bins of a level begin in `out`, and how many there are. The latter updated.
    """
    item, size = opened[0].copy(), sizes[0]  # what is open on the first level
    edge = (np.int64(item[START]) // size + 1) * size if item[VALID] > 0 else 0
    n, low, high, total, squares = np.int64(item[VALID]), item[LOW], item[HIGH], item[TOTAL], item[SQUARES]
    for i in range(len(start)):
        at, v = start[i], np.float64(value[i])
        while at < end[i]:
            if at >= edge:
                if n:
                    item[VALID], item[LOW], item[HIGH], item[TOTAL], item[SQUARES] = n, low, high, total, squares
                    out[base[0] + used[0]] = item
                    used[0] += 1
                    _take(1, item, sizes, opened, out, base, used)
                edge = (at // size + 1) * size
                item[START], n, low, high, total, squares = at, 0, v, v, 0.0, 0.0
            stop = min(end[i], edge)
            bases = stop - at
            n += bases
            low, high = min(low, v), max(high, v)
            total += v * bases
            squares += v * v * bases
            item[END] = at = stop
    item[VALID], item[LOW], item[HIGH], item[TOTAL], item[SQUARES] = n, low, high, total, squares
    opened[0] = item


@njit(**EXACT)
def close(sizes, opened, out, base, used):
    """What is open at the end of a contig is over."""
    for level in range(len(sizes)):
        if opened[level, VALID] > 0:
            item = opened[level].copy()
            opened[level, VALID] = 0
            out[base[level] + used[level]] = item
            used[level] += 1
            if level + 1 < len(sizes):
                _take(level + 1, item, sizes, opened, out, base, used)


@njit(**EXACT)
def _take(level, item, sizes, opened, out, base, used):
    """Put a bin or a part of one into the open bin of a level; where that is another, it is over, and goes one up."""
    while level < len(sizes):
        row = opened[level]
        if row[VALID] > 0 and row[START] // sizes[level] == item[START] // sizes[level]:
            row[END] = item[END]
            row[LOW], row[HIGH] = min(row[LOW], item[LOW]), max(row[HIGH], item[HIGH])
            for column in (VALID, TOTAL, SQUARES):
                row[column] += item[column]
            return
        if row[VALID] == 0:
            row[:] = item
            return
        for column in range(7):
            row[column], item[column] = item[column], row[column]
        out[base[level] + used[level]] = item
        used[level] += 1
        level += 1


@njit(**EXACT)
def sums(start, end, value):
    """Bases of runs, smallest and largest value, sum and sum of squares over the bases."""
    bases, low, high, total, squares = 0, np.inf, -np.inf, 0.0, 0.0
    for i in range(len(start)):
        width, v = end[i] - start[i], np.float64(value[i])
        bases += width
        low, high = min(low, v), max(high, v)
        total += v * width
        squares += v * v * width
    return bases, low, high, total, squares
