"""A VCF of variants that spoil the splice sites on + in a region, each with a control.

The AG before an acceptor becomes AA, and the GT behind a donor AT. The control is the same kind of change, a
transition, 50 bases further into the intron. ID says which.

    python site_variants.py genome.fa.gz sites.bed chr9:1-1,000,000 >variants.vcf
"""

import sys
from pathlib import Path

from sae_tracks import Genome, GenomicRegion

INTRON = {"acceptor": -1, "donor": 1}  # from a site to the intron, along +
AWAY = 50  # bases from a spoiled site to its control
TRANSITION = {"A": "G", "C": "T", "G": "A", "T": "C"}


def main(fasta: str, bed: str, where: str) -> None:
    genome = Genome(fasta)
    region = genome.region(where)
    rows = [line.split("\t") for line in Path(bed).read_text().splitlines()]
    records = set()
    for contig, start, _, kind, _, strand in rows:
        if (contig, strand) == (region.contig, "+") and kind in INTRON and region.start <= int(start) < region.end:
            records.add((int(start) + INTRON[kind], kind))
            records.add((int(start) + (1 + AWAY) * INTRON[kind], f"{kind}_control"))
    sys.stdout.write("##fileformat=VCFv4.2\n")
    sys.stdout.write(f"##contig=<ID={region.contig},length={genome.lengths[region.contig]}>\n")
    sys.stdout.write("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
    for at, name in sorted(records):
        ref = genome.sequence(GenomicRegion(region.contig, at, at + 1)).decode()
        sys.stdout.write(f"{region.contig}\t{at + 1}\t{name}\t{ref}\t{TRANSITION[ref]}\t.\t.\t.\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
