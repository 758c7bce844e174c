"""Put FASTA records that are regions of chromosomes back to their positions.

A record ``chr22_20000000_21000000`` becomes ``chr22``: 20,000,000 N, the sequence, and N up to the end of the
chromosome if ``--sizes`` (chrom.sizes) has it. All later steps then have true coordinates. bgzip makes the N small.
Writes a bgzip FASTA, and a BED of the placed regions.

    python place_regions.py --sizes hg19.chrom.sizes out.fa.gz placed.bed chr1=a.fa.gz:1 chr22=b.fa.gz:part:20000000
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import pysam

LINE = 60


def lines(sequence: str, start: int, end: int) -> Iterator[str]:
    """Yield the lines of a contig of `end` bases, of 60 bases each: N, the sequence from `start` on, N."""
    blank = "N" * LINE
    middle = "N" * (start % LINE) + sequence
    middle += "N" * min(-len(middle) % LINE, end - start - len(sequence))
    after = end - start // LINE * LINE - len(middle)
    yield from (blank for _ in range(start // LINE))
    yield from (middle[i : i + LINE] for i in range(0, len(middle), LINE))
    yield from (blank for _ in range(after // LINE))
    if after % LINE:
        yield "N" * (after % LINE)


def place(fasta: Path, bed: Path, placements: list[str], sizes: dict[str, int]) -> None:
    """Write the FASTA, and the BED of its known parts."""
    with pysam.BGZFile(str(fasta), "wb") as out, bed.open("w") as placed:
        for placement in placements:
            contig, _, source = placement.partition("=")
            path, record, *offset = source.split(":")
            start = int(offset[0]) if offset else 0
            if not path or start < 0:
                sys.exit(f"{placement}: write CONTIG=FASTA:RECORD[:START], with a start of at least 0")
            with pysam.FastaFile(path) as file:
                sequence = file.fetch(record)
            end = start + len(sequence)
            if sizes.get(contig, end) < end:
                sys.exit(f"{placement}: ends at {end:,}, but {contig} has {sizes[contig]:,} bases")
            out.write(f">{contig}\n".encode())
            for line in lines(sequence, start, sizes.get(contig, end)):
                out.write(f"{line}\n".encode())
            placed.write(f"{contig}\t{start}\t{end}\n")
    pysam.faidx(str(fasta))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fasta", type=Path)
    parser.add_argument("bed", type=Path)
    parser.add_argument("placements", nargs="+", metavar="CONTIG=FASTA:RECORD[:START]")
    parser.add_argument("--sizes", type=Path)
    words = parser.parse_args()
    try:
        rows = [line.split() for line in words.sizes.read_text().splitlines()] if words.sizes else []
        place(words.fasta, words.bed, words.placements, {row[0]: int(row[1]) for row in rows})
    except (OSError, KeyError, ValueError, IndexError, pysam.SamtoolsError) as error:
        sys.exit(f"place_regions.py: {error}")
