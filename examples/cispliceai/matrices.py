"""Count matrices of the annotated splice sites of a region, both strands, in JASPAR's format.

Acceptors have 20 bases of the intron and 3 of the exon, donors 3 of the exon and 6 of the intron.

    python matrices.py genome.fa.gz sites.bed chr1:800,001-1,000,000 >sites.pfm
"""

import sys
from pathlib import Path

import numpy as np

from sae_tracks import Genome, GenomicRegion
from sae_tracks.dna import NUCLEOTIDES, reverse_complement

AROUND = {"acceptor": (20, 3), "donor": (2, 7)}  # bases before the site's own base, and from it on, along its strand


def counts_of(genome: Genome, rows: list[list[str]], region: GenomicRegion, kind: str) -> np.ndarray:
    """(4, w) how often A, C, G and T stand around the sites of one kind."""
    before, behind = AROUND[kind]
    letters = []
    for contig, start, _, name, _, strand in rows:
        at = int(start)
        if (contig, name) == (region.contig, kind) and region.start <= at < region.end:
            first = at - before if strand == "+" else at - behind + 1
            sequence = genome.sequence(GenomicRegion(contig, first, first + before + behind))
            letters.append((sequence if strand == "+" else reverse_complement(sequence)).decode())
    return np.array([[column.count(base) for column in zip(*letters)] for base in NUCLEOTIDES])


def main(fasta: str, bed: str, where: str) -> None:
    genome = Genome(fasta)
    rows = [line.split("\t") for line in Path(bed).read_text().splitlines()]
    for kind in AROUND:
        sys.stdout.write(f">{kind}\n")
        for base, counts in zip(NUCLEOTIDES, counts_of(genome, rows, genome.region(where), kind)):
            sys.stdout.write(f"{base} [ {' '.join(map(str, counts))} ]\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
