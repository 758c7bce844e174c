"""``sae-tracks igv``: sessions for IGV."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.hub import NamesOption

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("igv", epilog="Example: sae-tracks igv tracks/ --genome hg38 -o tracks/session")(igv)


def igv(
    tracks: Annotated[Path, typer.Argument(metavar="TRACKS", help="Folder of bigWigs and BED files.")],
    genome: Annotated[str, typer.Option(help="IGV's id of the genome, such as hg38, or a FASTA.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Writes OUT.xml and OUT.json (default: TRACKS/session).")
    ] = None,
    locus: Annotated[
        str | None, typer.Option(help="Where it opens (default: where the first track is highest).")
    ] = None,
    scores: NamesOption = None,
) -> None:
    """Sessions of a folder of tracks: XML for IGV on the desktop, JSON for igv.js."""
    from sae_tracks.browsers.igv import write_sessions

    desktop, web = write_sessions(tracks, genome, out, locus, scores)
    log.info("open %s in IGV, or load %s with igv.js", desktop, web)
