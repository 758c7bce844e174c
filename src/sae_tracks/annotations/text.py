"""Tab-separated annotation files as columns of text; each row keeps its line number for messages."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray
from pyarrow import csv

from sae_tracks import bounded
from sae_tracks.errors import SaeTracksError
from sae_tracks.names import counted

pc: Any = pyarrow.compute  # most of its functions are made as it is imported, so no type checker knows them
_NOT_A_ROW = re.compile(  # a contig may be called track or browser
    rb"\n(?:#[^\n]*|(?:track|browser)(?:[ \t](?![0-9]+\t[0-9]+(?:\t|\n|\Z))[^\n]*)?|[ \t]*)(?=\n|\Z)"
)
_GFF_SEQUENCE = re.compile(rb"\n(?:##FASTA[ \t]*(?=\n|\Z)|>(?![^\n]*(?:\t[^\n\t]*){8}))")
_GFF_ROW = re.compile(rb"\n(?![>#;])[^\t\n]+(?:\t[^\t\n]*){8}")
COLUMN_NAMES = {  # what the columns of an interval are called, in lower case
    "contig": ("chrom", "chr", "chromosome", "genoname"),
    "start": ("chromstart", "start", "start (1-based)", "genostart"),
    "end": ("chromend", "end", "genoend"),
}


@dataclass(frozen=True)
class Text:
    """The lines of a file, or those that its index gave for some regions.

    Attributes
    ----------
    lines : bytes
        The text, each line preceded (not followed) by a newline.
    place : callable, optional
        Where in the file a line stands, for messages, if `lines` are not all of the file.
    example : bytes
        The first row of the file, if `lines` are not all of it: the format depends on the file, not on the regions.
    """

    path: Path
    lines: bytes
    place: Callable[[bytes], str] | None = None
    example: bytes = b""

    @property
    def plain(self) -> Path:
        """The file's name as it was before compression."""
        return Path(self.path.name.removesuffix(".gz").removesuffix(".bgz"))

    @cached_property
    def rows(self) -> bytes:
        """The text without comments, ``track`` and ``browser`` lines, blank lines, names of columns, a GFF3's FASTA."""
        rows = _NOT_A_ROW.sub(b"", self.lines[: self._end()])[1:]
        head = _first_line(rows)
        return rows[len(head) + 1 :] if _is_header(_words(head)) else rows

    @cached_property
    def is_gff(self) -> bool:
        """Whether this is GTF or GFF3: by the file's name, or by strand (column 7) and phase (column 8) of a row."""
        if self.plain.suffix in (".gtf", ".gff", ".gff3"):
            return True
        lines = (match[0][1:] for match in re.finditer(rb"\n[^\n]*", self.lines))
        first = (self.example or next((line for line in lines if not is_no_row(line)), b"")).split(b"\t")
        return len(first) == 9 and first[6] in (b"+", b"-", b".", b"?") and first[7] in (b".", b"0", b"1", b"2")

    def _end(self) -> int:
        """The end of the rows: a GFF3's sequence begins at the directive ``##FASTA`` or at a line ``>``."""
        if not self.is_gff or not (sequence := _GFF_SEQUENCE.search(self.lines)):
            return len(self.lines)
        if row := _GFF_ROW.search(self.lines, sequence.end()):
            begins, late = (self.lines.count(b"\n", 0, match.start() + 1) for match in (sequence, row))
            raise SaeTracksError(
                f"{self.path.name}, line {late:,}: a row of GFF3 after the sequence that begins in line {begins:,}: "
                "put all rows before the sequence"
            )
        return sequence.start()

    @cached_property
    def names(self) -> list[str]:
        """Names of the columns in lower case, from the last header line before the rows; empty if there is none."""
        before = self.lines[: self.lines.find(b"\n" + _first_line(self.rows))] if self.rows else self.lines
        headers = [words for line in before.split(b"\n") if _is_header(words := _words(line))]
        return headers[-1] if headers else []

    def first(self) -> list[str]:
        """The fields of the file's first row."""
        return (self.example or _first_line(self.rows)).decode(errors="replace").split("\t")

    def refuse(self, row: int, reason: str) -> SaeTracksError:
        """The error for a row, counted from 0; it names the row's place in the file."""
        number, line = self._numbered()[row]
        place = self.place(line) if self.place else f"line {number:,}"
        return SaeTracksError(f"{self.path.name}, {place}: {reason}")

    def columns(self) -> "Rows":
        """Return the rows as columns; no row, fewer than three columns or ragged rows are errors."""
        if not self.rows:
            raise SaeTracksError(f"{self.path} has no row: it is empty or holds only comments")
        width = len(self.first())
        if width < 3:
            raise self.refuse(0, f"{counted(width, 'column')}; BED has 3 or more, separated by tabs")
        names = [str(i) for i in range(width)]
        try:
            table = csv.read_csv(
                pa.BufferReader(self.rows),
                read_options=csv.ReadOptions(column_names=names),
                parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
                convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
            )
        except pa.ArrowInvalid as error:
            raise self._ragged(width) from error
        return Rows(self, table.columns)

    def _numbered(self) -> list[tuple[int, bytes]]:
        """Line number and text of every row."""
        lines = [(number, line) for number, line in enumerate(self.lines.split(b"\n")[1:], 1) if not is_no_row(line)]
        return lines[1:] if lines and _is_header(_words(lines[0][1])) else lines

    def _ragged(self, width: int) -> SaeTracksError:
        """The error for the first row that is not text of `width` columns."""
        for row, (_, line) in enumerate(self._numbered()):
            columns = line.count(b"\t") + 1
            if columns != width:
                return self.refuse(row, f"{counted(columns, 'column')}; the first row has {width}")
        return SaeTracksError(f"{self.path} is not a text file in UTF-8")


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a file as columns of text, not yet interpreted."""

    text: Text
    columns: list[pa.ChunkedArray]
    number: NDArray[np.int64] | None = None  # each row's index among all rows of the text, if these are not all

    def __len__(self) -> int:
        return len(self.columns[0])

    def refuse_any(self, bad: NDArray[np.bool_] | pa.ChunkedArray, reason: Callable[[int], str]) -> None:
        """Raise for the first row that is bad, if one is; `reason` is given its index."""
        bad = np.asarray(bad, bool)
        if bad.any():
            row = int(bad.argmax())
            raise self.text.refuse(row if self.number is None else int(self.number[row]), reason(row))

    def only(self, keep: NDArray[np.bool_]) -> "Rows":
        """Some of the rows; errors still name their lines in the file."""
        mask = pa.array(keep)
        return Rows(self.text, [column.filter(mask) for column in self.columns], np.flatnonzero(keep))

    def whole_numbers(self, column: int, name: str) -> NDArray[np.int64]:
        """(n,) int64: a column of integers, 0 or more; anything else is an error with its line number."""
        text = self.columns[column]
        wrong = pc.invert(pc.match_substring_regex(text, r"^[0-9]{1,18}$"))
        self.refuse_any(wrong, lambda row: f"{name} {text[row].as_py()!r} is not a whole number, 0 or more")
        return pc.cast(text, pa.int64()).to_numpy()

    def numbers(self, column: int) -> NDArray[np.float64]:
        """(n,) float64: a column of finite numbers, NaN for ``.``"""
        text = pd.Series(self.columns[column].to_numpy(zero_copy_only=False), dtype=object)
        numbers = cast(pd.Series, pd.to_numeric(text, errors="coerce")).to_numpy(np.float64)
        wrong = ~np.isfinite(numbers) & (text != ".").to_numpy()
        self.refuse_any(wrong, lambda row: f"score {text[row]!r} (column {column + 1}) is not a number")
        return numbers

    def categories(self, column: int) -> pd.Categorical:
        """A column as a categorical, whose categories are the values that occur, in that order."""
        encoded = pc.dictionary_encode(self.columns[column]).combine_chunks()
        names = np.array(encoded.dictionary.to_pylist(), object)
        return pd.Categorical.from_codes(encoded.indices.to_numpy(), names)


def read_text(path: Path) -> Text:
    """Read a whole file, plain, gzip or bgzip, with LF or CRLF. A file that is cut short is an error."""
    data = bounded.read_text(path)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return Text(path, b"\n" + data)


def is_no_row(line: bytes) -> bool:
    """Whether a line is a comment, a ``track`` or ``browser`` line, or blank."""
    return bool(_NOT_A_ROW.fullmatch(b"\n" + line))


def is_header(line: bytes) -> bool:
    """Whether a line names the columns contig, start and end."""
    return _is_header(_words(line))


def _first_line(text: bytes) -> bytes:
    end = text.find(b"\n")
    return text if end < 0 else text[:end]


def _words(line: bytes) -> list[str]:
    """Column names as UCSC writes them (``#bin``, ``hg19.rmsk.genoName``), bare and in lower case."""
    return [word.rpartition(".")[2] for word in line.decode(errors="replace").lstrip("#").lower().split("\t")]


def _is_header(words: list[str]) -> bool:
    return all(not set(names).isdisjoint(words) for names in COLUMN_NAMES.values())
