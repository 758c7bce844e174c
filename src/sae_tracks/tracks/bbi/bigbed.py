"""bigBed: intervals with an index, written here and read back with pyBigWig before the file takes its name."""

import heapq
import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sae_tracks.bbi import BIGBED
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic
from sae_tracks.tracks.bbi.bigfile import BigFile
from sae_tracks.tracks.bbi.bigwig import Tally
from sae_tracks.tracks.bbi.runs import make_runs

ITEMS = 256  # intervals per block
PLACE = struct.Struct("<III")  # contig, start, end
DEPTHS = 1 << 14  # stretches of equal depth that are added to the zoom levels at once
BED_FIELDS = 6
SAMPLES = 8  # intervals that are read back

Item = tuple[str, int, int, str]


def write_bigbed(path: Path, lengths: Mapping[str, int], items: Iterable[Item], sql: str, finest: int) -> int:
    """Write a bigBed and count its intervals. It takes its name only after it was read back and found right.

    Parameters
    ----------
    lengths : mapping of str to int
        Contig lengths, > 0, in the order wanted.
    items : iterable of (str, int, int, str)
        Contig, start, end (0-based half-open), and the other columns with tabs between. Contigs in order, starts
        ascending.
    sql : str
        autoSql that describes the columns; the first six are BED's.
    finest : int
        Bases per record of the first zoom level. Zoom levels hold the number of intervals on each base.

    No interval, or a file that reads back otherwise, is an error.
    """
    tally, kept = Tally(), []
    with atomic(path) as temporary:
        with BigFile(temporary, BIGBED, lengths, finest, sql) as file:
            for contig, group in groupby(items, key=itemgetter(0)):
                depth = tally.watch((contig, runs) for runs in _depths(_written(file, contig, group, kept)))
                for _, runs in depth:
                    file.zooms.add(file.ids[contig], runs)
            if not kept:
                raise SaeTracksError(f"nothing to write into {path.name}: there is no interval")
            file.finish(tally.summary(), file.data.items, ITEMS, (sql.count(";"), BED_FIELDS))
        if not _is_whole(temporary, lengths, kept):
            raise SaeTracksError(f"{path.name} is not what was written: is the disk full or failing?")
    return file.data.items


def _written(file: BigFile, contig: str, items: Iterable[Item], kept: list[Item]) -> Iterator[tuple[int, int]]:
    """Write the intervals of a contig, keep a few of them, and yield start and end of each."""
    number, items = file.ids[contig], iter(items)
    while block := list(islice(items, ITEMS)):
        content = b"".join(PLACE.pack(number, start, end) + rest.encode() + b"\0" for _, start, end, rest in block)
        file.data.add(number, block[0][1], max(end for _, _, end, _ in block), content, len(block))
        kept.append(block[len(kept) % len(block)])
        if len(kept) > SAMPLES:
            del kept[1::2]
        yield from ((start, end) for _, start, end, _ in block)


def _depths(spans: Iterable[tuple[int, int]]) -> Iterator[NDArray]:
    """(k,) `RUN`: the number of intervals on each base that they cover; the intervals ascend."""
    found: list[tuple[int, int, int]] = []
    ends: list[int] = []
    at = 0

    def until(position: float) -> None:
        nonlocal at
        while ends and at < position:
            stop = min(ends[0], position)
            if at < stop:
                found.append((at, int(stop), len(ends)))
                at = int(stop)
            while ends and ends[0] <= at:
                heapq.heappop(ends)

    for start, end in spans:
        until(start)
        at = start
        heapq.heappush(ends, end)
        if len(found) >= DEPTHS:
            yield _as_runs(found)
            found.clear()
    until(float("inf"))
    if found:
        yield _as_runs(found)


def _as_runs(found: list[tuple[int, int, int]]) -> NDArray:
    start, end, depth = np.array(found, np.int64).T
    return make_runs(start, end, depth.astype(np.float32))


def _is_whole(path: Path, lengths: Mapping[str, int], kept: list[Item]) -> bool:
    """Whether pyBigWig reads back the contigs and a few intervals."""
    import pyBigWig

    try:
        with pyBigWig.open(str(path)) as file:
            if not file.isBigBed() or list(file.chroms().items()) != list(lengths.items()):
                return False
            return all((s, e, rest) in (file.entries(contig, s, e) or ()) for contig, s, e, rest in kept)
    except RuntimeError:
        return False
