"""``sae-tracks hub``: a UCSC track hub."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.view import AnnotationOption

NamesOption = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="TABLE",
        help="metrics.tsv or .parquet: features are named after supported matches, or repeats; the best come first.",
    ),
]
EPILOG = """With names: sae-tracks hub tracks/ --assembly hg38 --from scores/metrics.tsv --annotation sites.bed

Example: sae-tracks hub tracks/ --assembly hg38 --url https://example.org/tracks"""
log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("hub", epilog=EPILOG)(hub)


def hub(
    tracks: Annotated[
        Path, typer.Argument(metavar="TRACKS", help="Folder of bigWigs; its BED and bigBed files are shown too.")
    ],
    assembly: Annotated[str | None, typer.Option(help="UCSC's name of the genome, such as hg38.")] = None,
    genome: Annotated[Path | None, typer.Option(help="FASTA of a genome that UCSC does not have.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the hub (default: TRACKS).")] = None,
    scores: NamesOption = None,
    annotation: AnnotationOption = None,
    email: Annotated[str | None, typer.Option(help="Whom the hub's users may ask; UCSC wants an address.")] = None,
    url: Annotated[str | None, typer.Option(help="Where the hub's folder will be served: prints the link.")] = None,
) -> None:
    """A UCSC track hub over a folder of bigWigs, with the annotation beside them."""
    from sae_tracks.browsers.hub import NO_EMAIL, write_hub
    from sae_tracks.genome import Genome

    fasta = Genome(genome) if genome else None
    written = write_hub(
        tracks,
        out,
        assembly=assembly,
        genome=fasta,
        email=email or NO_EMAIL,
        scores=scores,
        annotations=annotation or (),
    )
    path, held = written.path, (written.tracks, written.annotations)
    log.info("hub (tracks: %d, annotations: %d) in %s; sae-tracks check-hub %s looks it over", *held, path, path)
    log.info(
        "UCSC reads it from a web server that speaks HTTPS and answers byte ranges: "
        "curl -s -o /dev/null -w '%%{http_code}' -r 0-9 URL says 206"
    )
    log.info("until then, sae-tracks view %s shows the tracks on this machine", tracks)
    if url:
        typer.echo(written.link(url))
    else:
        log.info("--url https://... prints the browser's link")
