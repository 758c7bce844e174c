"""A linear probe of every concept at once: ridge regression on one half, its score cut so that F1 is best there.

Least squares on 0 and 1 is less well calibrated than logistic regression, but all concepts share one matrix to solve
with and need no iterations, and F1 at the best cut depends only on the order of the scores.
"""

from collections.abc import Callable

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from sae_tracks.controls.sample import REPORT, SELECT, Columns
from sae_tracks.jit import FAST
from sae_tracks.threads import ForEachSlice, in_threads

Design = Callable[[slice], NDArray[np.float32]]  # the inputs, (b, d), of some consecutive bases

BASES = 4096  # scored at once
CONCEPTS = 32  # counted by one thread at a time
RIDGE = 1e-4  # of the variance of an input
OCTAVES, DIGITS = (-6, 10), 6  # scores of 2**-6 to 2**10 standard deviations in bins, 2**6 per octave
SIDE = (OCTAVES[1] - OCTAVES[0]) << DIGITS


def probe(design: Design, inputs: int, labels: Columns, half: NDArray[np.int8]) -> NDArray[np.float64]:
    """(C,) float64: F1 of linear probes on the report half, which they did not see.

    NaN if no base of the select half is labelled.

    Parameters
    ----------
    design : callable
        From a slice of bases to their inputs, as a new (b, d) float32 array; the intercept is added here.
    inputs : int
        d.
    labels : Columns
        (n x C), readable bases only.
    half : (n,) int8
        From `Sample.half_of_base`: the select half fits and chooses the cut.
    """
    with in_threads() as each:  # torch's products keep to one thread in it; numpy's would wait for each other
        mean, weights = _fit(design, inputs, labels, half)
        scored, hits = _histograms(design, mean, weights, labels, half, each)
    active, tp = (np.flip(np.cumsum(np.flip(counts, 2), 2), 2) for counts in (scored, hits))
    labelled = tp[:, :, :1]
    with np.errstate(invalid="ignore"):
        f1 = 2 * tp / (active + labelled)
    chosen = np.nan_to_num(f1[SELECT]).argmax(axis=1)
    return np.where(labelled[SELECT, :, 0] > 0, f1[REPORT, np.arange(len(labels)), chosen], np.nan)


def _fit(design: Design, inputs: int, labels: Columns, half: NDArray[np.int8]):
    """The mean of the inputs, (d,), and weights, (C, d), of scores with mean 0 and variance 1 on the select half."""
    concepts, m = len(labels), max(np.count_nonzero(half == SELECT), 1)
    by_base = labels.matrix(len(half)).tocsr()
    total, squares, products = np.zeros(inputs), np.zeros((inputs, inputs)), np.zeros((concepts, inputs))
    count = np.zeros(concepts)
    for start in range(0, len(half), BASES):
        tile = slice(start, min(start + BASES, len(half)))
        chooses = half[tile] == SELECT
        if chooses.any():
            x, y = design(tile)[chooses].astype(np.float64), by_base[tile][chooses]
            total += x.sum(axis=0)
            squares += _product(x.T, x)
            products += y.T @ x
            count += y.sum(axis=0)
    mean, square = total / m, squares / m
    covariance = square - np.outer(mean, mean)
    constant = covariance.diagonal() <= 1e-12 * square.diagonal()
    scale = 1 / np.sqrt(np.where(constant, 1, covariance.diagonal()))
    correlation = covariance * scale * scale[:, None]
    slopes = (products / m - np.outer(count / m, mean)) * scale
    solved = np.linalg.solve(correlation + RIDGE * np.eye(inputs), slopes.T).T
    variance = np.einsum("cd,cd->c", solved @ correlation, solved)
    spread = np.sqrt(np.where(variance > 0, variance, 1))
    return mean.astype(np.float32), (solved * scale / spread[:, None]).astype(np.float32)


def _histograms(
    design: Design, mean: NDArray, weights: NDArray, labels: Columns, half: NDArray[np.int8], each: ForEachSlice
):
    """Bases by half, concept and bin of the score, (2, C, bins) int32: all readable ones, and the labelled."""
    scored, hits = np.zeros((2, 2, len(labels), 2 * SIDE), np.int32)
    at = labels.indptr[:-1].copy()
    for start in range(0, len(half), BASES):
        tile = slice(start, min(start + BASES, len(half)))
        x = design(tile) - mean

        def count(c: slice, tile: slice = tile, x: NDArray[np.float32] = x) -> None:
            score, mine = _product(weights[c], x.T), (labels.indptr[c.start : c.stop + 1], labels.base, at[c])
            _tally(score.view(np.int32), half[tile], tile.start, *mine, scored[:, c], hits[:, c])

        each(count, len(labels), CONCEPTS)
    return scored, hits


def _product(a: NDArray, b: NDArray) -> NDArray:
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()


@njit(**FAST)
def _bin(bits):
    """The bin of a score, which is given as the bits of its float32; bins ascend.

    The highest bits of a float are its exponent and the first digits after it: bins that divide an octave evenly.
    """
    size = ((bits & 0x7FFFFFFF) >> (23 - DIGITS)) - ((127 + OCTAVES[0]) << DIGITS)
    size = min(max(size, 0), SIDE - 1)
    return SIDE + size if bits >= 0 else SIDE - 1 - size


@njit(**FAST)
def _tally(bits, half, start, label_ptr, label_base, at, scored, hits):
    """Add a tile of scores, (concepts, b), from the base `start` on; ``at`` is the next label of each concept."""
    end = start + bits.shape[1]
    for c in range(len(bits)):
        for i in range(bits.shape[1]):
            if half[i] >= 0:
                scored[half[i], c, _bin(bits[c, i])] += 1
        while at[c] < label_ptr[c + 1] and label_base[at[c]] < end:
            i = label_base[at[c]] - start
            hits[half[i], c, _bin(bits[c, i])] += 1
            at[c] += 1
