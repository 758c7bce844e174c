"""Copies of a repeat in a sequence, by local alignment of its consensus: Alu where no annotation of repeats is at hand.

The aligner is `align`'s (match 1, mismatch -1, gaps -3 and -1 for each further base), on both strands. A copy scores at
least 40: twice what the reversed consensus, which keeps its letters and runs but has no homology, reaches anywhere in
2.1 Mb of human sequence (19). Old and short copies score less and are missed, as are all other repeats.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.controls.align import Alignment, align, best_ends, longest
from sae_tracks.dna import codes, reverse_complement
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion, merge_regions

# the widely published 7SL-derived consensus, without its poly-A tail
ALU = (
    b"GGCCGGGCGCGGTGGCTCACGCCTGTAATCCCAGCACTTTGGGAGGCCGAGGCGGGCGGATCACCTGAGGTCAGGAGTTCGAGACCAGCCTGGCCAACATGGTGAAACC"
    b"CCGTCTCTACTAAAAATACAAAAATTAGCCGGGCGTGGTGGCGCGCGCCTGTAATCCCAGCTACTCGGGAGGCTGAGGCAGGAGAATCGCTTGAACCCGGGAGGCGGAG"
    b"GTTGCAGTGAGCCGAGATCGCGCCACTGCACTCCAGCCTGGGCGACAGAGCGAGACTCCGTCTC"
)
MIN_SCORE = 40


@dataclass(frozen=True, slots=True, eq=False)
class Copy:
    """One copy of a repeat.

    Attributes
    ----------
    start, end : int
        In the sequence, 0-based half-open, forward.
    strand : str
        ``-`` where the sequence holds the reverse complement of the consensus.
    score : float
        Of the local alignment.
    consensus : (end - start,) int64
        Position of each base in the consensus, 0-based, -1 on inserted bases; descending on the ``-`` strand.
    """

    start: int
    end: int
    strand: Literal["+", "-"]
    score: float
    consensus: NDArray[np.int64]


def alu_sites(genome: Genome, regions: Iterable[GenomicRegion]) -> pd.DataFrame:
    """Copies of Alu that overlap some regions, as the sites of an annotation.

    Returns
    -------
    DataFrame
        A row a copy, in the genome's order: ``Chromosome``, ``Start``, ``End``, ``Name`` (Alu), ``Score``, ``Strand``.
        A copy that reaches out of a region is whole.
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


def find_copies(sequence: bytes, consensus: bytes = ALU, min_score: float = MIN_SCORE) -> list[Copy]:
    """Copies of a consensus on either strand that score at least `min_score`; no two overlap.

    The best copy comes first, then the best to its left and to its right, and so on.

    Parameters
    ----------
    sequence, consensus : bytes
        Upper-case letters.
    min_score : float

    Returns
    -------
    list of Copy
        Ascending.
    """
    letters, strands = codes(sequence), _strands(consensus)
    ends = np.flatnonzero(np.maximum(*(best_ends(letters, strand) for strand in strands)) >= min_score)
    found = []
    for start, end in _islands(ends, longest(len(consensus))):
        found += _inside(letters[start:end], start, strands, min_score)
    return sorted(found, key=lambda copy: copy.start)


def best_score(sequence: bytes, consensus: bytes = ALU) -> float:
    """The highest score of a local alignment on either strand; of a reversed consensus, what chance reaches."""
    return max(float(best_ends(codes(sequence), strand).max(initial=0)) for strand in _strands(consensus))


def _strands(consensus: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return codes(consensus), codes(reverse_complement(consensus))


def _islands(ends: NDArray[np.int64], reach: int) -> Iterable[tuple[int, int]]:
    """Disjoint intervals that hold every alignment that ends on one of some ascending bases."""
    if not len(ends):
        return []
    first = np.flatnonzero(np.diff(ends, prepend=-reach - 1) > reach)
    last = np.append(first[1:], len(ends)) - 1
    return zip(np.maximum(ends[first] + 1 - reach, 0).tolist(), (ends[last] + 1).tolist())


def _inside(letters: NDArray[np.uint8], offset: int, strands, min_score: float) -> list[Copy]:
    """The best copy, then those to its left and to its right."""
    copies, parts = [], [(0, len(letters))]
    while parts:
        start, end = parts.pop()
        if end - start < min_score:  # a match scores 1
            continue
        forward, reverse = (align(letters[start:end], strand) for strand in strands)
        minus = reverse.score > forward.score
        best = reverse if minus else forward
        if best.score >= min_score:
            copies.append(_copy(best, offset + start, len(strands[0]), minus))
            parts += [(start, copies[-1].start - offset), (copies[-1].end - offset, end)]
    return copies


def _copy(found: Alignment, offset: int, length: int, minus: bool) -> Copy:
    start, position = offset + found.start, found.position
    if minus:
        position = np.where(position < 0, -1, length - 1 - position)
    return Copy(start, start + len(position), "-" if minus else "+", found.score, position)
