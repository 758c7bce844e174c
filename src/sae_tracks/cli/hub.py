"""``sae-tracks hub``: a UCSC track hub."""

import logging
from pathlib import Path
from typing import Annotated

import typer

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("hub", epilog="Example: sae-tracks hub tracks/ --assembly hg38 --url https://example.org/tracks")(hub)


def hub(
    tracks: Annotated[Path, typer.Argument(metavar="TRACKS", help="Folder of bigWigs.")],
    assembly: Annotated[str | None, typer.Option(help="UCSC's name of the genome, such as hg38.")] = None,
    genome: Annotated[Path | None, typer.Option(help="FASTA of a genome that UCSC does not have.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the hub (default: TRACKS).")] = None,
    email: Annotated[str | None, typer.Option(help="Whom the hub's users may ask; UCSC wants an address.")] = None,
    url: Annotated[str | None, typer.Option(help="Where the hub's folder will be served: prints the link.")] = None,
) -> None:
    """A UCSC track hub over a folder of bigWigs."""
    from sae_tracks.genome import Genome
    from sae_tracks.hub import NO_EMAIL, write_hub

    fasta = Genome(genome) if genome else None
    written = write_hub(tracks, out, assembly=assembly, genome=fasta, email=email or NO_EMAIL)
    log.info("hub of %d tracks in %s; serve it over HTTPS with byte ranges", written.tracks, written.path)
    if url:
        typer.echo(written.link(url))
