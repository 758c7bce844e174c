"""``sae-tracks publish``: an SAE as a repository of the Hugging Face hub."""

import logging
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from sae_tracks.cli.options import SaePath
from sae_tracks.cli.verb import verb
from sae_tracks.names import counted

log = logging.getLogger(__name__)


@verb(
    """Upload it: sae-tracks publish sae/ -o published/ --scores metrics/ --to me/my-sae --license mit --upload

Example: sae-tracks publish sae/ -o published/ --scores metrics/ --hub tracks/""",
    panel="Share SAEs",
)
def publish(
    sae: SaePath,
    out: Annotated[Path, Option("--out", "-o", help="New folder, in the layout of the hub.")],
    scores: Annotated[Path | None, Option(help="What metrics wrote for this SAE: tables and a page of them.")] = None,
    hub: Annotated[Path | None, Option(help="Folder of tracks of this SAE with the hub.txt that `hub` wrote.")] = None,
    to: Annotated[str | None, Option("--to", metavar="OWNER/NAME", help="Repository on the hub.")] = None,
    upload: Annotated[
        bool, Option("--upload", help="Upload the folder, with the token of `hf auth login`. Needs --to.")
    ] = False,
    license: Annotated[str | None, Option(metavar="ID", help="Licence, by the hub's name, such as mit.")] = None,
) -> None:
    """Write a folder for the Hugging Face hub: the SAE, its scores, its tracks, a model card and checksums.

    SAELens opens the folder as it is. Nothing in it names a folder of this machine. Nothing is uploaded without
    --upload.
    """
    from sae_tracks import publish as write

    made = write(sae, out, scores=scores, hub=hub, to=to, upload=upload, license=license)
    for warning in made.warnings:
        log.warning("%s", warning)
    log.info("%s, %.1f MB in %s", counted(made.files, "file"), made.size / 1e6, made.folder)
    if made.uploaded:
        typer.echo(made.uploaded)
    else:
        log.info("nothing was uploaded; this does it:")
        typer.echo(made.command)
