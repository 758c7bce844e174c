"""Put FASTA records that are regions of chromosomes back to their positions.

A record ``chr22_20000000_21000000`` becomes ``chr22``: 20,000,000 N, then the sequence. All later steps then have true
coordinates. bgzip makes the N small. Writes a bgzip FASTA, and a BED of the placed regions.

    python place_regions.py out.fa.gz placed.bed chr1=a.fa.gz:chr1 chr22=b.fa.gz:chr22_20000000_21000000:20000000
"""

import sys
from collections.abc import Iterator

import pysam

LINE = 60


def lines(sequence: str, n: int) -> Iterator[str]:
    """Yield the lines of a contig of n unknown bases and a sequence, with 60 bases per line."""
    blank = "N" * LINE + "\n"
    yield from (blank for _ in range(n // LINE))
    text = "N" * (n % LINE) + sequence
    yield from (text[i : i + LINE] + "\n" for i in range(0, len(text), LINE))


def main(fasta: str, bed: str, *placements: str) -> None:
    with pysam.BGZFile(fasta, "wb") as out, open(bed, "w") as placed:  # noqa: PTH123
        for placement in placements:
            contig, _, source = placement.partition("=")
            path, record, *offset = source.split(":")
            start = int(offset[0]) if offset else 0
            with pysam.FastaFile(path) as file:
                sequence = file.fetch(record)
            out.write(f">{contig}\n".encode())
            for line in lines(sequence, start):
                out.write(line.encode())
            placed.write(f"{contig}\t{start}\t{start + len(sequence)}\n")
    pysam.faidx(fasta)


if __name__ == "__main__":
    main(*sys.argv[1:])
