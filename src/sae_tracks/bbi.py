"""Reading bigWig and bigBed: the header, the summary, the contigs, and a safe way to open a file in pyBigWig."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import check_end

BIGWIG, BIGBED = 0x888FFC26, 0x8789F2EB
KINDS = {BIGWIG: "bigWig", BIGBED: "bigBed"}
HEADER = struct.Struct("<IHHQQQHHQQIQ")
SUMMARY = struct.Struct("<Qdddd")


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
    try:
        with path.open("rb") as file:
            head = file.read(HEADER.size)
    except OSError as error:
        raise SaeTracksError(f"cannot read {path}: {error.strerror}") from error
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
    except (OSError, struct.error) as error:
        raise SaeTracksError(f"{path} is not a bigWig, or it is cut short") from error


@contextmanager
def opened(path: Path, kind: int = BIGWIG) -> Iterator[Any]:
    """Open a file in pyBigWig; a damaged file is an error that names it.

    The header is read first because pyBigWig crashes on some files of other kinds.
    """
    import pyBigWig

    read_summary(path) if kind == BIGWIG else read_header(path, kind)
    try:
        with pyBigWig.open(str(path)) as file:
            yield file
    except RuntimeError as error:
        raise SaeTracksError(f"{path} cannot be read as {KINDS[kind]}: it is damaged") from error


def contig_lengths(path: Path, kind: int = BIGWIG) -> dict[str, int]:
    """Contigs of a bigWig or bigBed and their lengths in bases, in the order of its header."""
    with opened(path, kind) as file:
        return file.chroms()
