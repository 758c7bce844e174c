"""A folder of tracks: how its files are named, what they hold, and the colours they are drawn in."""

import gzip
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import check_end
from sae_tracks.regions import GenomicRegion

BIGWIG = 0x888FFC26
SUMMARY = struct.Struct("<Qdddd")  # bases, minimum, maximum, sum, sum of squares
SUMMARY_OFFSET = 44  # where the header says at which byte the summary lies
STRAND_SUFFIX = {"+": ".plus", "-": ".minus"}
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))  # Okabe-Ito
PEAK_SPAN = 100_000  # bases searched base by base for the highest


def track_name(feature: int, read_strand: str, read_strands: Sequence[str]) -> str:
    """``f357``; with both read strands ``f357.plus`` and ``f357.minus``, of ``-`` alone ``f357.minus``."""
    from sae_tracks.sae.model import feature_name

    return feature_name(feature) + (STRAND_SUFFIX[read_strand] if list(read_strands) != ["+"] else "")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a bigWig's header says of its values.

    Attributes
    ----------
    bases : int
        Bases that have a value.
    minimum, maximum, total, squares : float
        Over these bases; the last two are the sums of the values and of their squares.
    """

    bases: int
    minimum: float
    maximum: float
    total: float
    squares: float


def read_summary(path: Path) -> Summary:
    """The summary of a bigWig, as doubles (pyBigWig's ``header()`` cuts them to integers)."""
    try:
        with path.open("rb") as file:
            (magic,) = struct.unpack("<I", file.read(4))
            file.seek(SUMMARY_OFFSET)
            file.seek(struct.unpack("<Q", file.read(8))[0])
            summary = Summary(*SUMMARY.unpack(file.read(SUMMARY.size)))
    except (OSError, struct.error) as error:
        raise SaeTracksError(f"{path} is not a bigWig, or it is cut short") from error
    if magic != BIGWIG:
        raise SaeTracksError(f"{path} is not a (little-endian) bigWig")
    check_end(path)
    return summary


@dataclass(frozen=True, slots=True)
class TrackFile:
    """A bigWig of a folder.

    Attributes
    ----------
    path : Path
    name : str
        File name without ``.bw``.
    feature : str
        ``f357``.
    strand : str
        Read strand; empty where there is one track a feature.
    group : int
        Tracks of one feature share a number, from 0 in the order listed, and with it colour and scale.
    maximum : float
        Largest value.
    """

    path: Path
    name: str
    feature: str
    strand: str
    group: int
    maximum: float

    @property
    def label(self) -> str:
        """For people: ``f357``, or ``f357 read +`` where there is one track a read strand."""
        return f"{self.feature} read {self.strand}" if self.strand else self.feature

    @property
    def colour(self) -> str:
        """``R,G,B``: told apart by colour-blind people too."""
        return ",".join(str(part) for part in COLOURS[self.group % len(COLOURS)])


def list_tracks(folder: Path) -> list[TrackFile]:
    """The bigWigs of a folder, by feature, ``.plus`` before ``.minus``.

    Raises
    ------
    SaeTracksError
        There is none, or one is damaged.
    """
    paths = sorted(folder.glob("*.bw"), key=_natural)
    if not paths:
        raise SaeTracksError(f"no bigWig (*.bw) in {folder}: make them with sae-tracks export-bigwig")
    groups: dict[str, int] = {}
    tracks = []
    for path in paths:
        feature, strand = _split_name(path.stem)
        group = groups.setdefault(feature, len(groups))
        tracks.append(TrackFile(path, path.stem, feature, strand, group, read_summary(path).maximum))
    return tracks


def relative(path: Path, base: Path) -> str:
    """The path of a file from a folder, though links lead to either; a file that is a link is not followed."""
    return Path(os.path.relpath(path.parent.resolve() / path.name, base.resolve())).as_posix()


def list_intervals(folder: Path) -> list[Path]:
    """The BED files of a folder, plain and compressed, that have a row."""
    return sorted(filter(_has_row, (*folder.glob("*.bed"), *folder.glob("*.bed.gz"))), key=_natural)


def _has_row(bed: Path) -> bool:
    try:
        with gzip.open(bed) if bed.suffix == ".gz" else bed.open("rb") as lines:
            return any(line.strip() and not line.startswith((b"#", b"track", b"browser")) for line in lines)
    except (OSError, EOFError, zlib.error) as error:
        raise SaeTracksError(f"cannot read {bed}: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A bigWig in pyBigWig; one that it cannot read is an error that names it."""
    import pyBigWig

    read_summary(path)  # pyBigWig does not survive every file that is not a bigWig
    try:
        with pyBigWig.open(str(path)) as bigwig:
            yield bigwig
    except RuntimeError as error:
        raise SaeTracksError(f"{path} cannot be read as bigWig: it is damaged") from error


def contig_lengths(path: Path) -> dict[str, int]:
    """Contigs and their lengths in bases, as a bigWig's header has them."""
    with _opened(path) as bigwig:
        return bigwig.chroms()


def highest(path: Path, span: int = 500) -> GenomicRegion:
    """`span` bases around the first base that has a bigWig's largest value, cut at the ends of the contig."""
    with _opened(path) as bigwig:
        lengths = bigwig.chroms()
        best = {contig: bigwig.stats(contig, type="max", exact=True)[0] for contig in lengths}
        contig = max(lengths, key=lambda name: -1.0 if best[name] is None else best[name])
        centre = _first_maximum(bigwig, contig, lengths[contig])
    start = max(min(centre - span // 2, lengths[contig] - span), 0)
    return GenomicRegion(contig, start, min(start + span, lengths[contig]))


def _first_maximum(bigwig, contig: str, length: int) -> int:
    """Position of the first base with the contig's largest value, found block by block."""
    import numpy as np

    edges = range(0, length, PEAK_SPAN)
    maxima = [bigwig.stats(contig, start, min(start + PEAK_SPAN, length), type="max", exact=True)[0] for start in edges]
    block = edges[int(np.argmax([-1.0 if value is None else value for value in maxima]))]
    values = bigwig.values(contig, block, min(block + PEAK_SPAN, length), numpy=True)
    return block + int(np.argmax(np.nan_to_num(values, nan=-1.0)))


def _split_name(stem: str) -> tuple[str, str]:
    """Feature and read strand of a file name; the strand is empty where the name has none."""
    for strand, suffix in STRAND_SUFFIX.items():
        if stem.endswith(suffix):
            return stem.removesuffix(suffix), strand
    return stem, ""


def _natural(path: Path) -> tuple[str, str]:
    """Sort key: f2 before f10, + before -."""
    feature, strand = _split_name(path.stem)
    return re.sub(r"\d+", lambda number: number[0].zfill(12), feature), strand
