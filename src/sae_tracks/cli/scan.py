"""``sae-tracks scan``: the sites of motifs in a genome."""

import logging
from typing import Annotated

from typer import Option

from sae_tracks.cli.options import RELEASE, GenomePath, MatricesOption, RegionOptions, ThreadsOption, out_file
from sae_tracks.cli.verb import verb
from sae_tracks.names import counted

log = logging.getLogger(__name__)


@verb("Example: sae-tracks scan hg38.fa -r chr14 -o sites.bed.gz --motifs JASPAR2024.pfm", panel="Models and data")
def scan(
    genome: GenomePath,
    out: Annotated[str, out_file("BED file to write; .bed.gz is bgzip with an index, - is stdout.")],
    motifs: MatricesOption = RELEASE,
    matrix: Annotated[list[str] | None, Option(help="Only this matrix ID, such as MA0139.2; repeatable.")] = None,
    *,
    where: RegionOptions,
    p_value: Annotated[float, Option(help="Largest p-value of a site; 1e-4 is score 400.")] = 1e-4,
    min_relative: Annotated[float, Option(help="Smallest relative score of a site, 0 to 1.")] = 0.8,
    threads: ThreadsOption = None,
) -> None:
    """Find motif sites by the rule of the JASPAR tracks.

    The file is sorted BED6+1: matrix ID, -log10(p) x 100, strand, TF name.
    """
    from sae_tracks import Genome
    from sae_tracks.motifs import Scanner, chosen_motifs, named_motifs, write_sites

    chosen, source = named_motifs(motifs)
    if matrix:
        chosen = chosen_motifs(chosen, source, matrix)
    fasta = Genome(genome)
    scanner = Scanner(chosen, p=p_value, relative=min_relative, threads=threads)
    facts = {"motifs_from": source, "p_value": p_value, "min_relative": min_relative}
    count = write_sites(fasta, scanner, out, where.regions_in(fasta), facts)
    sites, place = counted(count, "site"), "stdout" if out == "-" else out
    log.info("%s of %s in %s", sites, counted(len(chosen), "motif"), place)
