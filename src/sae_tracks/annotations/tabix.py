"""The rows of a bgzip file that its tabix index finds for some regions."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pysam

from sae_tracks.annotations.alias import Contigs
from sae_tracks.annotations.bed import layout_of
from sae_tracks.annotations.gtf import is_gff
from sae_tracks.annotations.text import Text, check_last_block, is_bgzip, read_text
from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import GenomicRegion

log = logging.getLogger(__name__)


def index_of(path: Path) -> Path | None:
    """The .tbi or .csi beside a bgzip file, if there is one that is not older than the file."""
    beside = [index for end in (".tbi", ".csi") if (index := Path(f"{path}{end}")).is_file()]
    if not beside or not path.is_file():
        return None
    with path.open("rb") as file:
        if not is_bgzip(file.read(18)):
            return None
    if beside[0].stat().st_mtime_ns < path.stat().st_mtime_ns:
        log.info("%s is older than %s: the whole file is read (tabix -f makes a new index)", beside[0].name, path.name)
        return None
    return beside[0]


def fetch(path: Path, index: Path, contigs: Contigs, regions: Sequence[GenomicRegion]) -> Text:
    """The header and the rows that overlap the regions, in the order of the file.

    Of a GTF or GFF3 all rows on the regions' contigs are read: a splice site comes of exons that may lie elsewhere.

    Parameters
    ----------
    regions : sequence of GenomicRegion
        Disjoint and ascending within a contig.

    Raises
    ------
    SaeTracksError
        The file or its index cannot be read, is cut short, or has no contig in common with the genome.
    """
    with path.open("rb") as file:
        file.seek(-min(28, path.stat().st_size), 2)
        check_last_block(path, file.read())
    try:
        with pysam.TabixFile(str(path), index=str(index), encoding="utf-8") as file:
            contigs.check_common(file.contigs, path.name)
            lines = [line.rstrip("\r") for line in (*file.header, *_rows(file, path, contigs, regions))]
    except SaeTracksError:  # a ValueError too, and says enough
        raise
    except (OSError, ValueError) as error:
        raise SaeTracksError(f"cannot read {path} by {index.name}: tabix -f makes a new index ({error})") from error
    return Text(path, "\n".join(["", *lines]).encode(), place=lambda line: _place(path, line))


def _rows(file: pysam.TabixFile, path: Path, contigs: Contigs, regions: Sequence[GenomicRegion]) -> Iterator[str]:
    head = Text(path, "\n".join(["", *file.header, next(file.fetch(), "")]).encode())
    start = layout_of(head.first(), head.names).start
    for theirs, ours in zip(file.contigs, contigs.translate(file.contigs, path.name), strict=True):
        here = [region for region in regions if region.contig == ours]
        if here and is_gff(head):
            yield from file.fetch(theirs)
            continue
        last = 0
        for region in here:
            for row in file.fetch(theirs, region.start, region.end):
                if not last or not _is_before(row, start, last):
                    yield row
            last = region.end


def _is_before(row: str, column: int, position: int) -> bool:
    """Whether a row starts before a position: then the region before has given it already."""
    text = row.split("\t", column + 1)[column]
    return text.isdecimal() and int(text) < position


def _place(path: Path, line: bytes) -> str:
    """The number of a line, looked for in the whole file."""
    number = read_text(path).lines.split(b"\n").index(line)
    return f"line {number:,}"
