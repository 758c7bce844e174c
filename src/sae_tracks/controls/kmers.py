"""The best k-mer of every concept: what a short word in the sequence explains without a model."""

import numpy as np
import pandas as pd

from sae_tracks.controls.best import Cells, best, halves_of
from sae_tracks.controls.sample import Sample, Sites
from sae_tracks.dna import kmer_letters, kmers

LONGEST = 6
FIRST = [(4**k - 4) // 3 for k in range(LONGEST + 2)]  # the column of the first k-mer of each length; and their number


def best_kmers(sample: Sample, sites: Sites) -> pd.DataFrame:
    """Of all k-mers of length 1 to 6, read forward, the one whose occurrences cover each concept best.

    Returns
    -------
    DataFrame
        A row a concept: ``kmer`` ("" where none has a base in common with it), ``kmer_f1`` on the report half and
        ``kmer_select_f1``.
    """
    found = best(kmer_cells(sample), sites.labels, halves_of(sample))
    return pd.DataFrame(
        {
            "kmer": np.array([kmer_name(column) for column in found.column.tolist()], object),
            "kmer_f1": found.f1,
            "kmer_select_f1": found.select_f1,
        }
    )


def kmer_cells(sample: Sample) -> Cells:
    """The k-mers that cover every base, in columns by length, then by alphabet; none runs over N or a bin's border."""
    n, width = len(sample), LONGEST * (LONGEST + 1) // 2
    code, whole = kmers(sample.letters.tobytes(), LONGEST)
    whole = np.minimum(whole, np.arange(1, n + 1) - np.repeat(sample.offset[:-1], np.diff(sample.offset)))
    cell = np.full((n, width), -1, np.int32)
    place = 0
    for k in range(1, LONGEST + 1):
        column = np.full(n, -1, np.int32)  # of the k-mer that starts at each base
        column[: max(n - k + 1, 0)] = np.where(whole >= k, FIRST[k] + (code & np.uint32(4**k - 1)), -1)[k - 1 :]
        for back in range(min(k, n)):
            here = cell[back:, place + back]
            here[:] = column[: n - back]
            for nearer in range(back):  # AAAA covers its second base twice
                here[here == cell[back:, place + nearer]] = -1
        place += k
    return Cells(np.arange(n + 1) * width, cell.reshape(-1), FIRST[-1])


def kmer_name(column: int) -> str:
    """The k-mer of a column; "" of -1."""
    if column < 0:
        return ""
    k = next(k for k in range(1, LONGEST + 1) if column < FIRST[k + 1])
    return kmer_letters(column - FIRST[k], k)
