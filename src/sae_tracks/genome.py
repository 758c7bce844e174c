"""A FASTA file: its contigs, sequence, stretches between gaps, and index."""

import base64
import hashlib
import logging
import mmap
import shutil
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pysam

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, scratch_folder
from sae_tracks.intervals import Spans, as_spans, runs_of_chunks, subtract
from sae_tracks.regions import GenomicRegion, merge_regions, parse_region, regions_of, unknown_contig

log = logging.getLogger(__name__)
LONG_N_RUN = 100  # bases; an assembly gap, not a few unknown bases
pysam.set_verbosity(0)  # htslib's own lines on stderr; its exceptions and `_check_index` say the same
CHUNK = 1 << 24  # bases fetched at once when a whole contig is read
FIRST_LETTERS, AMINO_ACIDS, PROTEIN = 10_000, b"EFILPQ", 0.05  # the share of letters that are no IUPAC base
MOST_HEADER = 1 << 16  # bytes of a FASTA header
OUTDATED = "it has changed since it was indexed; delete {0}.fai or run samtools faidx {0}"
_LOWER = np.isin(np.arange(256), np.arange(ord("a"), ord("z") + 1))


class ContigLengths:
    """Contigs without their letters: the file that names them, and the length of each in bases, in file order."""

    def __init__(self, path: Path, lengths: Mapping[str, int]) -> None:
        self.path, self.lengths = path, dict(lengths)

    def check(self, region: GenomicRegion) -> None:
        """Raise unless a region lies inside a contig of this genome."""
        if region.contig not in self.lengths:
            raise unknown_contig(region.contig, self.lengths, self.path.name)
        if region.end > (length := self.lengths[region.contig]):
            raise SaeTracksError(f"region {region} ends past {region.contig} of {self.path.name}, {length:,} bases")

    def region(self, text: str) -> GenomicRegion:
        """Read a 1-based inclusive region text against this genome."""
        return parse_region(text, self.lengths)

    @cached_property
    def whole(self) -> list[GenomicRegion]:
        """One region per contig that has bases, in the order of the FASTA."""
        return [GenomicRegion(name, 0, length) for name, length in self.lengths.items() if length]

    def merged(self, regions: Iterable[GenomicRegion] | None) -> list[GenomicRegion]:
        """Check regions, merge them and put them in FASTA order. None stands for the whole genome."""
        if regions is None:
            return self.whole
        regions = list(regions)
        for region in regions:
            self.check(region)
        return merge_regions(regions, self.lengths)


class Genome(ContigLengths):
    """Random access to a FASTA, plain or bgzip. A missing index is made.

    Parameters
    ----------
    path : path
        FASTA file. Soft-masked (lower-case) sequence is read as upper-case.
    """

    def __init__(self, path: str | Path) -> None:
        self._fasta = _open(Path(path))
        super().__init__(Path(path), dict(zip(self._fasta.references, self._fasta.lengths, strict=True)))
        self._refuse_protein()
        self._digests: dict[str, tuple[str, str]] = {}
        self._stretches: dict[str, list[GenomicRegion]] = {}

    def __repr__(self) -> str:
        return f"Genome({self.path.name}, {len(self.lengths):,} contigs, {sum(self.lengths.values()):,} bases)"

    def _refuse_protein(self) -> None:
        """Refuse a FASTA of amino acids, by the letters at the start of its first record."""
        for region in self.whole[:1]:
            letters = b""
            with suppress(SaeTracksError):  # a damaged FASTA is refused where it is read
                letters = self.sequence(GenomicRegion(region.contig, 0, min(region.end, FIRST_LETTERS)))
            if sum(map(letters.count, AMINO_ACIDS)) > PROTEIN * len(letters):
                raise SaeTracksError(f"{self.path.name} holds amino acids; a genome of A, C, G, T and N is needed")

    def __reduce__(self):
        return Genome, (self.path,)

    def sequence(self, region: GenomicRegion) -> bytes:
        """The bases of a region, upper case, forward strand; RNA's U is read as T."""
        return self._as_written(region).upper().replace(b"U", b"T")

    def _as_written(self, region: GenomicRegion) -> bytes:
        self.check(region)
        try:
            letters = self._fasta.fetch(region.contig, region.start, region.end).encode("ascii")
        except UnicodeError as error:
            raise SaeTracksError(f"{self.path.name} holds letters in {region} that are not ASCII") from error
        except (ValueError, OSError):
            letters = b""
        if len(letters) != len(region):
            raise SaeTracksError(f"{self.path.name} ends before {region}: {OUTDATED.format(self.path.name)}")
        return letters

    def stretches(self, contig: str) -> list[GenomicRegion]:
        """The maximal parts of a contig between runs of at least `LONG_N_RUN` N, ascending."""
        if contig not in self._stretches:  # finding them reads the whole contig, and windows are planned more than once
            unknown = runs_of_chunks(np.frombuffer(chunk, np.uint8) == ord("N") for chunk in self._chunks(contig))
            gaps = unknown[unknown[:, 1] - unknown[:, 0] >= LONG_N_RUN]
            self._stretches[contig] = regions_of(contig, subtract(as_spans([0, self.lengths[contig]]), gaps))
        return list(self._stretches[contig])

    def soft_masked(self, contig: str) -> Spans:
        """(k, 2) int64: starts and ends of the maximal runs of lower-case letters, 0-based half-open, ascending."""
        return runs_of_chunks(_LOWER[np.frombuffer(chunk, np.uint8)] for chunk in self._chunks_as_written(contig))

    def m5(self, contig: str) -> str:
        """MD5 of the upper-case sequence, SAM's ``M5`` tag. It identifies a contig under any name."""
        return self._digests_of(contig)[0]

    def refget(self, contig: str) -> str:
        """GA4GH's refget digest of the upper-case sequence, ``SQ.`` and 32 letters, under which servers know it."""
        return self._digests_of(contig)[1]

    def _digests_of(self, contig: str) -> tuple[str, str]:
        """M5 and refget digest, from one walk along the contig, which is kept."""
        if contig not in self._digests:
            md5, sha512 = hashlib.md5(usedforsecurity=False), hashlib.sha512()
            for chunk in self._chunks(contig):
                md5.update(chunk)
                sha512.update(chunk)
            truncated = base64.urlsafe_b64encode(sha512.digest()[:24]).decode()  # GA4GH's sha512t24u
            self._digests[contig] = (md5.hexdigest(), f"SQ.{truncated}")
        return self._digests[contig]

    def index(self) -> Path:
        """The .fai beside the FASTA, which other programs need; an error if its folder could not be written."""
        index = Path(f"{self.path}.fai")
        if not index.is_file():
            raise SaeTracksError(
                f"{self.path} has no index, and its folder cannot be written: `samtools faidx` a copy of it"
            )
        return index

    def identity(self, contigs: Iterable[str]) -> dict[str, dict[str, int | str]]:
        """Length and M5 of each of the named contigs. Two genomes are the same if these are."""
        return {name: {"length": self.lengths[name], "M5": self.m5(name)} for name in contigs}

    def record(self, contigs: Iterable[str]) -> dict[str, Any]:
        """The genome in provenance: ``path``, ``contigs`` (their identity) and ``refget`` (digest of each contig)."""
        names = list(dict.fromkeys(contigs))
        refget = {name: self.refget(name) for name in names}
        return {"path": str(self.path), "contigs": self.identity(names), "refget": refget}

    def _chunks(self, contig: str) -> Iterator[bytes]:
        return (letters.upper() for letters in self._chunks_as_written(contig))

    def _chunks_as_written(self, contig: str) -> Iterator[bytes]:
        for start in range(0, self.lengths[contig], CHUNK):
            yield self._as_written(GenomicRegion(contig, start, min(start + CHUNK, self.lengths[contig])))


def _open(path: Path) -> pysam.FastaFile:
    """Open a FASTA by an index that fits it; a missing index is written aside and renamed."""
    if path.is_dir():
        raise SaeTracksError(f"{path} is a folder, not a FASTA: the genome comes after the SAE or the model")
    if not path.is_file():
        raise SaeTracksError(f"no FASTA file {path}")
    zipped = _is_bgzip(path)
    fai, gzi = Path(f"{path}.fai"), Path(f"{path}.gzi") if zipped else None
    if fai.exists() and (gzi is None or gzi.exists()):
        _check_index(path, fai, gzi, OUTDATED.format(path.name))
        return _by_index(path, fai, gzi)
    with scratch_folder("index") as folder:
        new_fai, new_gzi = folder / "new.fai", folder / "new.gzi" if zipped else None
        try:
            pysam.faidx(str(path), "--fai-idx", str(new_fai), "--gzi-idx", str(folder / "new.gzi"))
        except (OSError, ValueError, pysam.SamtoolsError) as error:
            raise SaeTracksError(f"cannot read {path} as FASTA; `samtools faidx {path.name}` says why") from error
        _check_index(path, new_fai, new_gzi, "text between its records keeps it from being indexed")
        try:
            for made, final in ((new_gzi, gzi), (new_fai, fai)):  # the .fai last, because it says that both are there
                if made and final:
                    with atomic(final) as temporary:
                        shutil.copyfile(made, temporary)
        except (OSError, SaeTracksError) as error:
            log.info("the index of %s is not kept: %s", path.name, error)
        return _by_index(path, new_fai, new_gzi)


def _by_index(path: Path, fai: Path, gzi: Path | None) -> pysam.FastaFile:
    return pysam.FastaFile(str(path), filepath_index=str(fai), filepath_index_compressed=str(gzi) if gzi else None)


def _is_bgzip(path: Path) -> bool:
    """Whether a FASTA is compressed. A file that is neither plain FASTA nor bgzip is refused."""
    with path.open("rb") as file:
        head = file.read(18)
    if not head:
        raise SaeTracksError(f"{path} is empty")
    zipped = head[:2] == b"\x1f\x8b"
    if zipped and head[12:14] != b"BC":
        raise SaeTracksError(f"{path} is gzip, not bgzip, and cannot be read at random: gunzip -c it into bgzip")
    if not zipped and head[:1] not in b">;":
        raise SaeTracksError(f"{path} is not FASTA: its first character is not '>'")
    return zipped


def _check_index(path: Path, fai: Path, gzi: Path | None, reason: str) -> None:
    """Refuse an index that does not fit its FASTA, and a FASTA with two records of one name.

    The check reads the headers alone: the rows must ascend as the records do, each record must follow its own header,
    the next header must follow the record's last base, which is a letter, and nothing may follow the last record.
    """
    wrong = SaeTracksError(f"{path.name}: {reason}")
    try:
        rows = [line.split(b"\t") for line in fai.read_bytes().splitlines()]
        records = [(int(offset), name, int(n), int(bases), int(width)) for name, n, offset, bases, width in rows]
    except ValueError as error:
        raise wrong from error
    names = {name for _, name, *_ in records}
    empty = {name for _, name, length, *_ in records if not length}  # their place in an index means nothing
    records = [record for record in records if record[2]]
    text = _Text(path, zipped=gzi is not None)
    if gzi and not text.fits(gzi):
        raise wrong
    if records != sorted(records):
        raise SaeTracksError(
            f"{fai.name}: its rows are not in the order of {path.name}: run samtools faidx {path.name}"
        )
    at = before = 0
    for offset, name, length, bases, width in records:
        if not at < offset <= text.size or not 0 < bases < width:
            raise wrong
        header = [line for line in text.lines(at, offset) if _name([line]) not in empty]
        fits = _name(header[-1:]) == name and text.read(offset - 1, offset) == b"\n" and _are_empty(header[:-1], names)
        if not fits and text.read(before, offset).isascii():  # samtools does not count letters that are not ASCII
            raise _twice(path, header, names - {name}) or wrong
        before = offset
        last = offset + (length - 1) // bases * width  # where the last line begins
        at = last + (length - 1) % bases + 1
        if at > text.size:
            end = f"{name.decode(errors='replace')}:1-{length}"
            raise SaeTracksError(f"{path.name}: {reason} (it ends before {end})")
        breaks = (text.read(offset + bases, offset + width), text.read(last - 1, last)) if last > offset else ()
        if any(letters.strip() for letters in breaks) or not text.read(at - 1, at).strip():
            raise wrong
    rest = [line for line in text.lines(at, text.size) if _name([line]) not in empty]
    if not names or (not _are_empty(rest, names) and text.read(before, text.size).isascii()):
        raise _twice(path, rest, names) or wrong


def _twice(path: Path, lines: list[bytes], names: set[bytes]) -> SaeTracksError | None:
    """The error for a record that the index leaves out because an earlier one has its name."""
    if _name(lines) not in names:
        return None
    name = _name(lines).decode(errors="replace")
    return SaeTracksError(f"{path.name} has two records called {name!r}: give each a name of its own")


def _are_empty(lines: list[bytes], names: set[bytes]) -> bool:
    """Whether lines are headers of records without bases, which samtools leaves out of an index."""
    return all(line.startswith(b">") and _name([line]) not in names for line in lines)


def _name(lines: list[bytes]) -> bytes:
    """The name in a header, the first of some lines; empty if it is none."""
    return (lines[0][1:].split(None, 1) or [b""])[0] if lines and lines[0].startswith(b">") else b""


class _Text:
    """The bytes of a FASTA by their position in the uncompressed file."""

    def __init__(self, path: Path, *, zipped: bool) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._blocks = _bgzf_blocks(path, self._data) if zipped else None
        self.size = self._blocks[1][-1] if self._blocks else len(self._data)
        self._held: tuple[int, bytes] = (-1, b"")
        self._path = path

    def read(self, start: int, end: int) -> bytes:
        """The bytes of ``start:end``."""
        if self._blocks is None:
            return self._data[start:end]
        packed, plain = self._blocks
        parts, i = [], bisect_right(plain, start) - 1
        while i + 1 < len(plain) and plain[i] < end:
            if self._held[0] != i:
                try:
                    self._held = i, zlib.decompress(self._data[packed[i] : packed[i + 1]], wbits=31)
                except zlib.error as error:
                    raise SaeTracksError(f"{self._path} is cut short or damaged: copy or download it again") from error
            parts.append(self._held[1][max(start - plain[i], 0) : end - plain[i]])
            i += 1
        return b"".join(parts)

    def lines(self, start: int, end: int) -> list[bytes]:
        """The lines of the first `MOST_HEADER` bytes of ``start:end``, without comments at the start of the file."""
        lines = self.read(start, min(end, start + MOST_HEADER)).strip().splitlines()
        while start == 0 and lines and lines[0].startswith(b";"):
            lines = lines[1:]
        return lines

    def fits(self, gzi: Path) -> bool:
        """Whether a .gzi lists the blocks of the file: compressed and plain offset of every block but the first."""
        assert self._blocks is not None
        found = np.frombuffer(gzi.read_bytes()[: gzi.stat().st_size // 8 * 8], "<u8").tolist()
        listed = set(zip(found[1::2], found[2::2]))
        blocks = list(zip(*self._blocks))[1:]
        data = {block for block, after in zip(blocks, blocks[1:]) if after[1] > block[1]}
        return len(found) == 1 + 2 * len(listed) == 1 + 2 * found[0] and data <= listed <= set(blocks)


def _bgzf_blocks(path: Path, data: mmap.mmap) -> tuple[list[int], list[int]]:
    """Offsets of the blocks of a bgzip file, compressed and plain, each with the end of the file behind."""
    packed, plain = [0], [0]
    while packed[-1] < len(data):
        head = data[packed[-1] : packed[-1] + 18]
        if len(head) < 18 or head[12:14] != b"BC":
            raise SaeTracksError(f"{path} is cut short or damaged: a bgzip block does not begin at byte {packed[-1]:,}")
        packed.append(packed[-1] + int.from_bytes(head[16:18], "little") + 1)
        plain.append(plain[-1] + int.from_bytes(data[packed[-1] - 4 : packed[-1]], "little"))
    return packed, plain
