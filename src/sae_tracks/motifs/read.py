"""Motif matrices from files (JASPAR, PFM, MEME, HOMER) and from the JASPAR releases that pyjaspar ships."""

import gzip
import logging
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import sha256
from sae_tracks.motifs.matrix import Motif

MEME_SITES = 20  # if a MEME file has no nsites
HOMER_SITES = 1000  # of each HOMER matrix, because its file does not say of how many sites it was made
ROUNDING = 0.05  # by which the probabilities of a position may miss a sum of 1
RELEASE = "JASPAR2024"
log = logging.getLogger(__name__)
_GIMME = re.compile(r"(?P<id>\S+?)_(?P=id)\.(?P<tf>\S+)")
_LABEL = re.compile(r"([ACGT])\s*(?:\[\s*)?(.*?)\s*\]?")
_FIELD = re.compile(r"(\w+)\s*=\s*(\S+)")  # of a MEME matrix's header
_NUMBERS = re.compile(r"[-+]?(?:\.?[0-9]|nan\b|inf\b)", re.IGNORECASE)  # how a row of numbers begins
_RELEASE = re.compile(r"JASPAR\d{4}")

Line = tuple[int, str]  # number counted from 1, text


def read_motifs(path: str | Path) -> list[Motif]:
    """Read the matrices of a file, plain or gzip, in the order of the file.

    Formats: JASPAR (``>MA0139.1 CTCF`` and four rows ``A [ 87 167 ... ]``); plain PFM (the same header and four rows of
    numbers, or one row of four per position, as gimmemotifs writes it); MEME's minimal format; HOMER (the header's
    second field is the matrix ID). A PFM file in which every matrix is 4 x 4 is read as rows A, C, G, T.

    The numbers of JASPAR and PFM files are counts of sites. Those of MEME and HOMER are probabilities, which are
    multiplied by ``nsites`` (MEME; 20 if it does not say) or by 1,000 (HOMER).

    Raises
    ------
    SaeTracksError
        With file and line: no header, a malformed, ragged or missing row, a negative number, a position without counts,
        probabilities or per cent in place of counts, a matrix ID that comes twice, no motif at all.
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
        raise SaeTracksError(f"{path} holds no motif: expected JASPAR, PFM, MEME or HOMER format")
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
    parsed = [(header, _homer_name(header[1]), *_rows(path, header, rows)) for header, rows in records]
    by_position = any(len(rows) != 4 for _, named, rows, _, labelled in parsed if not (named or labelled))
    homer = 0
    for header, named, rows, first, labelled in parsed:
        upright = not labelled and (by_position or named is not None)
        counts = np.array(rows) if upright else np.array(rows).T
        motif = _checked(path, first, *(named or _name(path, header)), counts, upright)
        if named:
            _check_probabilities(path, header[0], motif)
            motif = replace(motif, counts=HOMER_SITES * motif.counts)
            homer += 1
        else:
            _check_counts(path, header[0], motif)
        yield header[0], motif
    if homer:
        log.warning("%s: %d matrices of HOMER are taken as of %d sites each", path.name, homer, HOMER_SITES)


def _check_probabilities(path: Path, number: int, motif: Motif) -> None:
    """Refuse a matrix of a format of probabilities in which a position does not sum to 1."""
    sums = motif.counts.sum(axis=1)
    wrong = int(np.abs(sums - 1).argmax())
    if abs(sums[wrong] - 1) > ROUNDING:
        raise _bad(path, number, f"position {wrong + 1} of {motif.matrix_id} sums to {sums[wrong]:g}; expected 1")


def _check_counts(path: Path, number: int, motif: Motif) -> None:
    """Refuse fractions, because scores depend on the number of sites, which the file does not say."""
    sums = motif.counts.sum(axis=1)
    if (motif.counts == np.rint(motif.counts)).all():
        return
    for total, unit in ((1, "probabilities"), (100, "per cent")):
        if (np.abs(sums - total) <= total * ROUNDING).all():
            raise _bad(
                path,
                number,
                f"{motif.matrix_id} holds {unit}, not counts of sites: give counts, or MEME's format with nsites=",
            )
    if sums.min() < 2:
        raise _bad(path, number, f"{motif.matrix_id} sums to {sums.min():g} at a position; expected counts of sites")


def _rows(path: Path, header: Line, lines: list[Line]) -> tuple[list[list[float]], int, bool]:
    """The numbers of a record, all rows of one length; the line of the first; whether the rows are labelled A to T."""
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
    return rows, lines[0][0], any(labels)


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
    words = header[1].split()
    if not words:
        raise _bad(path, header[0], "the header has no matrix ID")
    return words[0], " ".join(words[1:])


def _homer_name(header: str) -> tuple[str, str] | None:
    """Matrix ID and TF name of HOMER's header (consensus, name, log-odds threshold, ...); None if it is another."""
    fields = header.split("\t")
    if len(fields) < 3 or not _NUMBERS.match(fields[2]):
        return None
    name = "_".join(fields[1].split()) or fields[0]
    return name, name.partition("(")[0] if "/" in name else ""


def _meme(path: Path, lines: list[Line]) -> Iterator[tuple[int, Motif]]:
    """Line number of the ``MOTIF`` line and motif, of a MEME file."""
    name, at = ("", ""), 0
    for i, (number, line) in enumerate(lines):
        if line.startswith("ALPHABET") and line.partition("=")[2].strip() != "ACGT":
            raise _bad(path, number, f"{line!r}: only the alphabet ACGT is known")
        if line.split()[0] == "MOTIF":
            if at:
                raise _bad(path, at, f"{name[0]} has no letter-probability matrix")
            name, at = _name(path, (number, line.removeprefix("MOTIF").strip())), number
        if line.startswith("letter-probability matrix"):
            if not at:
                raise _bad(path, number, "a matrix without a MOTIF line before it")
            yield at, _meme_matrix(path, name, lines[i:])
            at = 0
    if at:
        raise _bad(path, at, f"{name[0]} has no letter-probability matrix")


def _meme_matrix(path: Path, name: tuple[str, str], lines: list[Line]) -> Motif:
    """The motif of a matrix's header line and the lines after it."""
    header, fields = lines[0], dict(_FIELD.findall(lines[0][1].partition(":")[2]))
    sites, width = (
        _numbers(path, (header[0], fields[key]))[0] if key in fields else default
        for key, default in (("nsites", MEME_SITES), ("w", None))
    )
    if sites is None or not 0 < sites < np.inf:
        raise _bad(path, header[0], f"nsites= {sites:g}: expected a number above 0")
    end = next((i for i, (_, line) in enumerate(lines[1:], 1) if not _is_numbers(line)), len(lines))
    if width is not None and end - 1 != width:
        raise _bad(path, header[0], f"{name[0]} has w= {width:g}, but {end - 1} rows of numbers follow")
    numbers, first, _ = _rows(path, header, lines[1:end])
    motif = _checked(path, first, *name, np.array(numbers), True)
    _check_probabilities(path, header[0], motif)
    return replace(motif, counts=sites * motif.counts)


def _is_numbers(line: str) -> bool:
    return bool(_NUMBERS.match(line))


def _checked(path: Path, first: int, matrix_id: str, tf: str, counts: NDArray[np.float64], by_position: bool) -> Motif:
    """The motif, after a check of its numbers; `first` is its first line; one line per position or base follows."""
    if counts.shape[1] != 4 or not counts.size:
        raise _bad(path, first, f"{matrix_id} has {counts.shape[1]} numbers per position; expected A, C, G and T")
    wrong = ~(np.isfinite(counts).all(axis=1) & (counts >= 0).all(axis=1) & (counts.sum(axis=1) > 0))
    if wrong.any():
        position = int(wrong.argmax())
        reason = f"position {position + 1} of {matrix_id} has a negative count, or none"
        raise _bad(path, first + position if by_position else first, reason)
    return Motif(matrix_id, tf, counts)


def _bad(path: Path, number: int, reason: str) -> SaeTracksError:
    return SaeTracksError(f"{path.name}, line {number:,}: {reason}")


def jaspar_motifs(release: str = RELEASE, *, collection: str = "CORE", tax_group: str = "vertebrates") -> list[Motif]:
    """The matrices of a JASPAR release, the latest version of each, ascending by matrix ID.

    Parameters
    ----------
    release : str
        ``JASPAR2024`` has 879 vertebrate CORE matrices. Releases differ, so one is named, never "the newest".

    Raises
    ------
    SaeTracksError
        pyjaspar is not installed, or does not have the release.
    """
    try:
        import pyjaspar
    except ImportError as error:
        raise SaeTracksError(
            "JASPAR's releases come with pyjaspar, which is not installed: pip install 'sae-tracks[motifs]', "
            "or give a file of matrices (sae-tracks fetch jaspar-matrices)"
        ) from error
    if release not in pyjaspar.jaspar_releases:
        raise SaeTracksError(f"no release {release!r} in pyjaspar: it has {', '.join(pyjaspar.jaspar_releases)}")
    database = pyjaspar.jaspardb(release=release)
    found = database.fetch_motifs(collection=collection, tax_group=[tax_group], all_versions=False)
    return sorted(map(_motif, found), key=lambda motif: motif.matrix_id)


def _motif(entry) -> Motif:
    counts = np.array([entry.counts[base] for base in "ACGT"], np.float64).T
    return Motif(entry.matrix_id, entry.name, counts, _joined(entry.tf_class), _joined(entry.tf_family))


def _joined(names: Iterable[str] | None) -> str:
    """The classes of all factors of a dimer, each named once."""
    return "; ".join(dict.fromkeys(names or ()))


def named_motifs(text: str) -> tuple[list[Motif], dict[str, str]]:
    """The matrices of a file (JASPAR, PFM, MEME or HOMER format), or of a release such as ``JASPAR2024``.

    A file of that name comes first. Of a release, the vertebrate CORE matrices are taken; see `jaspar_motifs`.

    Returns
    -------
    list of Motif, dict
        The motifs, and what provenance says of where they are from: ``file`` and its ``sha256``, or ``release``.
    """
    path = Path(text)
    if _RELEASE.fullmatch(text) and not path.exists():
        return jaspar_motifs(text), {"release": text}
    return read_motifs(path), {"file": path.name, "sha256": sha256(path)}


def chosen_motifs(motifs: Sequence[Motif], source: dict[str, str], wanted: Iterable[str]) -> list[Motif]:
    """Those of `named_motifs` that have the wanted matrix IDs, in the order of their source.

    Raises
    ------
    SaeTracksError
        There is no such matrix; the error names other versions of it, where there are some.
    """
    where = source.get("file") or source["release"]
    wanted, known = set(wanted), {motif.matrix_id for motif in motifs}
    for name in sorted(wanted - known):
        near = sorted(i for i in known if i.partition(".")[0] == name.partition(".")[0])
        hint = f"it has {', '.join(near)}" if near else f"its {len(known)} IDs look like {min(known)}"
        raise SaeTracksError(f"no matrix {name!r} in {where}: {hint}")
    return [motif for motif in motifs if motif.matrix_id in wanted]
