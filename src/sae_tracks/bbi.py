"""Reading bigWig and bigBed: the header, the summary, the contigs, and a safe way to open a file in pyBigWig.

pyBigWig follows the places in a file without looking, and ends the process if they are wrong. So all of them are held
against the size of the file before it is opened.
"""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sae_tracks.bounded import opened
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import check_end

BIGWIG, BIGBED = 0x888FFC26, 0x8789F2EB
KINDS = {BIGWIG: "bigWig", BIGBED: "bigBed"}
HEADER = struct.Struct("<IHHQQQHHQQIQ")
SUMMARY = struct.Struct("<Qdddd")
ZOOM = struct.Struct("<IIQQ")
CONTIGS, CONTIGS_MAGIC = struct.Struct("<IIIIQQ"), 0x78CA8C91
INDEX, INDEX_MAGIC = struct.Struct("<IIQIIIIQII"), 0x2468ACE0
NODE = struct.Struct("<BBH")
LEAF, INNER_BYTES = np.dtype([("bounds", "<u4", (4,)), ("offset", "<u8"), ("size", "<u8")]), 24
BLOCK, ITEM_BYTES = struct.Struct("<IIIIIBBH"), {1: 12, 2: 8, 3: 4}  # of a bigWig that is not compressed
MOST_ZOOMS, LONGEST_NAME, MOST_BLOCK = 64, 1024, 1 << 28


class Header(NamedTuple):
    """The first 64 bytes of a bigWig or bigBed, field by field; the names in ``_at`` are places in the file."""

    magic: int
    version: int
    zooms: int
    contigs_at: int
    data_at: int
    index_at: int
    columns: int
    bed_columns: int
    sql_at: int
    summary_at: int
    largest_block: int
    extension_at: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary in a bigWig's header: `total` and `squares` are the sums of the values and of their squares."""

    bases: int  # that have a value
    minimum: float
    maximum: float
    total: float
    squares: float


def read_header(path: Path, kind: int) -> Header:
    """Read the header of a whole file; one that is of another kind, big-endian or cut short is an error."""
    with opened(path) as file:
        head = file.read(HEADER.size)
    if len(head) < HEADER.size or not head.startswith(struct.pack("<I", kind)):
        raise SaeTracksError(f"{path} is not a {KINDS[kind]} (little-endian), or it is cut short")
    check_end(path)
    return Header(*HEADER.unpack(head))


def read_summary(path: Path) -> Summary:
    """Read the summary of a bigWig in full precision; pyBigWig's ``header()`` cuts it to integers."""
    at = read_header(path, BIGWIG).summary_at
    try:
        with path.open("rb") as file:
            file.seek(at)
            return Summary(*SUMMARY.unpack(file.read(SUMMARY.size)))
    except (OSError, ValueError, OverflowError, struct.error) as error:
        raise SaeTracksError(f"{path} is not a bigWig, or it is cut short") from error


def check_structure(path: Path, kind: int = BIGWIG) -> None:
    """Refuse a file in which a header, a tree or a block lies outside of the file, or has another form.

    A block that is compressed has a checksum of its own, which is compared when it is read.
    """
    state = path.stat() if path.exists() else None
    _check_once(path, kind, state and (state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=4096)
def _check_once(path: Path, kind: int, _state: object) -> None:
    header = read_header(path, kind)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check_header(data, header)
            _check_contigs(data, header.contigs_at)
            if header.index_at:  # pyBigWig writes none if there are no values
                _check_index(data, header.index_at, header)
            for level in range(header.zooms):
                _, _, _, index_at = ZOOM.unpack_from(data, HEADER.size + level * ZOOM.size)
                if index_at:
                    _check_index(data, index_at, None)
    except (struct.error, ValueError, OverflowError, OSError) as error:
        why = "it ends too early" if isinstance(error, struct.error) else error
        raise SaeTracksError(f"{path} is damaged: it is not the {KINDS[kind]} that was written ({why})") from error


def _check_header(data: mmap.mmap, header: Header) -> None:
    _expect(1 <= header.version <= 8 and header.zooms <= MOST_ZOOMS, "its version or number of zoom levels is wrong")
    _expect(header.largest_block <= MOST_BLOCK, "a block is too large")
    _expect(header.data_at <= len(data), "its data lie outside of it")
    _expect(not header.summary_at or header.summary_at + SUMMARY.size <= len(data), "its summary lies outside of it")
    if header.sql_at:
        _expect(header.sql_at < (header.summary_at or len(data)), "the description of its columns is misplaced")
        _expect(data.find(b"\0", header.sql_at) >= 0, "the description of its columns has no end")


def _check_contigs(data: mmap.mmap, at: int) -> None:
    """Walk the tree of contigs: each has a number of its own, below their count."""
    magic, fan, key, value, count, _ = CONTIGS.unpack_from(data, at)
    _expect(magic == CONTIGS_MAGIC and fan > 0 and 0 < key <= LONGEST_NAME and value == 8, "its contigs cannot be read")
    _expect(0 < count <= len(data) // (key + 8), "it has more contigs than room for them")
    numbers: set[int] = set()
    for place, leaf, entries in _nodes(data, at + CONTIGS.size, (key + 8, key + 8), key):
        if leaf:
            found = [struct.unpack_from("<II", data, place + i * (key + 8) + key) for i in range(entries)]
            _expect(all(number < count for number, _ in found), "a contig has a wrong number")
            numbers.update(number for number, _ in found)
    _expect(len(numbers) == count, "contigs are missing")


def _check_index(data: mmap.mmap, at: int, header: Header | None) -> None:
    """Walk the tree of blocks; with a header, look into blocks that are not compressed."""
    magic, fan, *_ = INDEX.unpack_from(data, at)
    _expect(magic == INDEX_MAGIC and fan > 0, "its index cannot be read")
    for place, leaf, entries in _nodes(data, at + INDEX.size, (LEAF.itemsize, INNER_BYTES), 16):
        if not leaf:
            continue
        blocks = np.frombuffer(data[place : place + entries * LEAF.itemsize], LEAF)
        offset, size = blocks["offset"], blocks["size"]
        inside = (offset >= HEADER.size) & (size > 0) & (offset < len(data)) & (size <= len(data) - offset)
        _expect(inside.all(), "a block lies outside of it")
        if header and not header.largest_block:
            for start, length in zip(offset.tolist(), size.tolist()):
                _check_block(data, start, length, header.magic)


def _nodes(data: mmap.mmap, root: int, sizes: tuple[int, int], before: int) -> Iterator[tuple[int, bool, int]]:
    """Yield first entry, whether it is a leaf, and number of entries of each node of a tree.

    `sizes` are the bytes of an entry of a leaf and of another node, in which the place of the child comes after
    `before` bytes.
    """
    waiting, seen = [root], {root}
    while waiting:
        at = waiting.pop()
        leaf, _, entries = NODE.unpack_from(data, at)
        first, size = at + NODE.size, sizes[0] if leaf else sizes[1]
        _expect(leaf <= 1 and first + entries * size <= len(data), "a tree reaches outside of it")
        yield first, bool(leaf), entries
        if not leaf:
            children = [struct.unpack_from("<Q", data, first + i * size + before)[0] for i in range(entries)]
            _expect(len(set(children)) == entries and seen.isdisjoint(children), "a tree goes in a circle")
            seen.update(children)
            waiting += children


def _check_block(data: mmap.mmap, offset: int, size: int, magic: int) -> None:
    if magic == BIGBED:
        _expect(size > 12 and data[offset + size - 1] == 0, "a block has no end")
        return
    *_, kind, _, items = BLOCK.unpack_from(data, offset)
    _expect(kind in ITEM_BYTES and BLOCK.size + items * ITEM_BYTES[kind] <= size, "a block has more values than room")


def _expect(sound: object, reason: str) -> None:
    if not sound:
        raise ValueError(reason)


@contextmanager
def open_bbi(path: Path, kind: int = BIGWIG) -> Iterator[Any]:
    """Open a file in pyBigWig; a damaged file is an error that names it.

    `check_structure` comes first.
    """
    import pyBigWig

    check_structure(path, kind)
    try:
        with pyBigWig.open(str(path)) as file:
            yield file
    except (RuntimeError, OverflowError) as error:
        raise SaeTracksError(f"{path} cannot be read as {KINDS[kind]}: it is damaged") from error


def contig_lengths(path: Path, kind: int = BIGWIG) -> dict[str, int]:
    """Contigs of a bigWig or bigBed and their lengths in bases, in the order of its header."""
    with open_bbi(path, kind) as file:
        return file.chroms()
