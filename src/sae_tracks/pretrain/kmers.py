"""k-mers as integers, two bits a base: A 0, C 1, G 2, T 3, the last base in the lowest bits."""

import numpy as np
from numpy.typing import NDArray

OTHER = 4
_DIGIT = np.full(256, OTHER, np.uint8)
_DIGIT[np.frombuffer(b"ACGT", np.uint8)] = range(4)


def packed(sequence: bytes, k: int) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
    """The k-mer that ends at every base.

    Parameters
    ----------
    sequence : bytes
        n upper-case letters.
    k : int
        1 to 32.

    Returns
    -------
    codes : (n,) uint32, or uint64 where k > 16
        Of the k bases up to and including each. The lowest ``2 j`` bits are the code of the last j of them, and hold
        whatever there is in front of the sequence (0) and on letters other than A, C, G, T (0).
    runs : (n,) int64
        How many bases up to and including each are A, C, G or T without a break: the last ``min(runs, k)`` count.
    """
    digits = _DIGIT[np.frombuffer(sequence, np.uint8)]
    index = np.arange(1, len(digits) + 1)
    runs = index - np.maximum.accumulate(np.where(digits == OTHER, index, 0))
    codes = (digits & 3).astype(np.uint32 if k <= 16 else np.uint64)
    width = 1
    while width < k:
        step = min(width, k - width)
        longer = codes.copy()
        longer[step:] |= codes[:-step] << (2 * step)
        codes, width = longer, width + step
    return codes, runs
