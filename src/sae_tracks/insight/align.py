"""From the sequence around a feature's strongest places to an aligned matrix: which word they share, and where.

Every window is shifted, and may be turned, until it fits the matrix of all others best (a hard form of expectation
maximisation). How often each shift occurs counts too: a causal feature peaks at a fixed distance from what it read, so
one letter at a fixed place is a motif, while a long word may lie anywhere. Nothing is drawn at random.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.dna import OTHER
from sae_tracks.jit import EXACT

LEAST_SITES = 10  # windows that must share a word
LEAST_BITS = 0.25  # of an informative column, at least
CHANCE = 11.7  # bits times sites: a column has as many by chance with p = 0.001 (chi-square, 3 degrees of freedom)
MOST_COLUMNS = 30
WORD = 6  # letters of the words that an alignment starts from
WORDS = 3  # number of them
STRONGEST = 250  # windows on which the starts compete
ROUNDS = 20  # of an alignment, at most
REGROWN = 5  # times that columns are chosen anew, at most
ANYWHERE = 0.2  # weight of equally likely shifts among those that were found


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """A matrix, and how it lies in windows of one length.

    Attributes
    ----------
    counts : (w, 4) int64
        A, C, G and T at each position of the aligned windows, along the direction of reading.
    placed : (2, p) float64
        Share of the windows in which the matrix begins at each offset: as it is, and as its reverse complement.
    background : (4,) float64
        Frequencies of A, C, G and T.
    """

    counts: NDArray[np.int64]
    placed: NDArray[np.float64]
    background: NDArray[np.float64]

    @property
    def width(self) -> int:
        """Number of positions."""
        return len(self.counts)

    def log_odds(self) -> NDArray[np.float64]:
        """(w, 5) float64, bits: log2 of smoothed frequencies over the background; 0 for other letters."""
        n = self.counts.sum(axis=1, keepdims=True)
        p = (self.counts + np.sqrt(n) * self.background) / (n + np.sqrt(n))
        return np.concatenate([np.log2(p / self.background), np.zeros((self.width, 1))], axis=1)

    def information(self) -> NDArray[np.float64]:
        """(w,) float64, bits: the information of each position against the background."""
        return _information(self.counts, self.background)

    def place(self, windows: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
        """Fit the matrix to (n, length) windows.

        Returns
        -------
        score : (n,) float64
            Bits by which the best place explains the window better than the background; a window with a score of 0 or
            less holds no site.
        start : (n,) int64
            Offset of the first base of the site in the window.
        turned : (n,) bool
            Whether the reverse complement fits best.
        """
        places = self.placed.shape[1]
        share = (1 - ANYWHERE) * self.placed / self.placed.sum() + ANYWHERE / (2 * places)
        return _place(windows, self.log_odds(), np.log2(share))

    def reverse_complement(self) -> "Alignment":
        """The same alignment, seen from the other strand of every site."""
        return Alignment(self.counts[::-1, ::-1].copy(), self.placed[::-1].copy(), self.background)


def align(windows: NDArray[np.uint8], others: NDArray[np.uint8], background: NDArray[np.float64]) -> Alignment | None:
    """Find the word that windows share.

    The alignment starts from the windows as they are, and from each of the words of six letters that most set them
    apart from other windows. The start that explains most of the strongest windows goes on with all of them.

    Parameters
    ----------
    windows : (n, length) uint8
        Codes of `sae_tracks.dna.codes`, the strongest first, along the direction of reading.
    others : (m, length) uint8
        Windows in which the feature is silent.
    background : (4,) float64
        Frequencies of A, C, G and T.

    Returns
    -------
    Alignment or None
        With its informative columns only: a run of at most 30, of which all together have more than a quarter of a bit
        per column. None if no column is informative, or fewer than ten windows share it.
    """
    if len(windows) < LEAST_SITES:
        return None
    some = windows[:STRONGEST]
    found = [(_fit(some, start), start) for start in _starts(some, others, background)]
    fitted = [one for one, _ in found if one is not None]
    if not fitted:
        return None
    best = max(fitted, key=lambda one: _explained(some, one))
    best = _fit(windows, best)
    if best is None:
        return None
    return best if best.placed[0].sum() >= best.placed[1].sum() else best.reverse_complement()


def _explained(windows: NDArray[np.uint8], one: Alignment) -> float:
    """Bits by which the sites of an alignment explain windows better than the background does."""
    score, _, _ = one.place(windows)
    return float(np.maximum(score, 0).sum())


def _starts(
    windows: NDArray[np.uint8], others: NDArray[np.uint8], background: NDArray[np.float64]
) -> Iterator[Alignment]:
    length = windows.shape[1]
    whole = _columns(windows, np.zeros(len(windows), np.int64), np.zeros(len(windows), bool), length, 0)
    first, last = _informative(whole, background, len(windows))
    if first < last:
        placed = np.zeros((2, length - (last - first) + 1))
        placed[0, first] = 1
        yield Alignment(whole[first:last], placed, background)
    for word in _enriched(windows, others):
        letters = word >> 2 * np.arange(WORD - 1, -1, -1) & 3
        counts = np.full((WORD, 4), 5) + 80 * (letters[:, None] == np.arange(4))
        yield Alignment(counts, np.ones((2, length - WORD + 1)), background)


def _fit(windows: NDArray[np.uint8], one: Alignment) -> Alignment | None:
    """Align windows until nothing changes, and choose the informative columns anew until these do not change."""
    for _ in range(REGROWN):
        one, sites, start, turned = _aligned(windows, one)
        if len(sites) < LEAST_SITES:
            return None
        around = _columns(windows[sites], start[sites], turned[sites], one.width, MOST_COLUMNS)
        first, last = _informative(around, one.background, len(sites))
        if first == last:
            return None
        if (first, last) == (MOST_COLUMNS, MOST_COLUMNS + one.width):
            break
        one = _moved(one, around[first:last], first - MOST_COLUMNS, windows.shape[1])
    return one


def _aligned(
    windows: NDArray[np.uint8], one: Alignment
) -> tuple[Alignment, NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Place all windows and count them again, until their places do not change."""
    before = None
    for _ in range(ROUNDS):
        score, start, turned = one.place(windows)
        sites = np.flatnonzero(score > 0)
        now = np.stack([sites, start[sites], turned[sites]])
        if len(sites) < LEAST_SITES or (before is not None and np.array_equal(before, now)):
            break
        before = now
        counts = _columns(windows[sites], start[sites], turned[sites], one.width, 0)
        placed = np.zeros_like(one.placed)
        np.add.at(placed, (turned[sites].astype(np.int64), start[sites]), 1)
        one = Alignment(counts, placed, one.background)
    return one, sites, start, turned


def _moved(one: Alignment, counts: NDArray[np.int64], by: int, length: int) -> Alignment:
    """The alignment with other columns, which begin `by` positions after the first of the present ones."""
    places = length - len(counts) + 1
    placed = np.zeros((2, places))
    shift = by, one.width - by - len(counts)  # turned, a site begins with its last column
    for old, new, moved in zip(one.placed, placed, shift):
        np.add.at(new, np.clip(np.arange(len(old)) + moved, 0, places - 1), old)
    return Alignment(counts, placed, one.background)


def _information(counts: NDArray[np.int64], background: NDArray[np.float64]) -> NDArray[np.float64]:
    n = counts.sum(axis=1, keepdims=True)
    p = (counts + background) / (n + 1)
    return (p * np.log2(p / background)).sum(axis=1)


def _informative(counts: NDArray[np.int64], background: NDArray[np.float64], sites: int) -> tuple[int, int]:
    """The run of columns with the largest sum of information above the least; both edges are 0 if there is none."""
    seen = counts.sum(axis=1)
    least = np.maximum(LEAST_BITS, CHANCE / np.maximum(seen, 1))
    gain = np.where(2 * seen >= sites, _information(counts, background) - least, -np.inf)
    best, edges = 0.0, (0, 0)
    for first in np.flatnonzero(gain > 0):
        total = np.cumsum(gain[first : first + MOST_COLUMNS])
        if total.max() > best:
            best, edges = float(total.max()), (int(first), int(first + total.argmax() + 1))
    return edges


def _enriched(windows: NDArray[np.uint8], others: NDArray[np.uint8]) -> list[int]:
    """The words that most set windows apart from others, on either strand, as numbers of two bits per letter."""
    held, rest = _windows_with(windows), _windows_with(others)
    share, elsewhere = (held + 0.5) / (len(windows) + 1), (rest + 0.5) / (len(others) + 1)
    pooled = (held + rest + 1) / (len(windows) + len(others) + 2)
    apart = (share - elsewhere) / np.sqrt(pooled * (1 - pooled) * (1 / (len(windows) + 1) + 1 / (len(others) + 1)))
    order = np.argsort(-apart, kind="stable")
    return [int(word) for word in order[:WORDS] if held[word] >= LEAST_SITES and apart[word] > 0]


@njit(**EXACT)
def _windows_with(windows):
    """(4^6,) int64: windows that hold each word on either strand; both strands of a word count as the lower one."""
    size = 4**WORD
    found, last = np.zeros(size, np.int64), np.full(size, -1, np.int64)
    for n in range(len(windows)):
        forward = reverse = run = 0
        for letter in windows[n]:
            run = 0 if letter == OTHER else run + 1
            forward = (forward * 4 + (letter & 3)) % size
            reverse = reverse // 4 + (3 - (letter & 3)) * 4 ** (WORD - 1)
            word = min(forward, reverse)
            if run >= WORD and last[word] != n:
                last[word] = n
                found[word] += 1
    return found


@njit(**EXACT)
def _place(windows, odds, share):
    """See `Alignment.place`; `share` is log2 of the share of each offset, as it is and turned."""
    n, length = windows.shape
    w = len(odds)
    places = length - w + 1
    other = np.zeros_like(odds)
    for j in range(w):
        for letter in range(4):
            other[j, letter] = odds[w - 1 - j, 3 - letter]
    best, start, turned = np.empty(n), np.zeros(n, np.int64), np.zeros(n, np.bool_)
    for i in range(n):
        window = windows[i]
        top = -np.inf
        for turn in range(2):
            matrix = odds if turn == 0 else other
            for offset in range(places):
                total = share[turn, offset]
                for j in range(w):
                    total += matrix[j, window[offset + j]]
                if total > top:
                    top, start[i], turned[i] = total, offset, turn == 1
        best[i] = top
    return best, start, turned


@njit(**EXACT)
def _columns(windows, start, turned, w, around):
    """(w + 2 around, 4) int64: letters of the aligned windows, also of the columns on either side of the w columns."""
    n, length = windows.shape
    counts = np.zeros((w + 2 * around, 4), np.int64)
    for i in range(n):
        for j in range(w + 2 * around):
            at = start[i] + (w - 1 - (j - around) if turned[i] else j - around)
            if at < 0 or at >= length:
                continue
            letter = windows[i, at]
            if letter != OTHER:
                counts[j, 3 - letter if turned[i] else letter] += 1
    return counts
