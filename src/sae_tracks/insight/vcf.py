"""Variants of a VCF or BCF file: read and checked against the genome, and written with new INFO fields."""

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pysam

from sae_tracks.bounded import LONGEST_LINE
from sae_tracks.dna import readable_bases
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import LONGEST_TBI, atomic
from sae_tracks.genome import Genome
from sae_tracks.regions import WHOLE, GenomicRegion, Shard, similar_contig, unknown_contig

FORMATS = {".vcf": "w", ".vcf.gz": "wz", ".bcf": "wb"}  # pysam's modes
SHOWN = 20  # letters of an allele in an error
UNSCORED = 'ALT="." || REF~"[^ACGTacgt]" || ALT~"[^ACGTacgt]"'  # an expression of bcftools
LEFT_OUT = f"leave such records out, bcftools view -e '{UNSCORED}'"
Header = Any  # pysam.VariantHeader


@dataclass(frozen=True, slots=True)
class Variant:
    """A change of some bases, on the forward strand.

    Attributes
    ----------
    contig : str
    start : int
        First base of `ref`, 0-based.
    ref, alt : bytes
        Upper-case A, C, G and T.
    """

    contig: str
    start: int
    ref: bytes
    alt: bytes

    @property
    def snv(self) -> bool:
        """Whether one base replaces another."""
        return len(self.ref) == len(self.alt) == 1 and self.ref != self.alt


class Field(NamedTuple):
    """A new INFO field: its line in the header."""

    name: str
    number: int | str
    type: str
    description: str


@dataclass(frozen=True, slots=True)
class Calls:
    """The variants of a file, or of a shard of it.

    Attributes
    ----------
    path : Path
    variants : list of Variant
        In the file's order.
    first : int
        Number of the first one in the file, from 0.
    header : pysam.VariantHeader
        With all that the records use, also if the file does not declare it.
    """

    path: Path
    variants: list[Variant]
    first: int
    header: Header


def read_variants(path: str | Path, genome: Genome, shard: Shard = WHOLE) -> Calls:
    """Read a VCF or BCF, plain or bgzip, whose records are sorted and have one alternative each.

    Raises
    ------
    SaeTracksError
        The file is not VCF, is damaged or has no record. A record is not in order, lies outside of the genome, has a
        reference that differs from the genome, or alleles that are not letters A, C, G and T. The error names the line.
    """
    path, found = Path(path), []
    order = _Order()
    with _opened(path) as file:
        for where, record in _records(path, file):
            try:
                found.append(_variant(record, genome))
                order.check(record.contig, record.pos)
            except SaeTracksError as error:
                raise SaeTracksError(f"{path.name}, {where}: {error}") from error
            except UnicodeDecodeError as error:  # htslib reads any bytes
                raise SaeTracksError(f"{path.name}, {where}: an allele or a name is not text") from error
        header = file.header.copy()
    if not found:
        raise SaeTracksError(f"{path.name} has no variant")
    part = shard.slice(len(found))
    return Calls(path, found[part], part.start, header)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise SaeTracksError(f"no file {path}")
    try:
        file = pysam.VariantFile(str(path))
    except NotImplementedError as error:
        raise SaeTracksError(f"{path} is gzip, not bgzip: gunzip -c it into bgzip") from error
    except (ValueError, OSError) as error:
        raise SaeTracksError(f"{path} is not VCF or BCF: its first line should begin with ##fileformat=VCF") from error
    with file:
        yield file


def _records(path: Path, file: Any) -> Iterator[tuple[str, Any]]:
    """Records and where each stands: the line of a text file, the number of a record of a BCF."""
    kind, before = ("record", 0) if file.format == "BCF" else ("line", _header_lines(path))
    number = before
    try:
        for record in file:
            number += 1
            yield f"{kind} {number:,}", record
    except (ValueError, OSError) as error:
        raise SaeTracksError(f"{path.name} is damaged after {kind} {number:,}: bcftools view says why") from error


def _header_lines(path: Path) -> int:
    with path.open("rb") as plain:
        zipped = plain.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if zipped else path.open("rb") as lines:
            first = iter(lambda: lines.readline(LONGEST_LINE), b"")
            return sum(1 for _ in takewhile(lambda line: line.startswith(b"#"), first))
    except (OSError, EOFError, zlib.error) as error:
        raise SaeTracksError(f"{path} is damaged: {error}") from error


class _Order:
    """Whether records come contig by contig, and by position within each."""

    def __init__(self) -> None:
        self._contig, self._position, self._done = "", 0, set[str]()

    def check(self, contig: str, position: int) -> None:
        """Take the next record, or refuse it."""
        if contig != self._contig:
            self._done.add(self._contig)
            self._contig, self._position = contig, 0
        if contig in self._done or position < self._position:
            raise SaeTracksError(f"{contig}:{position} comes after a later position: sort the file, bcftools sort")
        self._position = position


def _variant(record: Any, genome: Genome) -> Variant:
    contig, start, ref = record.contig, record.pos - 1, record.ref.upper()
    alt = _alternative(record)
    if contig not in genome.lengths:
        near = similar_contig(contig, genome.lengths)
        how = (
            f" A file with lines such as '{contig} {near}' renames them: bcftools annotate --rename-chrs"
            if near
            else ""
        )
        raise SaeTracksError(f"{unknown_contig(contig, genome.lengths, genome.path.name)}{how}")
    if start < 0 or start + len(ref) > genome.lengths[contig]:
        raise SaeTracksError(f"{contig}:{start + 1} {ref[:SHOWN]} lies outside of {contig}, "
                             f"which has {genome.lengths[contig]:,} bases")  # fmt: skip
    letters = genome.sequence(GenomicRegion(contig, start, start + len(ref))).decode()
    if letters != ref:
        hint = " (unknown bases)" if set(letters) == {"N"} else ": is it of another assembly?"
        raise SaeTracksError(
            f"REF of {contig}:{start + 1} is {_short(ref)}, but {genome.path.name} has {_short(letters)} there{hint}"
        )
    for name, allele in (("REF", ref), ("ALT", alt)):
        if not readable_bases(allele.encode()).all():
            raise SaeTracksError(
                f"{name} {_short(allele)} of {contig}:{start + 1} has letters other than A, C, G and T: {LEFT_OUT}"
            )
    return Variant(contig, start, ref.encode(), alt.encode())


def _alternative(record: Any) -> str:
    place, alts = f"{record.contig}:{record.pos}", record.alts or ()
    if len(alts) != 1:
        how = f"no ALT: {LEFT_OUT}" if not alts else f"{len(alts)} ALT alleles: split them, bcftools norm -m-"
        raise SaeTracksError(f"{place} has {how}")
    alt = alts[0].upper()
    if not alt.isalpha():
        raise SaeTracksError(
            f"ALT {_short(alt)} of {place} is symbolic, a breakend or *; variants need letters: {LEFT_OUT}"
        )
    return alt


def _short(allele: str) -> str:
    return allele if len(allele) <= SHOWN else f"{allele[:SHOWN]}... ({len(allele)} bases)"


def format_of(out: Path) -> str:
    """The ending of a VCF or BCF file, or refuse another name."""
    for ending in FORMATS:
        if out.name.endswith(ending) and out.name != ending:
            return ending
    raise SaeTracksError(f"{out}: name a file that ends in .vcf.gz, .vcf or .bcf")


def check_fields(calls: Calls, fields: Sequence[Field]) -> None:
    """Refuse a file that has these fields already."""
    if twice := [field.name for field in fields if field.name in calls.header.info]:
        raise SaeTracksError(f"{calls.path.name} has {twice[0]} already: start from the file before it was scored")


def write_calls(
    calls: Calls, out: Path, fields: Sequence[Field], values: Iterable[Mapping[str, Any]], longest: int
) -> None:
    """Write the records of some calls, in their order, with new INFO fields; compressed files get an index.

    Parameters
    ----------
    values : iterable of mapping
        Of each record, values by the names of the fields. A field that is not there is not written.
    longest : int
        Bases of the longest contig, which decides the kind of index.
    """
    ending = format_of(out)
    if ending == ".vcf":
        with atomic(out) as temporary:
            _write(calls, temporary, "w", fields, values)
        return
    csi = ending == ".bcf" or longest >= LONGEST_TBI
    with atomic(Path(f"{out}.{'csi' if csi else 'tbi'}")) as index, atomic(out) as temporary:
        _write(calls, temporary, FORMATS[ending], fields, values)
        preset: Any = "bcf" if ending == ".bcf" else "vcf"  # pysam's types do not know its bcf
        pysam.tabix_index(str(temporary), preset=preset, index=str(index), force=True, csi=csi)
        for kind in ("tbi", "csi"):  # an old index would not fit the new file
            Path(f"{out}.{kind}").unlink(missing_ok=True)


def _write(calls: Calls, path: Path, mode: str, fields: Sequence[Field], values: Iterable[Mapping[str, Any]]) -> None:
    with _opened(calls.path) as file:
        declared = set(map(str, file.header.records))
        for line in map(str, calls.header.records):
            if line not in declared:  # first used by a record: htslib exits if it has to write such a record
                file.header.add_line(line.strip())
        for field in fields:
            file.header.info.add(*field)
        with pysam.VariantFile(str(path), mode, header=file.header) as target:
            records = islice(file, calls.first, calls.first + len(calls.variants))
            for record, info in zip(records, values, strict=True):
                for name, value in info.items():
                    record.info[name] = value
                target.write(record)


def as_info(values: Sequence[float]) -> tuple[float | None, ...]:
    """Numbers as INFO has them: float32, and nothing for NaN."""
    return tuple(None if np.isnan(value) else float(np.float32(value)) for value in values)
