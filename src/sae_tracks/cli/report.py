"""``sae-tracks report``: one page of scores and controls."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.options import MotifsOption
from sae_tracks.cli.view import AnnotationOption, BrowserGenomeOption, TracksOption

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog="Example: sae-tracks report scores/ --motifs JASPAR2024.pfm --figure f357.png -o site/")(report)


def report(
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="Folder that `sae-tracks metrics` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of index.html and what belongs to it.")],
    motifs: MotifsOption = None,
    figure: Annotated[
        list[Path] | None,
        typer.Option("--figure", help="Picture to show, such as one of `plot activation`: PNG, JPEG, SVG; repeatable."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    tracks: TracksOption = None,
    genome: BrowserGenomeOption = None,
    annotation: AnnotationOption = None,
) -> None:
    """One static page: what each feature matches, beside what else explains it.

    It opens without a network. With --tracks it is the page of `view`: tracks and FASTA are copied, and any web server
    that gives byte ranges shows it.
    """
    from sae_tracks.report import TITLE, choose_tracks, write_report

    chosen = choose_tracks(tracks, genome, annotation or ())
    made = write_report(scores, out, chosen, motifs=motifs, figures=figure or (), title=title or TITLE)
    path = out / "index.html"
    log.info("%d matches, %d of them supported, %d logos: %s", made.matches, made.supported, made.logos, path)
    if tracks:
        log.info("it needs a web server: sae-tracks view %s, or any that gives byte ranges", out)
