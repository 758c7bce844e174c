"""``sae-tracks view``: the page in a browser, with the tracks."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.options import MotifsOption

log = logging.getLogger(__name__)
TracksOption = Annotated[
    Path | None, typer.Option("--tracks", help="Folder of bigWigs; its BED, GTF, GFF3 and bigBed files are shown too.")
]
BrowserGenomeOption = Annotated[
    Path | None, typer.Option("--genome", help="FASTA of the tracks, plain or bgzip (default: the one they name).")
]
AnnotationOption = Annotated[
    list[Path] | None,
    typer.Option("--annotation", help="Genes, sites, ... to show: BED, GTF, GFF3, bigBed, peaks; repeatable."),
]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog="Example: sae-tracks view scores/ --tracks tracks/ --annotation genes.gtf.gz")(view)


def view(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Scores, tracks, both (also in metrics/ and tracks/), or a page of `report`."
        ),
    ],
    tracks: TracksOption = None,
    genome: BrowserGenomeOption = None,
    annotation: AnnotationOption = None,
    motifs: MotifsOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Browse features beside genes and motifs, on this machine, without a network; Ctrl-C ends it."""
    from sae_tracks.report import serve, view_site

    serve(view_site(folder, tracks, genome, annotation or (), motifs), port, browser=browser, ready=_say)


def _say(url: str) -> None:
    typer.echo(url)
    log.info("Ctrl-C ends it. Only this machine reaches it; from another, ssh -L with the same port on both sides")
