"""Motif matrices from files (JASPAR, PFM, MEME, HOMER) and from the JASPAR releases that pyjaspar ships."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sae_tracks.bounded import read_text
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import sha256
from sae_tracks.motifs.matrix import Motif

MEME_SITES = 20  # if a MEME file has no nsites
HOMER_SITES = 1000  # of each HOMER matrix, because its file does not state its number of sites
LONGEST, MOST_SITES = 1000, 1e12  # positions; sites at one
ROUNDING = 0.05  # by which the probabilities of a position may miss a sum of 1
RELEASE = "JASPAR2024"
OF_HOMER = f"HOMER matrices are taken as made of {HOMER_SITES} sites each"
OF_ONE_SITE = (
    "matrices sum to 1 at every position and are taken as counts of one site, because this format holds counts: give "
    "probabilities in MEME's format with nsites="
)
log = logging.getLogger(__name__)
_GIMME = re.compile(r"(?P<id>\S+?)_(?P=id)\.(?P<tf>\S+)")
_LABEL = re.compile(r"([ACGT])\s*(?:\[\s*)?(.*?)\s*\]?")
_FIELD = re.compile(r"(\w+)\s*=\s*(\S+)")  # of a MEME matrix's header
_NUMBERS = re.compile(r"[-+]?(?:\.?[0-9]|nan\b|inf\b)", re.IGNORECASE)  # how a row of numbers begins
_RELEASE = re.compile(r"JASPAR\d{4}")

Line = tuple[int, str]  # number counted from 1, text
Read = tuple[int, Motif, str]  # number of the header line, motif, and a remark on its counts, or an empty string


class _Malformed(Exception):
    """A line number and what is wrong with the line."""


def read_motifs(path: str | Path) -> list[Motif]:
    """Read the matrices of a file, plain or gzip, in the order of the file.

    Formats: JASPAR (``>MA0139.1 CTCF`` and four rows ``A [ 87 167 ... ]``); plain PFM (the same header and four rows of
    numbers, or one row of four per position, as gimmemotifs writes it); MEME's minimal format; HOMER (the header's
    second field is the matrix ID). A PFM file in which every matrix is 4 x 4 is read as rows A, C, G, T.

    The format says what the numbers are. JASPAR and PFM files hold counts of sites: a matrix of 0 and 1 is one site,
    and a warning says so. MEME and HOMER files hold probabilities, which are multiplied by ``nsites`` (MEME; 20 if it
    is not given) or by 1,000 (HOMER). Any other matrix of probabilities or per cent, or a malformed one, is an error
    that names the line.
    """
    path = Path(path)
    lines = [(number, line.strip()) for number, line in enumerate(_text(path).splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    is_meme = bool(lines) and lines[0][1].startswith("MEME version")
    motifs: dict[str, Motif] = {}
    remarks: Counter[str] = Counter()
    try:
        for number, motif, remark in _meme(lines) if is_meme else _pfm(lines):
            if motif.matrix_id in motifs:
                raise _Malformed(number, f"matrix {motif.matrix_id} comes twice")
            motifs[motif.matrix_id] = motif
            remarks[remark] += 1
    except _Malformed as error:
        number, reason = error.args
        raise SaeTracksError(f"{path.name}, line {number:,}: {reason}") from error
    if not motifs:
        raise SaeTracksError(f"{path} holds no motif: expected JASPAR, PFM, MEME or HOMER format")
    for remark in filter(None, remarks):
        log.warning("%s: %d %s", path.name, remarks[remark], remark)
    return list(motifs.values())


def _text(path: Path) -> str:
    try:
        return read_text(path).decode()
    except UnicodeDecodeError as error:
        raise SaeTracksError(f"cannot read {path} as text: {error}") from error


def _pfm(lines: list[Line]) -> Iterator[Read]:
    """Yield the motifs of a file with ``>`` headers."""
    records: list[tuple[Line, list[Line]]] = []
    for number, line in lines:
        if line.startswith(">"):
            records.append(((number, line[1:].strip()), []))
        elif records:
            records[-1][1].append((number, line))
        else:
            raise _Malformed(number, f"{line[:20]!r} is no header: a motif begins with '>' and its matrix ID")
    parsed = [(header, _homer_name(header[1]), *_rows(header, rows)) for header, rows in records]
    by_position = any(len(rows) != 4 for _, homer, rows, _, labelled in parsed if not (homer or labelled))
    for header, homer, rows, first, labelled in parsed:
        upright = not labelled and (by_position or homer is not None)
        counts = np.array(rows) if upright else np.array(rows).T
        motif = _checked(first, *(homer or _name(header)), counts, upright)
        counted = _of_sites(header[0], motif, HOMER_SITES, OF_HOMER) if homer else _counted(header[0], motif)
        yield (header[0], *counted)


def _of_sites(number: int, motif: Motif, sites: float, remark: str = "") -> tuple[Motif, str]:
    """Turn probabilities into counts, after a check that each position sums to 1."""
    sums = motif.counts.sum(axis=1)
    wrong = int(np.abs(sums - 1).argmax())
    if abs(sums[wrong] - 1) > ROUNDING:
        raise _Malformed(number, f"position {wrong + 1} of {motif.matrix_id} sums to {sums[wrong]:g}; expected 1")
    return replace(motif, counts=sites * motif.counts), remark


def _counted(number: int, motif: Motif) -> tuple[Motif, str]:
    """Refuse fractions instead of counts, because scores depend on the number of sites, which the file does not say."""
    sums = motif.counts.sum(axis=1)
    if (motif.counts == np.rint(motif.counts)).all():
        return motif, OF_ONE_SITE if (sums == 1).all() else ""
    for total, unit in ((1, "probabilities"), (100, "per cent")):
        if (np.abs(sums - total) <= total * ROUNDING).all():
            advice = "give counts, or MEME's format with nsites="
            raise _Malformed(number, f"{motif.matrix_id} holds {unit}, not counts of sites: {advice}")
    if sums.min() < 2:
        raise _Malformed(number, f"{motif.matrix_id} sums to {sums.min():g} at a position; expected counts of sites")
    return motif, ""


def _rows(header: Line, lines: list[Line]) -> tuple[list[list[float]], int, bool]:
    """Return rows of numbers of one length, the line of the first, and whether they are labelled A, C, G and T."""
    if not lines:
        raise _Malformed(header[0], "no row of numbers follows the header")
    labels = [_LABEL.fullmatch(line) for _, line in lines]
    if any(labels):
        if [label and label[1] for label in labels] != list("ACGT"):
            raise _Malformed(lines[0][0], "expected the four rows A, C, G and T in this order")
        lines = [(number, label[2]) for (number, _), label in zip(lines, labels) if label]
    rows = [_numbers(line) for line in lines]
    for (number, _), row in zip(lines, rows):
        if len(row) != len(rows[0]):
            raise _Malformed(number, f"{len(row)} numbers; the first row of the motif has {len(rows[0])}")
    return rows, lines[0][0], any(labels)


def _numbers(line: Line) -> list[float]:
    try:
        return [float(word) for word in line[1].split()]
    except ValueError as error:
        raise _Malformed(line[0], f"{line[1][:40]!r} is not a row of numbers") from error


def _name(header: Line) -> tuple[str, str]:
    """Return matrix ID and TF name of a header without its ``>`` or ``MOTIF``; JASPAR's MEME has ``ID ID.NAME``."""
    if gimme := _GIMME.fullmatch(header[1]):
        return gimme["id"], gimme["tf"]
    if not header[1]:
        raise _Malformed(header[0], "the header has no matrix ID")
    matrix_id, *words = header[1].split()
    return matrix_id, " ".join(words).removeprefix(f"{matrix_id}.")


def _homer_name(header: str) -> tuple[str, str] | None:
    """Return matrix ID and TF name of HOMER's header (consensus, name, log-odds threshold, ...); None for others."""
    fields = header.split("\t")
    if len(fields) < 3 or not _NUMBERS.match(fields[2]):
        return None
    name = "_".join(fields[1].split()) or fields[0]
    return name, name.partition("(")[0] if "/" in name else ""


def _meme(lines: list[Line]) -> Iterator[Read]:
    """Yield the motifs of a MEME file."""
    name, at = ("", ""), 0
    for i, (number, line) in enumerate([*lines, (0, "MOTIF end of the file")]):
        if line.startswith("ALPHABET") and line.partition("=")[2].strip() != "ACGT":
            raise _Malformed(number, f"{line!r}: only the alphabet ACGT is known")
        if line.split()[0] == "MOTIF":
            if at:
                raise _Malformed(at, f"{name[0]} has no letter-probability matrix")
            name, at = _name((number, line.removeprefix("MOTIF").strip())), number
        if line.startswith("letter-probability matrix"):
            if not at:
                raise _Malformed(number, "a matrix without a MOTIF line before it")
            yield (at, *_meme_matrix(name, lines[i:]))
            at = 0


def _meme_matrix(name: tuple[str, str], lines: list[Line]) -> tuple[Motif, str]:
    """Return the motif of a matrix's header line and the lines after it."""
    number, text = lines[0]
    fields = {key: (number, value) for key, value in _FIELD.findall(text.partition(":")[2])}
    sites = _numbers(fields["nsites"])[0] if "nsites" in fields else MEME_SITES
    if not 0 < sites <= MOST_SITES:
        raise _Malformed(number, f"nsites= {sites:g}: expected a number above 0, and at most {MOST_SITES:g}")
    end = next((i for i, (_, line) in enumerate(lines[1:], 1) if not _NUMBERS.match(line)), len(lines))
    if "w" in fields and end - 1 != (width := _numbers(fields["w"])[0]):
        raise _Malformed(number, f"{name[0]} has w= {width:g}, but {end - 1} rows of numbers follow")
    rows, first, _ = _rows(lines[0], lines[1:end])
    return _of_sites(number, _checked(first, *name, np.array(rows), True), sites)


def _checked(first: int, matrix_id: str, tf: str, counts: NDArray[np.float64], by_position: bool) -> Motif:
    """Return the motif after a check of its numbers, whose lines (per position or per base) begin at `first`."""
    if counts.shape[1] != 4 or not counts.size:
        raise _Malformed(first, f"{matrix_id} has {counts.shape[1]} numbers per position; expected A, C, G and T")
    if len(counts) > LONGEST:
        raise _Malformed(first, f"{matrix_id} has {len(counts):,} positions; a motif has at most {LONGEST:,}")
    wrong = ~((counts <= MOST_SITES).all(axis=1) & (counts >= 0).all(axis=1) & (counts.sum(axis=1) > 0))
    if wrong.any():
        position = int(wrong.argmax())
        reason = f"position {position + 1} of {matrix_id} has a negative count, or none, or more than {MOST_SITES:g}"
        raise _Malformed(first + position if by_position else first, reason)
    return Motif(matrix_id, tf, counts)


def jaspar_motifs(release: str = RELEASE) -> list[Motif]:
    """Return the vertebrate CORE matrices of a JASPAR release, the latest version of each, ascending by matrix ID.

    ``JASPAR2024`` has 879. Releases differ, so one is named, never "the newest".
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
    found = database.fetch_motifs(collection="CORE", tax_group=["vertebrates"], all_versions=False)
    return sorted(map(_motif, found), key=lambda motif: motif.matrix_id)


def _motif(entry) -> Motif:
    counts = np.array([entry.counts[base] for base in "ACGT"], np.float64).T
    return Motif(entry.matrix_id, entry.name, counts, _joined(entry.tf_class), _joined(entry.tf_family))


def _joined(names: Iterable[str] | None) -> str:
    """Join the classes of all factors of a dimer, each named once."""
    return "; ".join(dict.fromkeys(names or ()))


def named_motifs(text: str) -> tuple[list[Motif], dict[str, str]]:
    """Return the matrices of a file (JASPAR, PFM, MEME or HOMER format), or of a release such as ``JASPAR2024``.

    A file of that name comes first. A release gives the vertebrate CORE matrices; see `jaspar_motifs`. The second value
    is their origin for provenance: ``file`` and its ``sha256``, or ``release``.
    """
    path = Path(text)
    if _RELEASE.fullmatch(text) and not path.exists():
        return jaspar_motifs(text), {"release": text}
    return read_motifs(path), {"file": path.name, "sha256": sha256(path)}


def chosen_motifs(motifs: Sequence[Motif], source: dict[str, str], wanted: Iterable[str]) -> list[Motif]:
    """Return those of `named_motifs` with the wanted matrix IDs, in the order of their source.

    The error for an ID that is not there names other versions of the matrix, if there are any.
    """
    where = source.get("file") or source["release"]
    wanted, known = set(wanted), {motif.matrix_id for motif in motifs}
    for name in sorted(wanted - known):
        near = sorted(i for i in known if i.partition(".")[0] == name.partition(".")[0])
        hint = f"it has {', '.join(near)}" if near else f"its {len(known)} IDs look like {min(known)}"
        raise SaeTracksError(f"no matrix {name!r} in {where}: {hint}")
    return [motif for motif in motifs if motif.matrix_id in wanted]
