"""Local alignment of a short consensus to a long sequence, with affine gaps (Smith, Waterman and Gotoh), by numba.

A match scores 1, a mismatch -1, the first base of a gap -3 and each further one -1; a letter of the sequence other than
A, C, G and T scores 0 against anything. Scores are small whole numbers, exact in float32.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.dna import OTHER
from sae_tracks.jit import HOW

OPEN, EXTEND = np.float32(-3), np.float32(-1)
LANES = 16  # parts of the sequence aligned at once, which fill the vector units
LEAST = np.float32(-1e6)


class Alignment(NamedTuple):
    """The best local alignment.

    Attributes
    ----------
    score : float
        0 where nothing matches; then there are no bases.
    start : int
        Of the aligned bases in the sequence.
    position : (k,) int64
        The place in the consensus of each base from `start` on, ascending; -1 on inserted bases.
    """

    score: float
    start: int
    position: NDArray[np.int64]


def best_ends(sequence: NDArray[np.uint8], consensus: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n,) float32: the score of the best local alignment that ends at each base, 0 where none has a positive one.

    Parts of the sequence are aligned each by itself, from `longest` bases before it, so that none is missed.

    Parameters
    ----------
    sequence, consensus : uint8
        From `sae_tracks.dna.codes`.
    """
    lead = longest(len(consensus))
    step = -(-len(sequence) // LANES)
    padded = np.full(lead + LANES * step, OTHER, np.int32)  # as wide as the scores
    padded[lead : lead + len(sequence)] = sequence
    lanes = np.lib.stride_tricks.sliding_window_view(padded, lead + step)[::step][:LANES] if step else padded[None, :0]
    return _best_ends(np.ascontiguousarray(lanes.T), consensus.astype(np.int32))[lead:].T.ravel()[: len(sequence)]


def longest(consensus: int) -> int:
    """More bases than an alignment of a positive score can have, to a consensus of so many bases.

    No more than these stand against a base of the consensus; fewer are inserted, since each costs what a match gives.
    """
    return 2 * consensus


def align(sequence: NDArray[np.uint8], consensus: NDArray[np.uint8]) -> Alignment:
    """The best local alignment; of equal ones the one that ends first."""
    trace, score, row, column = _fill(sequence, consensus)
    start, position = _follow(trace, row, column, score)
    return Alignment(float(score), start, position)


@njit(**HOW)
def _best_ends(letters, consensus):
    """(t, lanes) float32: the highest score of each column of the matrix, of every lane of (t, lanes) letters."""
    length, lanes = letters.shape
    best = np.zeros((length, lanes), np.float32)
    score, inserted = np.zeros((len(consensus), lanes), np.float32), np.full((len(consensus), lanes), LEAST)
    before, above, deleted, differs = np.zeros((4, lanes), np.float32)
    zero, one = np.float32(0), np.float32(1)
    for t in range(length):
        line, highest = letters[t], best[t]
        for k in range(lanes):
            before[k] = above[k] = zero
            deleted[k] = LEAST
            differs[k] = zero if line[k] == OTHER else -one
        for i in range(len(consensus)):
            letter, old, gap = consensus[i], score[i], inserted[i]
            for k in range(lanes):
                left = old[k]
                opened, longer = left + OPEN, gap[k] + EXTEND
                along = opened if opened > longer else longer
                opened, longer = above[k] + OPEN, deleted[k] + EXTEND
                across = opened if opened > longer else longer
                new = before[k] + (one if line[k] == letter else differs[k])
                new = along if along > new else new
                new = across if across > new else new
                new = new if new > zero else zero
                gap[k], deleted[k], old[k], above[k], before[k] = along, across, new, new, left
                highest[k] = new if new > highest[k] else highest[k]
    return best


@njit(**HOW)
def _fill(sequence, consensus):
    """How each cell of the matrix was reached, and the highest score with its place.

    Of a cell of the trace, bits 0 and 1 say where its score is from (0: nowhere, 1: a pair, 2: an insertion, 3: a
    deletion), bit 2 that an insertion goes on there, bit 3 that a deletion does.
    """
    n, length = len(sequence), len(consensus)
    trace = np.zeros((n, length), np.uint8)
    score, inserted = np.zeros(length, np.float32), np.full(length, LEAST)
    best, row, column = np.float32(0), 0, 0
    for t in range(n):
        before = above = np.float32(0)
        deleted = LEAST
        for i in range(length):
            left = score[i]
            opened, longer = left + OPEN, inserted[i] + EXTEND
            how = 4 * (longer > opened)
            inserted[i] = max(opened, longer)
            opened, longer = above + OPEN, deleted + EXTEND
            how += 8 * (longer > opened)
            deleted = max(opened, longer)
            same = 0 if sequence[t] == OTHER else 1 if sequence[t] == consensus[i] else -1
            new = before + np.float32(same)
            source = 1
            if inserted[i] > new:
                new, source = inserted[i], 2
            if deleted > new:
                new, source = deleted, 3
            if new <= 0:
                new, source = np.float32(0), 0
            trace[t, i] = how + source
            score[i], above, before = new, new, left
            if new > best:
                best, row, column = new, t, i
    return trace, best, row, column


@njit(**HOW)
def _follow(trace, row, column, score):
    """The first base of the alignment that ends in a cell, and the place in the consensus of each of its bases."""
    position = np.full(row + 1, -1, np.int64)
    t, i, first = row, column, row + 1
    source = trace[t, i] & 3 if score > 0 else 0
    while source:
        if source == 1:
            position[t], first = i, t
            t, i = t - 1, i - 1
        elif source == 2:
            longer = trace[t, i] & 4
            t -= 1
            source = 2 if longer else 0
        else:
            longer = trace[t, i] & 8
            i -= 1
            source = 3 if longer else 0
        if source < 2:
            source = trace[t, i] & 3 if t >= 0 and i >= 0 else 0
    return first, position[first:]
