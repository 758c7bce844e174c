"""The loops over losses and bases, compiled by numba; each runs in the calling thread, without the interpreter's lock.

A base's loss is what it scores less than the best base of its position, in thousandths of a bit, a whole number.
A word is the letters of a few neighbouring bases read as a number to base 4.
"""

import numpy as np
from numba import njit

from sae_tracks.dna import OTHER
from sae_tracks.jit import EXACT

TOO_MUCH = np.int32(1 << 28)  # a loss above every limit; adding it to one stays within int32


@njit(**EXACT)
def loss_tail(losses, most):
    """(most + 1,) float64: the probability that a random word (each base 1/4) loses l or less in all.

    Parameters
    ----------
    losses : (w, 4) int32
    most : int
        Larger losses are left out.
    """
    now, after = np.zeros(most + 1), np.zeros(most + 1)
    now[0] = 1.0
    top = 0
    for column in losses:
        reach = min(top + column.max(), most)
        after[: reach + 1] = 0.0
        for loss in column:
            for s in range(min(top, most - loss) + 1):
                after[s + loss] += 0.25 * now[s]
        now, after = after, now
        top = reach
    now[top + 1 :] = 0.0
    return np.cumsum(now)


@njit(**EXACT)
def _word_losses(losses, start, k, free, into):
    """Fill (4**k + 1,) with the loss of every word at a position; only columns that are free count."""
    into[0] = 0
    size = 1
    for j in range(start, start + k):
        for word in range(size - 1, -1, -1):
            before = into[word]
            for base in range(4):
                into[4 * word + base] = before + (losses[j, base] if free[j] else 0)
        size *= 4
    into[size] = TOO_MUCH


@njit(**EXACT)
def _most_telling(losses, k, limit, table):
    """Where in the motif k bases rule out most words by themselves."""
    free = np.ones(len(losses), np.bool_)
    best, fewest = 0, 4**k + 1
    for start in range(len(losses) - k + 1):
        _word_losses(losses, start, k, free, table)
        passing = (table <= limit).sum()
        if passing < fewest:
            best, fewest = start, passing
    return best


@njit(**EXACT)
def _tables(losses, k, limit):
    """Offsets in the motif and losses of words there, the most telling first; every column counts in one of them."""
    w = len(losses)
    tables = np.empty((2 + w // k, 4**k + 1), np.int32)
    offsets = np.empty(len(tables), np.int64)
    free = np.ones(w, np.bool_)
    at, start = 0, _most_telling(losses, k, limit, tables[0])
    while free.any():
        _word_losses(losses, start, k, free, tables[at])
        offsets[at] = start
        free[start : start + k] = False
        start = min(np.argmax(free), w - k)
        at += 1
    return offsets[:at], tables[:at]


@njit(**EXACT)
def find(codes, texts, k, losses, costs, limit, most, n, starts, lost, cost):
    """Where a motif matches, looking up words, the most telling first, and dropping starts that have lost too much.

    Parameters
    ----------
    codes : (m,) uint8
        0 to 3 for A, C, G, T, else 4.
    texts : (m - k + 1,) uint16
        The words of k bases, as numbers; 4**k if one is not A, C, G or T; k is at most the motif's width.
    losses, costs : (w, 4) int32, (w, 4) float64
        Thousandths of a bit, and bits.
    limit, most : int, float
        The largest loss and cost of a match.
    n : int
        Starts from 0 to n - 1 are tried; n + w - 1 is at most m.
    starts, lost, cost : (n,) int32, int32, float64
        Filled with the matches, in order.

    Returns
    -------
    int
        The number of matches.
    """
    offsets, tables = _tables(losses, k, limit)
    table, here, left = tables[0], texts[offsets[0] :], 0
    for i in range(n):  # no branch: the next start overwrites one that has lost too much
        loss = table[here[i]]
        starts[left], lost[left] = i, loss
        left += loss <= limit
    for b in range(1, len(offsets)):
        table, here, tried, left = tables[b], texts[offsets[b] :], left, 0
        for x in range(tried):
            i = starts[x]
            loss = lost[x] + table[here[i]]
            starts[left], lost[left] = i, loss
            left += loss <= limit
    found = 0
    for x in range(left):
        bits = 0.0
        for j in range(len(costs)):
            bits += costs[j, codes[starts[x] + j]]
        starts[found], lost[found], cost[found] = starts[x], lost[x], bits
        found += bits <= most
    return found


@njit(**EXACT)
def completion(losses, background, limit):
    """(w, 16, limit + 1) float64: the probability that a begun site becomes a whole one.

    Entry (j, s, l): positions 0 to j are read, have lost l, and the last two bases are s (4 x last but one + last); the
    bases to come follow the background, (16, 4) probabilities by the same two bases.
    """
    w = len(losses)
    chance = np.zeros((w, 16, limit + 1))
    chance[w - 1] = 1.0
    for j in range(w - 2, -1, -1):
        for state in range(16):
            for base in range(4):
                loss, then = losses[j + 1, base], (state * 4 + base) % 16
                for l in range(limit - loss + 1):
                    chance[j, state, l] += background[state, base] * chance[j + 1, then, l + loss]
    return chance


@njit(**EXACT)
def expect_sites(codes, losses, chance):
    """(n,) float64: the probability of a site at each base, from `completion`; see `causal_scores`."""
    w, limit = len(losses), chance.shape[2] - 1
    lost = np.full(w, limit + 1, np.int64)  # of the site that began j bases ago
    scores = np.zeros(len(codes))
    before = OTHER
    for i in range(len(codes)):
        base = codes[i]
        if base == OTHER:
            lost[:] = limit + 1
            before = OTHER
            continue
        for j in range(w - 1, 0, -1):
            lost[j] = min(lost[j - 1] + losses[j, base], limit + 1)
        lost[0] = losses[0, base]
        none = 1.0
        for j in range(w):
            if lost[j] > limit:
                continue
            if before == OTHER:  # then j is 0: any base may have come before
                p = (chance[0, base, lost[0]] + chance[0, 4 + base, lost[0]]) / 4
                p += (chance[0, 8 + base, lost[0]] + chance[0, 12 + base, lost[0]]) / 4
            else:
                p = chance[j, before * 4 + base, lost[j]]
            none *= 1.0 - p
        scores[i] = 1.0 - none
        before = base
    return scores
