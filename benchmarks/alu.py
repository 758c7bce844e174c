"""Copies of a repeat in a sequence, by local alignment of its consensus (Biopython's PairwiseAligner)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from Bio import SeqIO
from Bio.Align import PairwiseAligner
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import readable_bases, reverse_complement
from sae_tracks.regions import GenomicRegion
from sae_tracks.training.parts import pieces

WINDOW = 2048  # bases aligned at once
OVERLAP = 600  # of windows: an Alu copy, 300 bases with its insertions, lies whole in at least one
# Reversed (not complemented), the Alu consensus keeps its letters and runs but no homology, and scores at most 19 on
# 2.2 Mb of human sequence; a copy has to score twice that.
MIN_SCORE = 40

_ALIGNER = PairwiseAligner(mode="local", match_score=1, mismatch_score=-1, open_gap_score=-3, extend_gap_score=-1)
_ALIGNER.wildcard = "N"  # scores 0 against anything


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
        Of the local alignment: 1 a match, -1 a mismatch, -3 the first base of a gap and -1 each further one.
    consensus : (end - start,) int64
        Position of each base in the consensus, 0-based, -1 on inserted bases; descending on the ``-`` strand.
    """

    start: int
    end: int
    strand: Literal["+", "-"]
    score: float
    consensus: NDArray[np.int64]


def read_consensus(path: Path) -> bytes:
    """The one record of a FASTA, upper case."""
    try:
        return bytes(SeqIO.read(path, "fasta").seq).upper()
    except (OSError, ValueError) as error:
        raise SaeTracksError(f"cannot read {path}: a FASTA of one record, the consensus, is expected") from error


def find_copies(sequence: bytes, consensus: bytes, min_score: float = MIN_SCORE) -> list[Copy]:
    """Copies of a consensus on either strand that score at least `min_score`; no two overlap.

    Parameters
    ----------
    sequence, consensus : bytes
        Upper-case letters.

    Returns
    -------
    list of Copy
        Ascending. Of copies that overlap, as windows do, the best is kept.
    """
    found = [copy for window in _windows(sequence) for copy in _inside(sequence, *window, consensus, min_score)]
    taken = np.zeros(len(sequence), bool)
    kept = []
    for copy in sorted(found, key=lambda copy: (-copy.score, copy.start)):
        if not taken[copy.start : copy.end].any():
            taken[copy.start : copy.end] = True
            kept.append(copy)
    return sorted(kept, key=lambda copy: copy.start)


def best_score(sequence: bytes, consensus: bytes) -> float:
    """The highest score of a local alignment on either strand; of a reversed consensus, what chance reaches."""
    return max(_score(sequence[start:end], consensus)[0] for start, end in _windows(sequence))


def bases_before(copies: list[Copy], length: int) -> NDArray[np.int64]:
    """(length,) bases of the same copy left of each base, which a forward reader has seen; -1 outside of copies."""
    before = np.full(length, -1)
    for copy in copies:
        before[copy.start : copy.end] = np.arange(copy.end - copy.start)
    return before


def identity(copies: list[Copy], sequence: bytes, consensus: bytes) -> float:
    """Share of the copies' aligned bases that are the consensus's."""
    same = total = 0
    for copy in copies:
        aligned = copy.consensus >= 0
        bases = np.frombuffer(sequence[copy.start : copy.end], np.uint8)[aligned]
        expected = np.frombuffer(consensus, np.uint8)[copy.consensus[aligned]]
        if copy.strand == "-":
            expected = np.frombuffer(reverse_complement(expected.tobytes())[::-1], np.uint8)
        same += int((bases == expected).sum())
        total += len(bases)
    return same / total


def _windows(sequence: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of the windows that have a base to align."""
    for piece in pieces(GenomicRegion("sequence", 0, len(sequence)), WINDOW, OVERLAP):
        if readable_bases(sequence[piece.start : piece.end]).any():
            yield piece.start, piece.end


def _inside(sequence: bytes, start: int, end: int, consensus: bytes, min_score: float) -> Iterator[Copy]:
    """The best copy between two positions, then those to its left and to its right."""
    if end - start < min_score:  # a match scores 1
        return
    score, strand = _score(sequence[start:end], consensus)
    if score < min_score:
        return
    copy = _aligned(sequence[start:end], consensus, strand, start)
    yield copy
    yield from _inside(sequence, start, copy.start, consensus, min_score)
    yield from _inside(sequence, copy.end, end, consensus, min_score)


def _score(window: bytes, consensus: bytes) -> tuple[float, Literal["+", "-"]]:
    forward, reverse = (_ALIGNER.score(window.decode(), consensus.decode(), strand=strand) for strand in "+-")
    return (reverse, "-") if reverse > forward else (forward, "+")


def _aligned(window: bytes, consensus: bytes, strand: Literal["+", "-"], offset: int) -> Copy:
    alignment = _ALIGNER.align(window.decode(), consensus.decode(), strand=strand)[0]
    at, position = alignment.indices  # a column of the alignment each, -1 where there is a gap
    position = position[at >= 0]
    start = offset + int(at[at >= 0][0])
    return Copy(start, start + len(position), strand, float(alignment.score), position.astype(np.int64))
