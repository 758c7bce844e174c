"""What went into a bigWig, and whether another library reads it back."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.tracks.folder import Summary
from sae_tracks.tracks.kernels import sums

SAMPLES = 16  # runs of a file that are read back
CONTIGS = 64  # whose largest value is compared with the zoom levels'
TRUNCATED = 2**53  # sums beyond are not whole numbers


class Tally:
    """Counts what goes into a file, and keeps a sample of it."""

    def __init__(self) -> None:
        self.bases, self.total, self.squares = 0, 0.0, 0.0
        self.minimum, self.maximum = math.inf, -math.inf
        self.maxima: dict[str, float] = {}
        self.samples: list[tuple[str, int, int, float]] = []

    def watch(self, pieces: Iterable[tuple[str, NDArray]]) -> Iterator[tuple[str, NDArray]]:
        """Hand the pieces on."""
        for contig, runs in pieces:
            bases, low, high, total, squares = sums(
                *(np.ascontiguousarray(runs[name]) for name in runs.dtype.names or ())
            )
            self.bases, self.total, self.squares = self.bases + bases, self.total + total, self.squares + squares
            self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
            self.maxima[contig] = max(self.maxima.get(contig, -math.inf), high)
            self._sample(contig, runs)
            yield contig, runs

    def summary(self) -> Summary:
        return Summary(self.bases, self.minimum, self.maximum, self.total, self.squares)

    def _sample(self, contig: str, runs: NDArray) -> None:
        """Keep the first and the last run and some between; every second one goes where they are too many."""
        chosen = runs[np.unique(np.linspace(0, len(runs) - 1, SAMPLES // 2, dtype=np.int64))]
        self.samples += [(contig, *run.tolist()) for run in chosen]
        if len(self.samples) > SAMPLES:
            self.samples = self.samples[::2][: SAMPLES - 1] + self.samples[-1:]


def check_bigwig(path: Path, lengths: Mapping[str, int], tally: Tally, name: str) -> None:
    """Read a bigWig back with pyBigWig: contigs, sums, sampled runs, and the largest values of the zoom levels.

    An error calls it by the name that it is to have.

    Raises
    ------
    SaeTracksError
        It is not what was written.
    """
    import pyBigWig

    try:
        with pyBigWig.open(str(path)) as file:
            wrong = _difference(file, lengths, tally)
    except RuntimeError as error:
        wrong = str(error)
    if wrong:
        raise SaeTracksError(f"{name} is not what was written ({wrong}): is the disk full or failing?")


def _difference(file, lengths: Mapping[str, int], tally: Tally) -> str:
    """What differs; empty where nothing does."""
    header = file.header()
    if list(file.chroms().items()) != list(lengths.items()):
        return "contigs"
    sums = (header["nBasesCovered"], tally.bases), (header["minVal"], tally.minimum), (header["maxVal"], tally.maximum)
    sums = (*sums, (header["sumData"], tally.total), (header["sumSquared"], tally.squares))
    if any(found != math.trunc(written) for found, written in sums if abs(written) < TRUNCATED):
        return "sums of the header"
    for contig, start, end, value in tally.samples:
        if ((start, end, value),) != file.intervals(contig, start, end):
            return f"{contig}:{start + 1}-{end}"
    for contig, highest in list(tally.maxima.items())[:CONTIGS]:
        if file.stats(contig, type="max") != [highest]:
            return f"zoom levels of {contig}"
    return ""
