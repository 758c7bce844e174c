"""A folder of tracks: how its files are named, what they hold, and the colours they are drawn in."""

import gzip
import math
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sae_tracks.bbi import check_structure, read_summary
from sae_tracks.bounded import LONGEST_LINE, opened
from sae_tracks.errors import SaeTracksError
from sae_tracks.names import feature_name

STRAND_SUFFIX = {"+": ".plus", "-": ".minus"}
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))  # Okabe-Ito


def track_name(feature: int, read_strand: str, read_strands: Sequence[str]) -> str:
    """``f357``; with both read strands ``f357.plus`` and ``f357.minus``, of ``-`` alone ``f357.minus``."""
    return feature_name(feature) + (STRAND_SUFFIX[read_strand] if list(read_strands) != ["+"] else "")


@dataclass(frozen=True, slots=True)
class TrackFile:
    """A bigWig of a folder."""

    path: Path
    name: str  # of the file, without .bw
    feature: str  # f357
    strand: str  # read strand; empty if there is one track per feature
    group: int  # tracks of one feature share it, and with it colour and scale; from 0 in the order listed
    maximum: float  # largest value

    @property
    def label(self) -> str:
        """``f357`` for people, or ``f357 read +`` if there is one track per read strand."""
        return f"{self.feature} read {self.strand}" if self.strand else self.feature

    @property
    def colour(self) -> str:
        """``R,G,B``, from a palette for colour-blind people too."""
        return ",".join(str(part) for part in COLOURS[self.group % len(COLOURS)])


def list_tracks(folder: Path) -> list[TrackFile]:
    """List the bigWigs of a folder by feature, ``.plus`` before ``.minus``; none, or a damaged one, is an error."""
    paths = sorted(shown(folder.glob("*.bw")), key=_natural)
    if not paths:
        raise SaeTracksError(f"no bigWig (*.bw) in {folder}: make them with sae-tracks export-bigwig")
    groups: dict[str, int] = {}
    tracks = []
    for path in paths:
        feature, strand = _split_name(path.stem)
        group = groups.setdefault(feature, len(groups))
        check_structure(path)
        maximum = read_summary(path).maximum
        if not math.isfinite(maximum):
            raise SaeTracksError(f"{path}: its largest value is {maximum}: export it again")
        tracks.append(TrackFile(path, path.stem, feature, strand, group, maximum))
    return tracks


def relative(path: Path, base: Path) -> str:
    """The path of a file from a folder, though links lead to either; a file that is a link is not followed."""
    return Path(os.path.relpath(path.parent.resolve() / path.name, base.resolve())).as_posix()


def list_intervals(folder: Path) -> list[Path]:
    """The BED files of a folder, plain and compressed, that have a row."""
    return sorted(filter(_has_row, shown((*folder.glob("*.bed"), *folder.glob("*.bed.gz")))), key=_natural)


def shown(paths: Iterable[Path]) -> list[Path]:
    """The paths that are no hidden files, such as macOS's ``._f1.bw``."""
    return [path for path in paths if not path.name.startswith(".")]


def _has_row(bed: Path) -> bool:
    try:
        with opened(bed) as raw, gzip.open(raw) if bed.suffix == ".gz" else raw as file:
            lines = iter(lambda: file.readline(LONGEST_LINE), b"")
            return any(line.strip() and not line.startswith((b"#", b"track", b"browser")) for line in lines)
    except (OSError, EOFError, zlib.error) as error:
        raise SaeTracksError(f"cannot read {bed}: {error}") from error


def _split_name(stem: str) -> tuple[str, str]:
    """Feature and read strand of a file name; the strand is empty if the name has none."""
    for strand, suffix in STRAND_SUFFIX.items():
        if stem.endswith(suffix):
            return stem.removesuffix(suffix), strand
    return stem, ""


def _natural(path: Path) -> tuple[str, str]:
    """Sort key: f2 before f10, + before -."""
    feature, strand = _split_name(path.stem)
    return re.sub(r"\d+", lambda number: number[0].zfill(12), feature), strand
