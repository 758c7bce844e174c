"""Letters of DNA: codes, complement, k-mers."""

import numpy as np
from numpy.typing import NDArray

NUCLEOTIDES = "ACGT"
LETTERS = np.frombuffer(NUCLEOTIDES.encode(), np.uint8)  # the letter of each code
OTHER = 4  # the code of any letter but A, C, G and T
_CODE = np.full(256, OTHER, np.uint8)
for _letters in (NUCLEOTIDES, NUCLEOTIDES.lower()):
    _CODE[list(_letters.encode())] = range(4)
_COMPLEMENT = bytes.maketrans(b"ACGTUNRYSWKMBDHVacgtunryswkmbdhv", b"TGCAANYRSWMKVHDBtgcaanyrswmkvhdb")


def codes(sequence: bytes) -> NDArray[np.uint8]:
    """(n,) uint8: 0 to 3 on A, C, G and T in either case, 4 on other letters."""
    return _CODE[np.frombuffer(sequence, np.uint8)]


def readable_bases(sequence: bytes) -> NDArray[np.bool_]:
    """(n,) bool: True on A, C, G and T in either case."""
    return codes(sequence) != OTHER


def complement(sequence: bytes) -> bytes:
    """The base opposite to each, in the same order; IUPAC codes and case are kept, U pairs with A."""
    return sequence.translate(_COMPLEMENT)


def reverse_complement(sequence: bytes) -> bytes:
    """The other strand, 5' to 3'; IUPAC codes and case are kept."""
    return complement(sequence)[::-1]


def kmers(sequence: bytes, k: int) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
    """The k-mer that ends at each base, as a number of two bits per base.

    Parameters
    ----------
    sequence : bytes
        n letters in either case.
    k : int
        1 to 32.

    Returns
    -------
    codes : (n,) uint32, or uint64 if k > 16
        The k bases up to and including each base, the last one in the lowest bits. The lowest ``2 j`` bits are the
        code of the last j bases. Bases before the sequence and letters other than A, C, G, T count as 0.
    runs : (n,) int64
        The number of consecutive A, C, G, T up to and including each base. Only the last ``min(runs, k)`` bases of a
        code are real.
    """
    digits = codes(sequence)
    index = np.arange(1, len(digits) + 1)
    runs = index - np.maximum.accumulate(np.where(digits == OTHER, index, 0))
    found = (digits & 3).astype(np.uint32 if k <= 16 else np.uint64)
    width = 1
    while width < k:
        step = min(width, k - width)
        longer = found.copy()
        longer[step:] |= found[:-step] << (2 * step)
        found, width = longer, width + step
    return found, runs


def letter_sums(letters: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Running counts of letters, for `composition`.

    Parameters
    ----------
    letters : (n,) uint8
        From `codes`.

    Returns
    -------
    (3, n + 1) int64
        Before each letter and at the end: letters that are A, C, G or T; that are C or G; that are the G of a CpG.
    """
    found = np.zeros((3, len(letters) + 1), np.int64)
    of_cpg = (letters[:-1] == 1) & (letters[1:] == 2)
    np.cumsum([letters != OTHER, (letters == 1) | (letters == 2)], axis=1, out=found[:2, 1:])
    np.cumsum(of_cpg, out=found[2, 2:])
    return found


def composition(sums: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the letters of intervals.

    GC is the share of C and G among the letters A, C, G and T, and CpG the number of CpGs per such letter. A CpG counts
    if both of its letters lie in the interval.

    Parameters
    ----------
    sums : (3, n + 1) int64
        From `letter_sums`.
    start, end : (m,) int64
        0-based half-open, counted from the first of the n letters; an interval may be empty.

    Returns
    -------
    (3, m) int64
        Letters that are A, C, G or T; that are C or G; and CpGs.
    """
    first = np.stack([start, start, np.minimum(start + 1, end)])  # the C before a G that is the first letter is outside
    return sums[:, end] - np.take_along_axis(sums, first, axis=1)


def kmer_letters(code: int, k: int) -> str:
    """The letters of a k-mer's code."""
    return "".join(NUCLEOTIDES[code >> 2 * (k - 1 - i) & 3] for i in range(k))
