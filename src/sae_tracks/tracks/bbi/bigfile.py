"""The frame that bigWig and bigBed share: header, contigs, compressed blocks with their index, zoom levels.

Kent et al. 2010 (doi:10.1093/bioinformatics/btq351) describe the format, version 4. Everything is little-endian. The
header is written last, so an unfinished file begins with zeros and no reader opens it.
"""

import struct
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copyfileobj
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from sae_tracks.bbi import HEADER, SUMMARY, Header, Summary
from sae_tracks.tracks.bbi.runs import Bins

VERSION, CONTIGS_MAGIC, INDEX_MAGIC = 4, 0x78CA8C91, 0x2468ACE0
ZOOM_HEADER = struct.Struct("<IIQQ")
MOST_ZOOMS, ZOOM_STEP, FINEST_ZOOM = 10, 4, 64  # levels; factor between two; bases per record of the finest possible
COARSEST_ZOOM = 1 << 31  # bases per record: the header has 32 bits for it
FAN = 256  # entries per node of the trees
LEVEL = 1  # of zlib: floats shrink no further, and it takes a quarter of the time of level 6
IN_MEMORY = 1 << 23  # bytes of a zoom level; a longer one goes to a temporary file
RECORDS = 512  # records per block of a zoom level
BOUNDS = [(name, "<u4") for name in ("first_contig", "start", "last_contig", "end")]
LEAF = np.dtype([*BOUNDS, ("offset", "<u8"), ("size", "<u8")])
INNER = np.dtype([*BOUNDS, ("offset", "<u8")])
RECORD = np.dtype(
    [(name, "<u4") for name in ("contig", "start", "end", "valid")]
    + [(name, "<f4") for name in ("low", "high", "total", "squares")]
)


class Blocks:
    """Compressed blocks that follow one another in a file, and the stretch of the genome of each."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.items = self.blocks = 0
        self.largest = 0  # bytes of the largest block before compression
        self._places: list[tuple[int, int, int, int, int, int]] = []
        self._packed: list[NDArray] = []

    def add(self, contig: int, start: int, end: int, content: bytes, items: int) -> None:
        """Append a block of items that lie on ``start:end`` of one contig."""
        self.largest = max(self.largest, len(content))
        content = zlib.compress(content, LEVEL)
        self._places.append((contig, start, contig, end, self.file.tell(), len(content)))
        self.file.write(content)
        self.items += items
        self.blocks += 1
        if len(self._places) == RECORDS:
            self._packed.append(self._take())

    def places(self) -> NDArray:
        """(k,) `LEAF`: bounds, place in the file and size of each block."""
        self._packed = [np.concatenate((*self._packed, self._take()))]
        return self._packed[0]

    def _take(self) -> NDArray:
        packed, self._places = np.array(self._places, LEAF), []
        return packed


class Zooms:
    """The zoom levels of a file: summaries of ever larger bins, in temporary files until all data are written.

    The first level has `finest` bases per bin, and each further one four times as many, up to the `longest` contig.
    The folder of the temporary files is on the disk that has room for the output.
    """

    def __init__(self, finest: int, longest: int, folder: Path) -> None:
        self.sizes = [min(finest, COARSEST_ZOOM)]
        while self.sizes[-1] < min(longest, COARSEST_ZOOM // ZOOM_STEP) and len(self.sizes) < MOST_ZOOMS:
            self.sizes.append(self.sizes[-1] * ZOOM_STEP)
        self._bins = Bins(self.sizes)
        self._contig = 0
        self._held: list[list[NDArray]] = [[] for _ in self.sizes]
        files = [tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(folder)) for _ in self.sizes]  # noqa: SIM115 (see close)
        self.levels = [Blocks(file) for file in files]

    def add(self, contig: int, runs: NDArray) -> None:
        """Add runs of a contig; contigs come in order."""
        if contig != self._contig:
            self.end_contig()
            self._contig = contig
        self._hold(self._bins.add(runs))

    def end_contig(self) -> None:
        """Write the bins that are still open."""
        self._hold(self._bins.close(), everything=True)

    def close(self) -> None:
        """Remove the temporary files."""
        for level in self.levels:
            level.file.close()

    def _hold(self, found: Sequence[NDArray[np.float64]], *, everything: bool = False) -> None:
        for held, blocks, bins in zip(self._held, self.levels, found):
            if len(bins):
                held.append(_records(self._contig, bins))
            if held and (everything or sum(map(len, held)) >= RECORDS):
                records = np.concatenate(held)
                whole = len(records) if everything else len(records) // RECORDS * RECORDS
                for first in range(0, whole, RECORDS):
                    part = records[first : min(first + RECORDS, whole)]
                    place = int(part["start"][0]), int(part["end"][-1])
                    blocks.add(self._contig, *place, part.tobytes(), len(part))
                held[:] = [records[whole:]] if whole < len(records) else []


def _records(contig: int, bins: NDArray[np.float64]) -> NDArray:
    records = np.empty(len(bins), RECORD)
    records["contig"] = contig
    for name, column in zip((RECORD.names or ())[1:], bins.T):
        records[name] = column
    return records


class BigFile:
    """A bigWig or bigBed that is being written; a context manager that closes it.

    `magic` is `BIGWIG` or `BIGBED`. Data come in the order of the contigs in `lengths`. The finest zoom level has
    `finest_zoom` bases per record. `sql` is the autoSql of a bigBed.
    """

    def __init__(self, path: Path, magic: int, lengths: Mapping[str, int], finest_zoom: int, sql: str = "") -> None:
        self._magic, self._sql = magic, sql.encode("ascii") + b"\0" if sql else b""
        self._file = path.open("wb")
        self._summary_at = HEADER.size + MOST_ZOOMS * ZOOM_HEADER.size + len(self._sql)
        self._contigs_at = self._summary_at + SUMMARY.size
        self._file.write(bytes(self._contigs_at) + _contig_tree(lengths, self._contigs_at))
        self._data_at = self._file.tell()
        self._file.write(bytes(8))
        self.ids = {name: i for i, name in enumerate(lengths)}
        self.data = Blocks(self._file)
        self.zooms = Zooms(finest_zoom, max(lengths.values()), path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.zooms.close()
        self._file.close()

    def finish(self, summary: Summary, count: int, items_per_block: int, fields: tuple[int, int] = (0, 0)) -> None:
        """Write the indices, the zoom levels and the header.

        `count` is the number in front of the data: blocks of a bigWig, items of a bigBed. `fields` of a bigBed are the
        number of columns, and how many of them are BED's.
        """
        self.zooms.end_contig()
        index_at = self._file.tell()
        self._file.write(_index(self.data.places(), index_at, items_per_block))
        headers = [self._zoom(size, level) for size, level in zip(self.zooms.sizes, self.zooms.levels) if level.items]
        self._file.write(struct.pack("<I", self._magic))
        self._at(self._data_at, struct.pack("<Q", count))
        packed = SUMMARY.pack(summary.bases, summary.minimum, summary.maximum, summary.total, summary.squares)
        self._at(HEADER.size, b"".join(headers).ljust(MOST_ZOOMS * ZOOM_HEADER.size, b"\0") + self._sql + packed)
        sql_at = self._summary_at - len(self._sql) if self._sql else 0
        places = self._contigs_at, self._data_at, index_at
        largest = max(blocks.largest for blocks in (self.data, *self.zooms.levels))
        self._file.flush()
        header = Header(self._magic, VERSION, len(headers), *places, *fields, sql_at, self._summary_at, largest, 0)
        self._at(0, HEADER.pack(*header))

    def _zoom(self, size: int, level: Blocks) -> bytes:
        """Append a zoom level; returns its header."""
        at = self._file.tell()
        self._file.write(struct.pack("<I", level.items))
        places = level.places()
        places["offset"] += self._file.tell()
        level.file.seek(0)
        copyfileobj(level.file, self._file)
        index_at = self._file.tell()
        self._file.write(_index(places, index_at, RECORDS))
        return ZOOM_HEADER.pack(size, 0, at, index_at)

    def _at(self, place: int, content: bytes) -> None:
        self._file.seek(place)
        self._file.write(content)


def _node(leaf: bool, entries: NDArray) -> bytes:
    return struct.pack("<BBH", leaf, 0, len(entries)) + entries.tobytes()


def _tree(leaves: NDArray, parents, at: int) -> bytes:
    """The nodes of a tree, `FAN` entries each, from the root to the leaves; the root lies at a place in the file."""
    levels = [leaves]
    while len(levels[0]) > FAN:
        levels.insert(0, parents(levels[0]))
    nodes = []
    for depth, entries in enumerate(levels):
        leaf = depth == len(levels) - 1
        at += 4 * -(-len(entries) // FAN) + entries.nbytes
        if not leaf:  # an entry is a node of the next level, and all of these but the last are full
            entries["offset"] = at + np.arange(len(entries)) * (4 + FAN * levels[depth + 1].itemsize)
        nodes += [_node(leaf, entries[first : first + FAN]) for first in range(0, len(entries), FAN)]
    return b"".join(nodes)


def _contig_tree(lengths: Mapping[str, int], at: int) -> bytes:
    """The tree in which readers search contigs by name; a contig's number is its place in the order given."""
    width = max(map(len, map(str.encode, lengths)))
    leaf = np.dtype([("name", f"S{width}"), ("id", "<u4"), ("size", "<u4")])
    inner = np.dtype([("name", f"S{width}"), ("offset", "<u8")])
    rows = [(name.encode(), i, length) for i, (name, length) in enumerate(lengths.items())]
    leaves = np.array(sorted(rows), leaf)

    def parents(entries: NDArray) -> NDArray:
        found = np.zeros(-(-len(entries) // FAN), inner)
        found["name"] = entries["name"][::FAN]
        return found

    head = struct.pack("<IIIIQQ", CONTIGS_MAGIC, min(FAN, len(leaves)), width, 8, len(leaves), 0)
    return head + _tree(leaves, parents, at + len(head))


def _index(places: NDArray, at: int, items_per_block: int) -> bytes:
    """The R tree of the blocks, which ascend by contig and start."""
    whole = _enclosing(places, max(len(places), 1))[0]
    bounds = [int(whole[name]) for name, _ in BOUNDS]
    end = int(places["offset"][-1] + places["size"][-1])
    head = struct.pack("<IIQIIIIQII", INDEX_MAGIC, FAN, len(places), *bounds, end, items_per_block, 0)
    return head + _tree(places, lambda entries: _enclosing(entries, FAN), at + len(head))


def _enclosing(entries: NDArray, group: int) -> NDArray:
    """(k,) `INNER`: first start and last end of every `group` entries."""
    found = np.zeros(-(-len(entries) // group), INNER)
    first = np.arange(0, len(entries), group)
    found["first_contig"], found["start"] = entries["first_contig"][first], entries["start"][first]
    ends = np.maximum.reduceat(entries["last_contig"].astype(np.uint64) << 32 | entries["end"], first)
    found["last_contig"], found["end"] = ends >> 32, ends & 0xFFFFFFFF
    return found
