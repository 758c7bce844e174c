"""``sae-tracks pygenometracks``: a track file for pyGenomeTracks."""

import logging
from pathlib import Path
from typing import Annotated

import typer

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("pygenometracks", epilog="Example: sae-tracks pygenometracks tracks/ -o tracks/tracks.ini")(
        pygenometracks
    )


def pygenometracks(
    tracks: Annotated[Path, typer.Argument(metavar="TRACKS", help="Folder of bigWigs and BED files.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file (default: TRACKS/tracks.ini).")] = None,
) -> None:
    """A folder of tracks as pyGenomeTracks draws it: tracks.ini."""
    from sae_tracks.browsers.pygenometracks import write_tracks_ini

    path, command = write_tracks_ini(tracks, out)
    log.info("%s; draw it with %s", path, command)
