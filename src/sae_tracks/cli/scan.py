"""``sae-tracks scan``: the sites of motifs in a genome."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sae_tracks.cli.options import GenomePath, RegionOption, RegionsOption, ThreadsOption, parse_regions
from sae_tracks.errors import SaeTracksError

if TYPE_CHECKING:
    from sae_tracks.motifs import Motif

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog="Example: sae-tracks scan hg38.fa -r chr14 -o sites.bed.gz --motifs JASPAR2024.pfm")(scan)


def scan(
    genome: GenomePath,
    out: Annotated[str, typer.Option("--out", "-o", help="BED file; .bed.gz is bgzip with an index, - is stdout.")],
    motifs: Annotated[Path | None, typer.Option(help="File of matrices: JASPAR, PFM or MEME format.")] = None,
    release: Annotated[
        str | None, typer.Option(help="JASPAR release, vertebrate CORE, from pyjaspar (default: JASPAR2024).")
    ] = None,
    matrix: Annotated[list[str] | None, typer.Option(help="Only this matrix ID, such as MA0139.2; repeatable.")] = None,
    region: RegionOption = None,
    regions: RegionsOption = None,
    p_value: Annotated[float, typer.Option(help="Highest p-value of a site; 1e-4 is score 400.")] = 1e-4,
    min_relative: Annotated[float, typer.Option(help="Lowest relative score of a site, 0 to 1.")] = 0.8,
    threads: ThreadsOption = None,
) -> None:
    """Motif sites by the rule of the JASPAR tracks, as sorted BED6+1: matrix ID, -log10(p) x 100, strand, TF name."""
    from sae_tracks.genome import Genome
    from sae_tracks.motifs import Scanner, write_sites

    chosen, source = _motifs(motifs, release)
    if matrix:
        chosen = _only(chosen, matrix, source)
    fasta = Genome(genome)
    scanner = Scanner(chosen, p=p_value, relative=min_relative, threads=threads)
    facts = {"motifs_from": source, "p_value": p_value, "min_relative": min_relative}
    count = write_sites(fasta, scanner, out, parse_regions(fasta, region, regions), facts)
    log.info("%d sites of %d motifs in %s", count, len(chosen), "stdout" if out == "-" else out)


def _motifs(file: Path | None, release: str | None) -> "tuple[list[Motif], dict[str, str]]":
    """The motifs asked for, and what the provenance says of where they are from."""
    from sae_tracks.files import sha256
    from sae_tracks.motifs import jaspar_motifs, read_motifs
    from sae_tracks.motifs.jaspar import RELEASE

    if file and release:
        raise SaeTracksError("--motifs and --release name two sources of motifs: give one of them")
    if file:
        return read_motifs(file), {"file": file.name, "sha256": sha256(file)}
    return jaspar_motifs(release or RELEASE), {"release": release or RELEASE}


def _only(motifs: "list[Motif]", wanted: list[str], source: dict[str, str]) -> "list[Motif]":
    """The motifs with these matrix IDs, in the order of their source."""
    where = source.get("file") or source["release"]
    known = {motif.matrix_id for motif in motifs}
    for name in wanted:
        if name not in known:
            near = sorted(i for i in known if i.partition(".")[0] == name.partition(".")[0])
            hint = f"it has {', '.join(near)}" if near else f"its {len(known)} IDs look like {min(known)}"
            raise SaeTracksError(f"no matrix {name!r} in {where}: {hint}")
    return [motif for motif in motifs if motif.matrix_id in wanted]
