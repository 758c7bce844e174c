"""The counter's loops over the non-zeros of a buffer, compiled by numba.

A non-zero is a *code*, ``column << shift | bin``: its feature, and the highest threshold that it exceeds. A kernel runs
in the thread that calls it, without the interpreter's lock, and no two threads write to the counts of one concept.
"""

import numpy as np
from numba import njit

from sae_tracks.jit import FAST

ONE = np.uint32(1)


@njit(**FAST)
def encode(indptr, feature, value, cutoffs, column, shift, codes, at, first, last):
    """Write the codes of a `FeatureBlock`'s non-zeros from ``codes[at]`` on; one that exceeds no cutoff has none.

    Base i gets ``codes[first[i]:last[i]]``. ``cutoffs``, (d, T) float32, ascend along T and are infinite for features
    that are not counted; ``column``, (d,) int32, is the column of each feature.
    """
    for i in range(len(first)):
        first[i] = at
        for j in range(indptr[i], indptr[i + 1]):
            f, exceeded = feature[j], -1
            for t in range(cutoffs.shape[1]):
                exceeded += value[j] > cutoffs[f, t]
            if exceeded >= 0:
                codes[at] = (column[f] << shift) | exceeded
                at += 1
        last[i] = at


@njit(**FAST)
def count_letter(letter, h, letters, half, first, last, codes, shift, tp):
    """Add the bases of one half that have one letter to its ``tp``, (T, K) uint32."""
    for b in range(len(letters)):
        if letters[b] == letter and half[b] == h:
            _count(codes[first[b] : last[b]], shift, tp)


@njit(**FAST)
def _count(codes, shift, tp):
    """Add the codes of a base to (T, K)."""
    mask = (1 << shift) - 1
    for code in codes:
        tp[code & mask, code >> shift] += ONE


@njit(**FAST)
def _climb(codes, shift, best, columns, found):
    """Raise the levels of an instance, (K,), to those of a base; append the columns that were 0 to the found ones."""
    mask = (1 << shift) - 1
    for code in codes:
        k, level = code >> shift, np.uint8((code & mask) + 1)
        columns[found] = k  # stays if it is a new one; without a branch, which would often be missed
        found += best[k] == 0
        best[k] = max(best[k], level)
    return found


@njit(**FAST)
def count_instances(groups, rows, half, first, last, codes, shift, labelled, tp, hits, opened):
    """Add the instances of some concepts to ``labelled``, (H, C) int64, and ``tp`` and ``hits``, (H, C, T, K) uint32.

    Parameters
    ----------
    groups : (g, 3) int64
        Concept, first and last + 1 of its rows; no concept twice.
    rows : (m, 5) int64
        By concept and start: first base and last + 1 in the buffer, home half (or -1: the instance is not counted, only
        its bases are), how many instances are there, and its row in `opened`, or -1.
    half : (n,) int8
        Of every base; -1 if it is not counted.
    hits
        May have no concept, if no home half is given.
    opened : (o, K) uint8
        1 + highest bin so far of instances that reach out of this buffer; they are not added to `hits`.
    """
    reached = np.zeros(tp.shape[3], np.uint8)
    columns = np.empty(tp.shape[3] + 1, np.int64)
    for g in range(len(groups)):
        c, covered = groups[g, 0], 0
        for r in range(groups[g, 1], groups[g, 2]):
            start, end, home, copies, row = rows[r, 0], rows[r, 1], rows[r, 2], rows[r, 3], rows[r, 4]
            best, found = reached if row < 0 else opened[row], 0
            for b in range(start, end):
                h, active = half[b], codes[first[b] : last[b]]
                if h >= 0 and b >= covered:  # not yet labelled by an instance that overlaps this one
                    labelled[h, c] += 1
                    _count(active, shift, tp[h, c])
                if h >= 0 and h == home:
                    found = _climb(active, shift, best, columns, found)
            covered = max(covered, end)
            if row < 0:
                for k in columns[:found]:
                    hits[home, c, best[k] - 1, k] += copies
                    best[k] = 0
