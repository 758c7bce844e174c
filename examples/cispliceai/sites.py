"""Splice sites of coding transcripts in a GTF, as BED6: ``acceptor`` is the first base of an exon, ``donor`` the last.

Exons are taken in the direction of their strand. The first exon of a transcript has no acceptor, and the last has no
donor. A site of several transcripts is written once.

    python sites.py gencode.gtf.gz sites.bed [chr]    the third argument goes before each name of a contig
"""

import gzip
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

Site = tuple[str, int, str, str]  # contig, 0-based position, kind, strand
CODING = re.compile(r'transcript_(?:bio)?type "protein_coding"')
TRANSCRIPT = re.compile(r'transcript_id "([^"]+)"')


def coding_exons(gtf: Path) -> dict[tuple[str, str, str], list[tuple[int, int]]]:
    """Exons of each coding transcript (contig, strand, id), 0-based half-open, in the order of the file."""
    exons = defaultdict(list)
    with gzip.open(gtf, "rt") as file:
        for line in file:
            columns = line.split("\t")
            if len(columns) == 9 and columns[2] == "exon" and CODING.search(columns[8]):
                name = TRANSCRIPT.findall(columns[8])[0]
                exons[columns[0], columns[6], name].append((int(columns[3]) - 1, int(columns[4])))
    return exons


def sites_of(exons: list[tuple[int, int]], strand: str) -> Iterator[tuple[int, str]]:
    """Position and kind of the sites between the exons of one transcript."""
    exons = sorted(exons)
    left, right = ("donor", "acceptor") if strand == "+" else ("acceptor", "donor")
    for (_, end), (start, _) in zip(exons, exons[1:]):
        yield end - 1, left
        yield start, right


def read_sites(gtf: Path) -> list[Site]:
    """All sites of a GTF, ascending."""
    found = {
        (contig, position, kind, strand)
        for (contig, strand, _), exons in coding_exons(gtf).items()
        for position, kind in sites_of(exons, strand)
    }
    return sorted(found)


def main(gtf: str, bed: str, prefix: str = "") -> None:
    rows = [
        f"{prefix}{contig}\t{at}\t{at + 1}\t{kind}\t0\t{strand}\n" for contig, at, kind, strand in read_sites(Path(gtf))
    ]
    Path(bed).write_text("".join(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
