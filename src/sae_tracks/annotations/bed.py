"""BED and its relatives as columns of text, and the line of the file that each row stood on."""

import gzip
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from sae_tracks.errors import SaeTracksError

_NOT_A_ROW = re.compile(rb"\n(?:#[^\n]*|(?:track|browser)(?:[ \t][^\n]*)?|[ \t]*)(?=\n|\Z)")


@dataclass(frozen=True, slots=True)
class BedText:
    """The rows of a BED file, not yet interpreted.

    Attributes
    ----------
    path : Path
        Where it was read.
    lines : bytes
        The whole text, each line preceded (not followed) by a newline.
    columns : list of pyarrow.ChunkedArray
        Text columns, all of one length: the rows without comments, ``track`` and ``browser`` lines and blank lines.
    """

    path: Path
    lines: bytes
    columns: list[pa.ChunkedArray]

    def first(self) -> list[str]:
        """The fields of the first row."""
        return [column[0].as_py() for column in self.columns]

    def refuse(self, row: int, reason: str) -> SaeTracksError:
        """The error for a row, with its line number counted from 1."""
        return _bad_line(self.path, _row_lines(self.lines)[row][0], reason)

    def refuse_any(self, bad: NDArray[np.bool_] | pa.ChunkedArray, reason: Callable[[int], str]) -> None:
        """Raise for the first row that is bad, if one is; `reason` is given its index."""
        bad = np.asarray(bad, bool)
        if bad.any():
            row = int(bad.argmax())
            raise self.refuse(row, reason(row))

    def whole_numbers(self, column: int, name: str) -> NDArray[np.int64]:
        """(n,) int64: a column of integers, 0 or more; anything else is an error with its line number."""
        text = self.columns[column]
        wrong = pc.invert(pc.match_substring_regex(text, r"^[0-9]{1,18}$"))
        self.refuse_any(wrong, lambda row: f"{name} {text[row].as_py()!r} is not a whole number, 0 or more")
        return pc.cast(text, pa.int64()).to_numpy()


def read_text(path: Path) -> BedText:
    """Read a tab-separated file of three columns or more, plain, gzip or bgzip; LF or CRLF ends a line.

    Raises
    ------
    SaeTracksError
        The file is missing, truncated, not text, without rows, or has a row with another number of columns.
    """
    lines = b"\n" + _decompressed(Path(path)).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    rows = _NOT_A_ROW.sub(b"", lines)[1:]
    if not rows:
        raise SaeTracksError(f"{path} has no row: it is empty or holds only comments")
    width = rows.split(b"\n", 1)[0].count(b"\t") + 1
    if width < 3:
        number = _row_lines(lines)[0][0]
        raise _bad_line(path, number, f"{width} column{'s' * (width > 1)}; BED has 3 or more, separated by tabs")
    try:
        table = csv.read_csv(
            pa.BufferReader(rows),
            read_options=csv.ReadOptions(column_names=[str(i) for i in range(width)]),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(column_types={str(i): pa.string() for i in range(width)}),
        )
    except pa.ArrowInvalid as error:
        raise _ragged(Path(path), lines, width) from error
    return BedText(Path(path), lines, table.columns)


def _decompressed(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except FileNotFoundError as error:
        raise SaeTracksError(f"no file {path}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise SaeTracksError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _row_lines(lines: bytes) -> list[tuple[int, bytes]]:
    """Line number and text of every row."""
    numbered = enumerate(lines.split(b"\n")[1:], 1)
    return [(number, line) for number, line in numbered if not _NOT_A_ROW.fullmatch(b"\n" + line)]


def _ragged(path: Path, lines: bytes, width: int) -> SaeTracksError:
    """The error for the first row that is not text of `width` columns."""
    for number, line in _row_lines(lines):
        columns = line.count(b"\t") + 1
        if columns != width:
            return _bad_line(path, number, f"{columns} column{'s' * (columns > 1)}; the first row has {width}")
    return SaeTracksError(f"{path} is not a text file in UTF-8")


def _bad_line(path: Path, number: int, reason: str) -> SaeTracksError:
    return SaeTracksError(f"{Path(path).name}, line {number:,}: {reason}")
