"""Rows of a bigBed file, by region."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sae_tracks.annotations.alias import Contigs
from sae_tracks.annotations.text import Text
from sae_tracks.bbi import BIGBED, open_bbi
from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import GenomicRegion

_MAGIC = (bytes.fromhex("ebf28987"), bytes.fromhex("8789f2eb"))  # either order of bytes
_FIELD = re.compile(rb"^[ \t]*\w+(?:\[\w+\]|\([^)]*\))?[ \t]+(\w+)[ \t]*;", re.MULTILINE)
TILE = 1 << 20  # bases read at once


def is_bigbed(path: Path) -> bool:
    """Whether a file begins as a bigBed does; False for a pipe, which is not read."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


def read_bigbed(path: Path, contigs: Contigs, regions: Sequence[GenomicRegion] | None) -> Text:
    """Read the rows that overlap the regions, or all on the genome's contigs, as lines of BED under the field names.

    The regions are disjoint and ascending within a contig. A file that is cut short or damaged is an error, and so are
    contigs that are not those of the genome.
    """
    try:
        with open_bbi(path, BIGBED) as file:
            fields = [name.decode() for name in _FIELD.findall(file.SQL() or b"")]
            lines = ["#" + "\t".join(fields), *_lines(file, path.name, contigs, regions)]
            example = "" if fields or regions is None else _first_line(file)
    except UnicodeDecodeError as error:
        raise SaeTracksError(f"cannot read {path} as bigBed: it is damaged ({error})") from error
    return Text(path, "\n".join(["", *lines]).encode(), place=_place, example=example.encode())


def _lines(file: Any, name: str, contigs: Contigs, regions: Sequence[GenomicRegion] | None) -> Iterator[str]:
    sizes = file.chroms()
    contigs.check_common(list(sizes), name)
    for theirs, ours in zip(sizes, contigs.translate(list(sizes), name), strict=True):
        whole = [GenomicRegion(ours, 0, sizes[theirs])] if ours in contigs.lengths else []
        here = whole if regions is None else [region for region in regions if region.contig == ours]
        if here:
            contigs.check_length(ours, sizes[theirs], name)
        last = 0
        for start, end in _tiles(here):
            for first, stop, *rest in file.entries(theirs, start, end) or ():
                if first >= last:  # the previous tile has given the others already
                    yield "\t".join([theirs, str(first), str(stop), *filter(None, rest)])
            last = end


def _first_line(file: Any) -> str:
    """The first row of the file; empty if it has none."""
    for contig, size in file.chroms().items():
        for start, end in _tiles([GenomicRegion(contig, 0, size)]):
            for first, stop, *rest in file.entries(contig, start, end) or ():
                return "\t".join([contig, str(first), str(stop), *filter(None, rest)])
    return ""


def _tiles(regions: Sequence[GenomicRegion]) -> Iterator[tuple[int, int]]:
    for region in regions:
        for start in range(region.start, region.end, TILE):
            yield start, min(start + TILE, region.end)


def _place(line: bytes) -> str:
    contig, start, end = line.decode().split("\t")[:3]
    return f"{contig}:{int(start) + 1}-{end}"
