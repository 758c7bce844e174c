"""Copies of Alu in a sequence, found by local alignment, for genomes without an annotation of repeats."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from sae_tracks.dna import OTHER, codes, reverse_complement
from sae_tracks.genome import Genome
from sae_tracks.intervals import runs_of
from sae_tracks.jit import FAST
from sae_tracks.regions import GenomicRegion, merge_regions

OPEN, EXTEND = np.float32(-3), np.float32(-1)
LANES = 16  # stretches of the sequence aligned at once, which fill the vector units
LEAST = np.float32(-1e6)


class Alignment(NamedTuple):
    """The best local alignment of a sequence to a consensus."""

    score: float  # 0 if nothing matches; then no bases are aligned
    start: int  # of the aligned bases in the sequence
    position: NDArray[np.int64]  # in the consensus, of each base from `start` on: ascending, -1 on inserted bases


def best_ends(sequence: NDArray[np.uint8], consensus: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n,) float32: the score of the best local alignment that ends at each base, 0 if none has a positive one.

    Both are codes of `sae_tracks.dna.codes`. Stretches of the sequence are aligned separately, each from `longest`
    bases before it, so that no alignment is missed. Of a run of N, which score 0, only as many bases are aligned,
    because no alignment ends further inside with a positive score.
    """
    lead = longest(len(consensus))
    near = np.ones(len(sequence), np.bool_)
    for start, end in runs_of(sequence == OTHER).tolist():
        near[start + lead : end] = False
    best = np.zeros(len(sequence), np.float32)
    best[near] = _best_in_lanes(sequence[near], consensus, lead)
    return best


def _best_in_lanes(sequence: NDArray[np.uint8], consensus: NDArray[np.uint8], lead: int) -> NDArray[np.float32]:
    step = -(-len(sequence) // LANES)
    padded = np.full(lead + LANES * step, OTHER, np.int32)  # as wide as the scores
    padded[lead : lead + len(sequence)] = sequence
    lanes = np.lib.stride_tricks.sliding_window_view(padded, lead + step)[::step][:LANES] if step else padded[None, :0]
    return _best_ends(np.ascontiguousarray(lanes.T), consensus.astype(np.int32))[lead:].T.ravel()[: len(sequence)]


def longest(consensus: int) -> int:
    """More bases than an alignment with a positive score can have, for the length of a consensus.

    At most as many bases as the consensus has are paired. Fewer are inserted, because each costs as much as a match
    gives.
    """
    return 2 * consensus


def align(sequence: NDArray[np.uint8], consensus: NDArray[np.uint8]) -> Alignment:
    """Return the best local alignment; of equal ones the one that ends first."""
    trace, score, row, column = _fill(sequence, consensus)
    start, position = _follow(trace, row, column, score)
    return Alignment(float(score), start, position)


@njit(**FAST)
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


@njit(**FAST)
def _fill(sequence, consensus):
    """Return how each cell of the matrix was reached, and the highest score with its row and column.

    Bits 0 and 1 of a cell of the trace say where its score comes from (0: nowhere, 1: a pair, 2: an insertion, 3: a
    deletion). Bit 2 is set if an insertion continues there, bit 3 if a deletion does.
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
            continues = 4 * (longer > opened)
            inserted[i] = max(opened, longer)
            opened, longer = above + OPEN, deleted + EXTEND
            continues += 8 * (longer > opened)
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
            trace[t, i] = continues + source
            score[i], above, before = new, new, left
            if new > best:
                best, row, column = new, t, i
    return trace, best, row, column


@njit(**FAST)
def _follow(trace, row, column, score):
    """Return the first base of the alignment that ends in a cell, and the position in the consensus of each base."""
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


# the widely published 7SL-derived consensus, without its poly-A tail
ALU = (
    b"GGCCGGGCGCGGTGGCTCACGCCTGTAATCCCAGCACTTTGGGAGGCCGAGGCGGGCGGATCACCTGAGGTCAGGAGTTCGAGACCAGCCTGGCCAACATGGTGAAACC"
    b"CCGTCTCTACTAAAAATACAAAAATTAGCCGGGCGTGGTGGCGCGCGCCTGTAATCCCAGCTACTCGGGAGGCTGAGGCAGGAGAATCGCTTGAACCCGGGAGGCGGAG"
    b"GTTGCAGTGAGCCGAGATCGCGCCACTGCACTCCAGCCTGGGCGACAGAGCGAGACTCCGTCTC"
)
MIN_SCORE = 40


@dataclass(frozen=True, slots=True, eq=False)
class Copy:
    """One copy of a repeat in a sequence; `start` and `end` are 0-based half-open, forward."""

    start: int
    end: int
    strand: Literal["+", "-"]  # - if the sequence holds the reverse complement of the consensus
    score: float  # of the local alignment
    consensus: NDArray[np.int64]  # (end - start,): position in it, 0-based, -1 on inserted bases; descending on -


def alu_sites(genome: Genome, regions: Iterable[GenomicRegion]) -> pd.DataFrame:
    """Copies of Alu that overlap some regions, as the sites of an annotation.

    Returns
    -------
    DataFrame
        One row per copy, in the genome's order: ``Chromosome``, ``Start``, ``End``, ``Name`` (Alu), ``Score``,
        ``Strand``. A copy that reaches out of a region is whole.
    """
    wanted = merge_regions(regions, genome.lengths)
    reach = longest(len(ALU))
    around = [
        GenomicRegion(r.contig, max(r.start - reach, 0), min(r.end + reach, genome.lengths[r.contig])) for r in wanted
    ]
    rows = []
    for region in merge_regions(around, genome.lengths):
        inside = [r for r in wanted if r.overlap(region)]
        for copy in find_copies(genome.sequence(region)):
            start, end = region.start + copy.start, region.start + copy.end
            if any(start < r.end and r.start < end for r in inside):
                rows.append((region.contig, start, end, "Alu", copy.score, copy.strand))
    return pd.DataFrame(rows, columns=["Chromosome", "Start", "End", "Name", "Score", "Strand"])


def find_copies(sequence: bytes, consensus: bytes = ALU) -> list[Copy]:
    """Find copies of a consensus on either strand that score at least `MIN_SCORE`; they ascend, and no two overlap.

    The best copy is taken first, then the best to its left and to its right, and so on. Letters are upper case.
    """
    letters, strands, reach = codes(sequence), _strands(consensus), longest(len(consensus))
    ends = np.flatnonzero(np.maximum(*(best_ends(letters, strand) for strand in strands)) >= MIN_SCORE)
    if not len(ends):
        return []
    # disjoint intervals that hold every alignment that ends on one of these bases
    first = np.flatnonzero(np.diff(ends, prepend=-reach - 1) > reach)
    last = np.append(first[1:], len(ends)) - 1
    copies = []
    for start, end in zip(np.maximum(ends[first] + 1 - reach, 0).tolist(), (ends[last] + 1).tolist()):
        copies += _copies_in(letters[start:end], start, strands)
    return sorted(copies, key=lambda copy: copy.start)


def best_score(sequence: bytes, consensus: bytes = ALU) -> float:
    """The highest score of a local alignment on either strand; with a reversed consensus, the score of chance."""
    return max(float(best_ends(codes(sequence), strand).max(initial=0)) for strand in _strands(consensus))


def _strands(consensus: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return codes(consensus), codes(reverse_complement(consensus))


def _copies_in(letters: NDArray[np.uint8], offset: int, strands) -> list[Copy]:
    """The best copy, then those to its left and to its right; `offset` is the place of the letters in the sequence."""
    copies, rest = [], [(0, len(letters))]
    while rest:
        start, end = rest.pop()
        if end - start < MIN_SCORE:  # a match scores 1
            continue
        forward, reverse = (align(letters[start:end], strand) for strand in strands)
        minus = reverse.score > forward.score
        best = reverse if minus else forward
        if best.score >= MIN_SCORE:
            first, position = start + best.start, best.position
            last = first + len(position)
            if minus:
                position = np.where(position < 0, -1, len(strands[0]) - 1 - position)
            copies.append(Copy(offset + first, offset + last, "-" if minus else "+", best.score, position))
            rest += [(start, first), (last, end)]
    return copies
