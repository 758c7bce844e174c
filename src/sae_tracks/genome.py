"""A FASTA file: contigs, sequence, and where it can be read."""

import hashlib
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import pysam

from sae_tracks.errors import SaeTracksError
from sae_tracks.intervals import Spans, as_spans, runs_of_chunks, subtract
from sae_tracks.regions import GenomicRegion, merge_regions, parse_region, regions_of, unknown_contig

log = logging.getLogger(__name__)
LONG_N_RUN = 100  # bases; an assembly gap, not a few unknown bases
pysam.set_verbosity(0)  # htslib's own lines on stderr; its exceptions say the same
CHUNK = 1 << 24  # bases fetched at once where a whole contig is walked
OUTDATED = "it has changed since it was indexed; delete {0}.fai or run samtools faidx {0}"
_LOWER = np.isin(np.arange(256), np.arange(ord("a"), ord("z") + 1))


class ContigLengths:
    """Contigs by name and length, without their letters.

    Parameters
    ----------
    path : path
        The file that names them.
    lengths : mapping of str to int
        Length of each contig in bases, in the order of the file.
    """

    def __init__(self, path: Path, lengths: Mapping[str, int]) -> None:
        self.path = path
        self.lengths = dict(lengths)

    def check(self, region: GenomicRegion) -> None:
        """Raise where a region is not inside a contig of this genome."""
        if region.contig not in self.lengths:
            raise unknown_contig(region.contig, self.lengths, self.path.name)
        if region.end > self.lengths[region.contig]:
            length = self.lengths[region.contig]
            raise SaeTracksError(f"region {region} ends past {region.contig} of {self.path.name}, {length:,} bases")

    def region(self, text: str) -> GenomicRegion:
        """Read a 1-based inclusive region text against this genome."""
        return parse_region(text, self.lengths)

    @cached_property
    def whole(self) -> list[GenomicRegion]:
        """Every contig that has bases, in the order of the FASTA."""
        return [GenomicRegion(name, 0, length) for name, length in self.lengths.items() if length]

    def merged(self, regions: Iterable[GenomicRegion] | None) -> list[GenomicRegion]:
        """Regions checked, disjoint and in FASTA order; None is the whole genome."""
        if regions is None:
            return self.whole
        regions = list(regions)
        for region in regions:
            self.check(region)
        return merge_regions(regions, self.lengths)


class Genome(ContigLengths):
    """Random access to a FASTA, plain or bgzip; an index is made where there is none.

    Parameters
    ----------
    path : path
        FASTA file. Soft-masked (lower-case) sequence reads the same as upper-case.
    """

    def __init__(self, path: str | Path) -> None:
        self._fasta = _open(Path(path))
        super().__init__(Path(path), dict(zip(self._fasta.references, self._fasta.lengths, strict=True)))
        self._m5: dict[str, str] = {}
        self._stretches: dict[str, list[GenomicRegion]] = {}

    def __reduce__(self):
        return Genome, (self.path,)

    def sequence(self, region: GenomicRegion) -> bytes:
        """The bases of a region, upper case, forward strand; RNA's U is read as T."""
        return self._letters(region).replace(b"U", b"T")

    def _letters(self, region: GenomicRegion) -> bytes:
        return self._as_written(region).upper()

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
        if contig not in self._stretches:  # the whole contig is read for them, and windows are planned more than once
            unknown = runs_of_chunks(np.frombuffer(chunk, np.uint8) == ord("N") for chunk in self._chunks(contig))
            gaps = unknown[unknown[:, 1] - unknown[:, 0] >= LONG_N_RUN]
            self._stretches[contig] = regions_of(contig, subtract(as_spans([0, self.lengths[contig]]), gaps))
        return list(self._stretches[contig])

    def soft_masked(self, contig: str) -> Spans:
        """(k, 2) int64: starts and ends of the maximal runs of lower-case letters, 0-based half-open, ascending."""
        return runs_of_chunks(_LOWER[np.frombuffer(self._as_written(part), np.uint8)] for part in self._parts(contig))

    def m5(self, contig: str) -> str:
        """MD5 of the upper-case sequence, SAM's ``M5`` tag: what identifies a contig whatever its name."""
        if contig not in self._m5:
            digest = hashlib.md5(usedforsecurity=False)
            for chunk in self._chunks(contig):
                digest.update(chunk)
            self._m5[contig] = digest.hexdigest()
        return self._m5[contig]

    def identity(self, contigs: Iterable[str]) -> dict[str, dict[str, int | str]]:
        """Length and M5 of each contig named, for provenance."""
        return {name: {"length": self.lengths[name], "M5": self.m5(name)} for name in contigs}

    def _chunks(self, contig: str) -> Iterator[bytes]:
        return map(self._letters, self._parts(contig))

    def _parts(self, contig: str) -> Iterator[GenomicRegion]:
        for start in range(0, self.lengths[contig], CHUNK):
            yield GenomicRegion(contig, start, min(start + CHUNK, self.lengths[contig]))


def _open(path: Path) -> pysam.FastaFile:
    if not path.is_file():
        raise SaeTracksError(f"no FASTA file {path}")
    with path.open("rb") as file:
        head = file.read(18)
    if not head:
        raise SaeTracksError(f"{path} is empty")
    if head[:2] == b"\x1f\x8b" and head[12:14] != b"BC":
        raise SaeTracksError(f"{path} is gzip, not bgzip, and cannot be read at random: gunzip -c it into bgzip")
    if head[:2] != b"\x1f\x8b" and head[:1] not in b">;":
        raise SaeTracksError(f"{path} is not FASTA: its first character is not '>'")
    _check_index(path)
    try:
        return pysam.FastaFile(str(path))
    except (OSError, ValueError):
        return _open_with_private_index(path)


def _check_index(path: Path) -> None:
    """Refuse an index that is older than its FASTA and does not fit it."""
    fai, gzi = Path(f"{path}.fai"), Path(f"{path}.gzi")
    if not fai.exists() or fai.stat().st_mtime_ns >= path.stat().st_mtime_ns:
        return
    log.info("checking %s, which is older than its FASTA (touch it to spare this)", fai.name)
    with tempfile.TemporaryDirectory(prefix="sae-tracks-") as folder:
        pairs = zip((fai, gzi), _index(path, Path(folder)))
        if any(new.exists() and old.exists() and new.read_bytes() != old.read_bytes() for old, new in pairs):
            raise SaeTracksError(f"{path.name}: {OUTDATED.format(path.name)}")


def _open_with_private_index(path: Path) -> pysam.FastaFile:
    """For a FASTA in a folder that cannot be written: its index goes to a temporary folder of this process."""
    with tempfile.TemporaryDirectory(prefix="sae-tracks-") as folder:
        fai, gzi = _index(path, Path(folder))
        compressed = {"filepath_index_compressed": str(gzi)} if gzi.exists() else {}
        return pysam.FastaFile(str(path), filepath_index=str(fai), **compressed)


def _index(path: Path, folder: Path) -> tuple[Path, Path]:
    """Where a new .fai and, of a bgzip file, .gzi were written."""
    fai, gzi = folder / "new.fai", folder / "new.gzi"
    try:
        pysam.faidx(str(path), "--fai-idx", str(fai), "--gzi-idx", str(gzi))
    except (OSError, ValueError, pysam.SamtoolsError) as error:
        raise SaeTracksError(f"cannot read {path} as FASTA; `samtools faidx {path.name}` says why") from error
    return fai, gzi
