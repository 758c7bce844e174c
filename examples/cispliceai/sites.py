"""Splice sites, exons and CDS of coding transcripts in a GTF, as BED6.

``acceptor`` is the first base of an exon and ``donor`` the last, in the direction of the strand. The first exon of a
transcript has no acceptor, and the last has no donor. What several transcripts share is written once.

    python sites.py gencode.gtf.gz sites.bed [chr]    the third argument goes before each name of a contig
"""

import gzip
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

Site = tuple[str, int, str, str]  # contig, 0-based position, kind, strand
Exons = dict[tuple[str, str, str], list[tuple[int, int]]]  # by contig, strand, transcript; 0-based half-open
CODING = re.compile(r'transcript_(?:bio)?type "protein_coding"')
TRANSCRIPT = re.compile(r'transcript_id "([^"]+)"')


def coding_rows(gtf: Path, kind: str = "exon") -> Exons:
    """Exons of each coding transcript, or its rows of CDS, in the order of the file."""
    rows = defaultdict(list)
    with gzip.open(gtf, "rt") as file:
        for line in file:
            columns = line.split("\t")
            if len(columns) == 9 and columns[2] == kind and CODING.search(columns[8]):
                name = TRANSCRIPT.findall(columns[8])[0]
                rows[columns[0], columns[6], name].append((int(columns[3]) - 1, int(columns[4])))
    return rows


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
        for (contig, strand, _), exons in coding_rows(gtf).items()
        for position, kind in sites_of(exons, strand)
    }
    return sorted(found)


def main(gtf: str, bed: str, prefix: str = "") -> None:
    found = {(contig, at, at + 1, kind, strand) for contig, at, kind, strand in read_sites(Path(gtf))}
    for kind in ("exon", "CDS"):
        for (contig, strand, _), rows in coding_rows(Path(gtf), kind).items():
            found.update((contig, start, end, kind, strand) for start, end in rows)
    lines = [f"{prefix}{contig}\t{a}\t{b}\t{kind}\t0\t{strand}\n" for contig, a, b, kind, strand in sorted(found)]
    Path(bed).write_text("".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
