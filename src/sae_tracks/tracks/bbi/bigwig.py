"""bigWig: written here, and read back with pyBigWig before the file takes its name.

docs/performance.md says how other writers compare.
"""

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sae_tracks.bbi import BIGWIG, Summary
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic
from sae_tracks.tracks.bbi.bigfile import FINEST_ZOOM, MOST_ZOOMS, ZOOM_STEP, BigFile
from sae_tracks.tracks.bbi.runs import batches, columns_of, sums

MOST_BASES = 2**31 - 1  # coordinates have 32 bits; pyBigWig and pybigtools use the first as a sign
ITEMS = 1024  # runs per block
BATCH = 128 * ITEMS
BEDGRAPH, FIXED = 1, 3  # types of blocks
BLOCK = struct.Struct("<IIIIIBBH")  # contig, start, end, step, span, type, reserved, items
ITEM = np.dtype([("start", "<u4"), ("end", "<u4"), ("value", "<f4")])
SAMPLES = 16  # runs of a file that are read back
CONTIGS = 64  # contigs whose largest value is compared with the zoom levels
TRUNCATED = 2**53  # sums from here on are not whole numbers


class Tally:
    """Counts the values that go into a file, and keeps a sample of the runs."""

    def __init__(self) -> None:
        self.bases, self.total, self.squares = 0, 0.0, 0.0
        self.minimum, self.maximum = math.inf, -math.inf
        self.maxima: dict[str, float] = {}
        self.samples: list[tuple[str, int, int, float]] = []

    def watch(self, by_contig: Iterable[tuple[str, NDArray]]) -> Iterator[tuple[str, NDArray]]:
        """Yield the runs of each contig unchanged and count them."""
        for contig, runs in by_contig:
            bases, low, high, total, squares = sums(*columns_of(runs))
            self.bases, self.total, self.squares = self.bases + bases, self.total + total, self.squares + squares
            self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
            self.maxima[contig] = max(self.maxima.get(contig, -math.inf), high)
            self._sample(contig, runs)
            yield contig, runs

    def summary(self) -> Summary:
        """The summary that the header of the file holds."""
        return Summary(self.bases, self.minimum, self.maximum, self.total, self.squares)

    def _sample(self, contig: str, runs: NDArray) -> None:
        """Keep the first run, the last and some between; if there are too many, drop every second one."""
        chosen = runs[np.unique(np.linspace(0, len(runs) - 1, SAMPLES // 2, dtype=np.int64))]
        self.samples += [(contig, *run.tolist()) for run in chosen]
        if len(self.samples) > SAMPLES:
            self.samples = self.samples[::2][: SAMPLES - 1] + self.samples[-1:]


def finest_zoom(density: float, bin_size: int = 1) -> int:
    """Bases per record of the first zoom level, chosen so that about ten runs go into one record.

    `density` is the share of the bases with a value of their own, and values are those of bins of `bin_size` bases.
    """
    size = FINEST_ZOOM * -(-bin_size // 8)
    for _ in range(MOST_ZOOMS - 1):
        if size * density >= 8:
            break
        size *= ZOOM_STEP
    return size


def check_lengths(lengths: Mapping[str, int]) -> None:
    """Refuse contigs that are too long for a bigWig."""
    too_long = [name for name, length in lengths.items() if length > MOST_BASES]
    if too_long:
        raise SaeTracksError(f"contig {too_long[0]!r} has more than {MOST_BASES:,} bases: bigWigs of it cannot be read")


def write_bigwig(
    path: Path,
    lengths: Mapping[str, int],
    by_contig: Iterable[tuple[str, NDArray]],
    finest: int = FINEST_ZOOM,
    expected: tuple[int, float] | None = None,
) -> None:
    """Write one bigWig. It takes its name only after it was read back and found right.

    Parameters
    ----------
    lengths : mapping of str to int
        Contig lengths, > 0, in the order wanted.
    by_contig : iterable of (str, (k,) RUN)
        Contig and ascending runs on it, contigs in order; values finite. How the runs are cut into arrays changes no
        byte of the file.
    finest : int
        Bases per record of the first zoom level.
    expected : (int, float), optional
        The number of bases and the sum of their values. What was written is compared with them.

    Raises
    ------
    SaeTracksError
        A contig is too long, no base has a value, or the file differs from what was to be written.
    """
    check_lengths(lengths)
    tally = Tally()
    with atomic(path) as temporary:
        with BigFile(temporary, BIGWIG, lengths, finest) as file:
            for contig, runs in tally.watch(batches(by_contig, BATCH)):
                _add(file, file.ids[contig], runs)
            if not tally.bases:  # readers refuse a bigWig without values
                raise SaeTracksError(f"nothing to write into {path.name}: no base has a value")
            file.finish(tally.summary(), file.data.blocks, ITEMS)
        if expected and (tally.bases != expected[0] or not math.isclose(tally.total, expected[1], rel_tol=1e-5)):
            raise SaeTracksError(f"{path.name} is not what was read: is the disk of {path.parent} failing?")
        check_bigwig(temporary, lengths, tally, path.name)


def _add(file: BigFile, contig: int, runs: NDArray) -> None:
    """Write runs in blocks. A block of adjacent runs of one width holds only their values."""
    items = np.empty(len(runs), ITEM)
    for name in ITEM.names or ():
        items[name] = runs[name]
    width = runs["end"] - runs["start"]
    breaks = (runs["start"][1:] != runs["end"][:-1]) | (width[1:] != width[:-1])
    for first in range(0, len(runs), ITEMS):
        part = items[first : first + ITEMS]
        start, end, span = int(part["start"][0]), int(part["end"][-1]), int(width[first])
        if breaks[first : first + len(part) - 1].any():
            content = BLOCK.pack(contig, start, end, 0, 0, BEDGRAPH, 0, len(part)) + part.tobytes()
        else:
            content = BLOCK.pack(contig, start, end, span, span, FIXED, 0, len(part)) + part["value"].tobytes()
        file.data.add(contig, start, end, content, len(part))
    file.zooms.add(contig, runs)


def check_bigwig(path: Path, lengths: Mapping[str, int], tally: Tally, name: str) -> None:
    """Read a bigWig back with pyBigWig and compare contigs, sums, sampled runs and the largest values of zoom levels.

    A file that differs from the tally of what went into it is an error, which calls it `name`.
    """
    import pyBigWig

    try:
        with pyBigWig.open(str(path)) as file:
            wrong = _difference(file, lengths, tally)
    except RuntimeError as error:
        wrong = str(error)
    if wrong:
        raise SaeTracksError(f"{name} is not what was written ({wrong}): is the disk full or failing?")


def _difference(file: Any, lengths: Mapping[str, int], tally: Tally) -> str:
    """Name what differs from the tally; empty if nothing does."""
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
