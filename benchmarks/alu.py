"""Copies of a repeat: their identity to the consensus, and the number of bases of the copy before each base."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sae_tracks.controls.alu import Copy
from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError


def read_consensus(path: Path) -> bytes:
    """Return the only record of a FASTA, in upper case."""
    try:
        header, *lines = path.read_text().splitlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        raise SaeTracksError(f"cannot read {path}: {error}") from error
    if not header.startswith(">") or not lines or any(line.startswith(">") for line in lines):
        raise SaeTracksError(f"cannot read {path}: a FASTA of one record, the consensus, is expected")
    return "".join(map(str.strip, lines)).upper().encode()


def bases_before(copies: list[Copy], length: int) -> NDArray[np.int64]:
    """Return, for each base, the number of bases of the same copy to its left, (length,); -1 outside of copies."""
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
