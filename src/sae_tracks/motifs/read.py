"""Files of motif matrices: JASPAR's format, plain PFM, MEME's."""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.motifs.matrix import Motif

MEME_SITES = 20  # nsites where a MEME file does not say
_GIMME = re.compile(r"(?P<id>\S+?)_(?P=id)\.(?P<tf>\S+)")
_LABEL = re.compile(r"([ACGT])\s*(?:\[\s*)?(.*?)\s*\]?")
_NSITES = re.compile(r"nsites\s*=\s*(\S+)")

Line = tuple[int, str]  # number counted from 1, text


def read_motifs(path: str | Path) -> list[Motif]:
    """Read count matrices, plain or gzip, in the order of the file.

    Known are JASPAR's format (``>MA0139.1 CTCF`` and four rows ``A [ 87 167 ... ]``), plain PFM (the same header and
    four rows of numbers, or one row of four a position, as gimmemotifs has it) and MEME's minimal format, whose
    probabilities are multiplied by ``nsites``. A file whose matrices are all 4 x 4 is read as rows A, C, G, T.

    Raises
    ------
    SaeTracksError
        With file and line: no header, a malformed or ragged row, a negative number, a position without counts, a matrix
        ID that comes twice, no motif at all.
    """
    path = Path(path)
    lines = [(number, line.strip()) for number, line in enumerate(_text(path).splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    meme = bool(lines) and lines[0][1].startswith("MEME version")
    motifs: dict[str, Motif] = {}
    for number, motif in _meme(path, lines) if meme else _pfm(path, lines):
        if motif.matrix_id in motifs:
            raise _bad(path, number, f"matrix {motif.matrix_id} comes twice")
        motifs[motif.matrix_id] = motif
    if not motifs:
        raise SaeTracksError(f"{path} holds no motif: expected JASPAR, PFM or MEME format")
    return list(motifs.values())


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    except FileNotFoundError as error:
        raise SaeTracksError(f"no file {path}") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SaeTracksError(f"cannot read {path} as text: {error}") from error


def _pfm(path: Path, lines: list[Line]) -> Iterator[tuple[int, Motif]]:
    """Line number of the header and motif, of files with ``>`` headers."""
    records: list[tuple[Line, list[Line]]] = []
    for number, line in lines:
        if line.startswith(">"):
            records.append(((number, line[1:].strip()), []))
        elif records:
            records[-1][1].append((number, line))
        else:
            raise _bad(path, number, f"{line[:20]!r} is no header: a motif begins with '>' and its matrix ID")
    parsed = [(header, *_rows(path, header, rows)) for header, rows in records]
    by_position = any(len(rows) != 4 for _, rows, _ in parsed)
    for header, rows, first in parsed:
        counts = np.array(rows) if by_position else np.array(rows).T
        yield header[0], _checked(path, first, *_name(path, header), counts, by_position)


def _rows(path: Path, header: Line, lines: list[Line]) -> tuple[list[list[float]], int]:
    """The numbers of a record, all rows of one length, and the line of the first."""
    if not lines:
        raise _bad(path, header[0], "no row of numbers follows the header")
    labels = [_LABEL.fullmatch(line) for _, line in lines]
    if any(labels):
        if [label and label[1] for label in labels] != list("ACGT"):
            raise _bad(path, lines[0][0], "expected the four rows A, C, G and T in this order")
        lines = [(number, label[2]) for (number, _), label in zip(lines, labels) if label]
    rows = [_numbers(path, line) for line in lines]
    for (number, _), row in zip(lines, rows):
        if len(row) != len(rows[0]):
            raise _bad(path, number, f"{len(row)} numbers; the first row of the motif has {len(rows[0])}")
    return rows, lines[0][0]


def _numbers(path: Path, line: Line) -> list[float]:
    try:
        return [float(word) for word in line[1].split()]
    except ValueError as error:
        raise _bad(path, line[0], f"{line[1][:40]!r} is not a row of numbers") from error


def _name(path: Path, header: Line) -> tuple[str, str]:
    """Matrix ID and TF name of a header without its ``>``."""
    gimme = _GIMME.fullmatch(header[1])
    if gimme:
        return gimme["id"], gimme["tf"]
    words = header[1].split(maxsplit=1)
    if not words:
        raise _bad(path, header[0], "the header has no matrix ID")
    return words[0], words[1] if len(words) > 1 else ""


def _meme(path: Path, lines: list[Line]) -> Iterator[tuple[int, Motif]]:
    """The same of a MEME file."""
    name, at = ("", ""), 0
    for i, (number, line) in enumerate(lines):
        if line.startswith("ALPHABET=") and line.split("=")[1].strip() != "ACGT":
            raise _bad(path, number, f"{line!r}: only the alphabet ACGT is known")
        if line.startswith("MOTIF"):
            name, at = _name(path, (number, line.removeprefix("MOTIF").strip())), number
        if line.startswith("letter-probability matrix"):
            if not at:
                raise _bad(path, number, "a matrix without a MOTIF line before it")
            sites = _sites(path, (number, line))
            rows = []
            for row in lines[i + 1 :]:
                if not re.match(r"[\d.+-]", row[1]) or row[1].startswith("---"):
                    break
                rows.append(row)
            numbers, first = _rows(path, (number, line), rows)
            yield at, _checked(path, first, *name, sites * np.array(numbers), True)
            at = 0


def _sites(path: Path, line: Line) -> float:
    """nsites of a matrix line."""
    said = _NSITES.search(line[1])
    sites = _numbers(path, (line[0], said[1]))[0] if said else MEME_SITES
    if not sites > 0:
        raise _bad(path, line[0], f"nsites= {sites:g}: expected a number above 0")
    return sites


def _checked(path: Path, first: int, matrix_id: str, tf: str, counts: NDArray[np.float64], by_position: bool) -> Motif:
    """The motif, once its numbers make sense; `first` is its first line, and a line a position or a base."""
    if counts.shape[1] != 4 or not counts.size:
        raise _bad(path, first, f"{matrix_id} has {counts.shape[1]} numbers a position; expected A, C, G and T")
    wrong = ~(np.isfinite(counts).all(axis=1) & (counts >= 0).all(axis=1) & (counts.sum(axis=1) > 0))
    if wrong.any():
        position = int(wrong.argmax())
        reason = f"position {position + 1} of {matrix_id} has a negative count, or none"
        raise _bad(path, first + position if by_position else first, reason)
    return Motif(matrix_id, tf, counts)


def _bad(path: Path, number: int, reason: str) -> SaeTracksError:
    return SaeTracksError(f"{path.name}, line {number:,}: {reason}")
