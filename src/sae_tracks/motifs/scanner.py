"""Every site of many motifs in a sequence, on both strands.

The loops are compiled by numba and run without the interpreter's lock. A word is the code of a few consecutive bases.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.dna import codes, kmers
from sae_tracks.errors import SaeTracksError
from sae_tracks.jit import EXACT
from sae_tracks.motifs.matrix import Cutoff, Motif, cutoff
from sae_tracks.names import counted
from sae_tracks.threads import granted_cpus

WORD = 6  # bases looked up at once: a table of 16 kB, which stays in the nearest cache
TOO_MUCH = np.int32(1 << 28)  # a loss above every limit; adding it to one stays within int32
SHOWN = 20  # names in a warning
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """Matches of motifs, all arrays of one length: by motif, + before -, then by start."""

    motif: NDArray[np.int32]  # index in the list of motifs given
    start: NDArray[np.int64]  # first base of the site on the forward strand, 0-based
    strand: NDArray[np.int8]  # 1 or -1
    relative: NDArray[np.float64]  # relative score, 0 to 1
    minus_log10_p: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.start)

    def take(self, which: NDArray) -> "Hits":
        """Return some of the hits, by index or mask."""
        return Hits(
            self.motif[which], self.start[which], self.strand[which], self.relative[which], self.minus_log10_p[which]
        )

    def by_strand(self) -> NDArray[np.int64]:
        """(2,) int64: the number of hits on + and on -."""
        return np.array([(self.strand > 0).sum(), (self.strand < 0).sum()])

    def shift(self, bases: int) -> "Hits":
        """Return the same hits, moved to the right."""
        return replace(self, start=self.start + bases)


def join_hits(parts: Sequence[Hits]) -> Hits:
    """Return the hits of several sets, one after the other."""
    columns = ((h.motif, h.start, h.strand, h.relative, h.minus_log10_p) for h in parts)
    return Hits(*map(np.concatenate, zip(*columns)))


class Scanner:
    """Finds the sites of motifs.

    A site has at most the p-value `p` (random words, each base 1/4) and at least the relative score `relative`. Motifs
    that cannot reach the p-value (too narrow or too vague) are named in a warning and have no hits; if none can, that
    is an error. `threads` are by default the CPUs granted.
    """

    def __init__(
        self, motifs: Sequence[Motif], *, p: float = 1e-4, relative: float = 0.8, threads: int | None = None
    ) -> None:
        if not 0 < p <= 1 or not 0 <= relative <= 1:
            raise SaeTracksError(f"p-value {p:g} and relative score {relative:g}: both lie between 0 and 1")
        self.motifs = list(motifs)
        self.threads = threads or granted_cpus()
        with ThreadPoolExecutor(self.threads) as pool:
            self._cutoffs = list(pool.map(cutoff, self.motifs, repeat(p), repeat(relative)))
        self._able = [i for i, found in enumerate(self._cutoffs) if found.limit >= 0]
        unable = [motif.matrix_id for motif, found in zip(self.motifs, self._cutoffs) if found.limit < 0]
        if not self._able:
            raise SaeTracksError(f"no word reaches p <= {p:g} with {_names(unable)}: raise --p-value")
        if unable:
            log.warning(
                "no sites of %s, which cannot reach p <= %g: %s", counted(len(unable), "motif"), p, _names(unable)
            )

    @property
    def widest(self) -> int:
        """Number of positions of the widest motif."""
        return max(motif.width for motif in self.motifs)

    def scan(self, sequence: bytes, starts: int | None = None) -> Hits:
        """Return all sites of all motifs in a sequence of the forward strand, in either case.

        A site holds A, C, G and T alone, and starts before the offset `starts`, if given.
        """
        return join_hits([no_hits(), *self.scan_each(sequence, starts)])

    def scan_each(self, sequence: bytes, starts: int | None = None) -> Iterator[Hits]:
        """Yield the hits of each motif in turn, as soon as they are found; see `scan`."""
        bases = codes(sequence)
        texts = {k: _words(sequence, k) for k in {min(WORD, self.motifs[i].width) for i in self._able}}

        def job(i: int) -> Hits:
            return _sites_of(i, self._cutoffs[i], self.motifs[i], bases, texts, starts)

        if min(self.threads, len(self._able)) == 1:
            yield from map(job, self._able)
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                yield from pool.map(job, self._able)


def _sites_of(
    index: int, found: Cutoff, motif: Motif, codes: NDArray, texts: dict[int, NDArray], starts: int | None
) -> Hits:
    """Return the hits of one motif on both strands."""
    n = max(len(codes) - motif.width + 1, 0)
    n = n if starts is None else min(n, starts)
    k, costs, span = min(WORD, motif.width), motif.costs(), motif.span()
    start, lost, cost = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n)
    parts = []
    for strand, turn in ((1, 1), (-1, -1)):
        losses, bits = (np.ascontiguousarray(x[::turn, ::turn]) for x in (found.losses, costs))
        hits = _find(codes, texts[k], k, losses, bits, found.limit, found.most, n, start, lost, cost)
        relative = 1 - cost[:hits] / span if span else np.ones(hits)
        score = -np.log10(found.tail[lost[:hits]])
        which = np.full(hits, index, np.int32), start[:hits].astype(np.int64), np.full(hits, strand, np.int8)
        parts.append(Hits(*which, relative, score))
    return join_hits(parts)


def _words(sequence: bytes, k: int) -> NDArray[np.uint16]:
    """(n - k + 1,) uint16: the word of k bases that starts at each base; 4**k if one is not A, C, G or T."""
    ending, clean = kmers(sequence, k)
    return np.where(clean >= k, ending, 4**k)[k - 1 :].astype(np.uint16)


def no_hits() -> Hits:
    """Return an empty set of hits."""
    return Hits(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0), np.empty(0))


def _names(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return ", ".join(ids[:SHOWN]) + more


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
def _most_selective(losses, k, limit, table):
    """Return the offset in the motif at which k bases rule out most words."""
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
    """Return offsets in the motif and losses of words there, most selective first; each column counts once."""
    w = len(losses)
    tables = np.empty((2 + w // k, 4**k + 1), np.int32)
    offsets = np.empty(len(tables), np.int64)
    free = np.ones(w, np.bool_)
    at, start = 0, _most_selective(losses, k, limit, tables[0])
    while free.any():
        _word_losses(losses, start, k, free, tables[at])
        offsets[at] = start
        free[start : start + k] = False
        start = min(np.argmax(free), w - k)
        at += 1
    return offsets[:at], tables[:at]


@njit(**EXACT)
def _find(codes, texts, k, losses, costs, limit, most, n, starts, lost, cost):
    """Fill `starts`, `lost` and `cost`, (n,) int32, int32 and float64, with the matches in order; return their number.

    Words are looked up, the most selective first, and starts that have lost too much are dropped.

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
