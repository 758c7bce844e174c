"""``sae-tracks report`` and ``view``: scores, controls and tracks as a page, written or served on this machine."""

import logging
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from sae_tracks.cli.options import MotifsOption, ShownAnnotationsOption, out_folder
from sae_tracks.cli.verb import verb
from sae_tracks.names import counted

TracksOption = Annotated[
    Path | None, Option("--tracks", help="Folder of bigWigs. Its BED, GTF, GFF3 and bigBed files are shown too.")
]
BrowserGenomeOption = Annotated[
    Path | None, Option("--genome", help="FASTA of the tracks, plain or bgzip (default: the one in their provenance).")
]
ExplainedOption = Annotated[
    list[Path] | None,
    Option(
        "--explained",
        metavar="FOLDER",
        help="What describe, motifs, atlas or compare wrote; repeatable (default: what of it lies beside the scores).",
    ),
]
log = logging.getLogger(__name__)


@verb("Example: sae-tracks report scores/ --motifs JASPAR2024.pfm --figure f357.png -o site/", panel="Look at results")
def report(
    scores: Annotated[Path, Argument(metavar="SCORES", help="Folder that `sae-tracks metrics` wrote.")],
    out: Annotated[Path, out_folder("Folder for index.html and its files.")],
    motifs: MotifsOption = None,
    figure: Annotated[
        list[Path] | None,
        Option("--figure", help="Picture to show, such as one of `plot activation`: PNG, JPEG, SVG; repeatable."),
    ] = None,
    title: Annotated[str | None, Option(help="Heading of the page.")] = None,
    tracks: TracksOption = None,
    genome: BrowserGenomeOption = None,
    annotation: ShownAnnotationsOption = None,
    explained: ExplainedOption = None,
) -> None:
    """Write a static page of scores: what features match or follow, and what else explains it.

    The page opens without a network. With --tracks it is the page that `view` shows: tracks and FASTA are copied, and
    the page needs a web server that supports byte ranges.
    """
    from sae_tracks.report import TITLE, choose_tracks, write_report

    chosen = choose_tracks(tracks, genome, annotation or ())
    made = write_report(
        scores, out, chosen, motifs=motifs, figures=figure or (), title=title or TITLE, explained=explained or ()
    )
    path = out / "index.html"
    matches, signals, logos = made.matches, counted(made.signals, "signal"), counted(made.logos, "logo")
    supported = f"{counted(matches, 'match', 'matches')}, {made.supported:,} of them supported"
    log.info("%s, %s, %s: %s", supported, signals, logos, path)
    if tracks:
        log.info("it needs a web server: sae-tracks view %s, or any server that supports byte ranges", out)


@verb("Example: sae-tracks view scores/ --tracks tracks/ --annotation genes.gtf.gz", panel="Look at results")
def view(
    folder: Annotated[
        Path,
        Argument(
            metavar="DIR",
            help="Folder of scores, tracks, or both (in metrics/ and tracks/), or a page that `report` wrote.",
        ),
    ],
    tracks: TracksOption = None,
    genome: BrowserGenomeOption = None,
    annotation: ShownAnnotationsOption = None,
    motifs: MotifsOption = None,
    explained: ExplainedOption = None,
    port: Annotated[int, Option(min=0, max=65535, help="Port of the page; 0 uses a free port.")] = 0,
    browser: Annotated[bool, Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Show scores and tracks in a browser on this machine, beside genes and motifs.

    Needs no network. Ctrl-C ends it.
    """
    from sae_tracks.report import serve, view_site

    site = view_site(folder, tracks, genome, annotation or (), motifs, explained or ())
    serve(site, port, browser=browser, ready=_announce)


def _announce(url: str) -> None:
    typer.echo(url)
    log.info(
        "Ctrl-C ends it. Only this machine reaches it. On another machine, use ssh -L with this port on both sides"
    )
