"""The parts of a training step between its matrix products, compiled by numba.

Arrays are float32 or float64, all of one type, as are the scalars given with them. A kernel runs in the thread that
calls it, without the interpreter's lock. Pre-activations have one row per feature and one column per row of the batch.
"""

import numpy as np
from numba import njit

from sae_tracks.jit import FAST


@njit(**FAST)
def retain(indptr, rows, values, least):
    """Drop, in place, the entries of a block whose value is below the least of their row; returns the number left."""
    at, start = 0, indptr[0]
    for f in range(len(indptr) - 1):
        end = indptr[f + 1]
        for i in range(start, end):
            rows[at], values[at] = rows[i], values[i]
            at += values[i] >= least[rows[i]]
        start = end
        indptr[f + 1] = at
    return at


@njit(**FAST)
def keep_largest(rows, values, start, end, heaps, low):
    """Take the entries from start to end into account in the search for the k largest of every row.

    (r, k) `heaps` hold the largest of each row so far, the least of them first, and 0 at the beginning. (r,) `low` is
    set to the least of them: a value that does not exceed it is none of the k largest.
    """
    k = heaps.shape[1]
    for i in range(start, end):
        r, value = rows[i], values[i]
        if value > low[r]:
            heap, at, child = heaps[r], 0, 1
            while child < k:
                if child + 1 < k and heap[child + 1] < heap[child]:
                    child += 1
                if heap[child] >= value:
                    break
                heap[at], at, child = heap[child], child, 2 * child + 1
            heap[at] = value
            low[r] = heap[0]


@njit(**FAST)
def decode(indptr, rows, values, size, threshold, decoder, error):
    """Add the reconstruction of some blocks, without pre-bias, to their error, (r, d); returns the sum of the features.

    Blocks and their size are as in `sparse_gradients`. The outer loop is over features: one row of the decoder serves
    all blocks.
    """
    total = 0.0
    for f in range(len(threshold)):
        w, cut = decoder[f], threshold[f]
        for b in range(len(indptr)):
            for i in range(indptr[b, f], indptr[b, f + 1]):
                h = values[b, i]
                if h > cut:
                    total += h
                    e = error[size * b + rows[b, i]]
                    for j in range(len(w)):
                        e[j] += h * w[j]
    return total


@njit(**FAST)
def sparse_gradients(
    first, indptr, rows, values, size, y, out, l1, l0, band, decoder, threshold, g_enc, g_dec, g_bias, g_thr, active
):
    """Add the gradients of a tile of features, which begins with `first`, over the entries of all blocks.

    Parameters
    ----------
    indptr, rows, values, size
        See `sae_tracks.train.step.tiled.Encoding`; the size is the number of rows of a block but for the last.
    y, out : (n, d)
        Input minus pre-bias, and the gradient with respect to the reconstruction.
    l1, l0, band
        Weights of the penalties, on the sum of features and on their number, over n. Half the width of the kernel
        through which thresholds are learned, 0 if they are not, and 1 over the width.
    active : (t,) int64
        Number of rows on which each feature of the tile is active; added to, as are the gradients.
    """
    half, inverse = band[0], band[1]
    for b in range(len(indptr)):
        for t in range(len(g_bias)):
            w, d_row, e_row, cut = decoder[t], g_dec[t], g_enc[t], threshold[t]
            for i in range(indptr[b, first + t], indptr[b, first + t + 1]):
                r, h = size * b + rows[b, i], values[b, i]
                o, x = out[r], y[r]
                slope = l1
                if h > cut:
                    active[t] += 1
                    for j in range(len(w)):
                        slope += o[j] * w[j]
                        d_row[j] += h * o[j]
                    g_bias[t] += slope
                    for j in range(len(w)):
                        e_row[j] += slope * x[j]
                elif half > 0:
                    for j in range(len(w)):
                        slope += o[j] * w[j]
                if abs(h - cut) < half:
                    g_thr[t] -= (cut * slope + l0) * inverse


@njit(**FAST)
def dense_slopes(h, threshold, l1, l0, band, slope, g_bias, g_thr, active):
    """Turn gradients by features, (t, r) `slope`, into gradients by pre-activations, in place; see `sparse_gradients`.

    ``h`` may be the pre-activations or, if no threshold is learned, the features.
    """
    half, inverse = band[0], band[1]
    zero, one = h.dtype.type(0), h.dtype.type(1)
    for t in range(len(h)):
        cut, total, count = threshold[t], g_bias[t], zero
        if half > 0:
            for r in range(h.shape[1]):
                if abs(h[t, r] - cut) < half:
                    g_thr[t] -= (cut * (slope[t, r] + l1) + l0) * inverse
        for r in range(h.shape[1]):
            on = h[t, r] > cut
            slope[t, r] = slope[t, r] + l1 if on else zero
            total += slope[t, r]
            count += one if on else zero
        g_bias[t] = total
        active[t] += int(count)


@njit(**FAST)
def adam(w, g, m, v, terms):
    """Adam's update of (d,) parameters, in place; g, m, v: gradients and moments; terms: see `adam_terms`."""
    rate, scale, c1, c2, eps = terms[0], terms[1], terms[2], terms[3], terms[4]
    for j in range(len(w)):
        m[j] += c1 * (g[j] - m[j])
        v[j] += c2 * (g[j] * g[j] - v[j])
        w[j] -= rate * m[j] / (np.sqrt(v[j]) * scale + eps)


@njit(**FAST)
def update(w, g, m, v, terms):
    """Adam on a tile of features: the decoder's gradient without its component along the row, rows kept at length 1.

    Each of ``w``, ``g``, ``m`` and ``v`` is a tuple: encoder, decoder, b_enc, threshold; ``terms`` as for `adam`.
    """
    encoder, decoder, b_enc, threshold = w
    for t in range(len(encoder)):
        g_dec, w_dec = g[1][t], decoder[t]
        along = g_dec[0] * w_dec[0]
        for j in range(1, len(w_dec)):
            along += g_dec[j] * w_dec[j]
        for j in range(len(w_dec)):
            g_dec[j] -= along * w_dec[j]
        adam(encoder[t], g[0][t], m[0][t], v[0][t], terms)
        adam(w_dec, g_dec, m[1][t], v[1][t], terms)
        square = w_dec[0] * w_dec[0]
        for j in range(1, len(w_dec)):
            square += w_dec[j] * w_dec[j]
        length = np.sqrt(square)
        for j in range(len(w_dec)):
            w_dec[j] /= length
    adam(b_enc, g[2], m[2], v[2], terms)
    adam(threshold, g[3], m[3], v[3], terms)
    for t in range(len(threshold)):
        if threshold[t] < 0:
            threshold[t] = 0
