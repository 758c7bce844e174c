"""``sae-tracks export-sae``: an SAE for other programs."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.options import SaePath

log = logging.getLogger(__name__)


class Program(StrEnum):
    """Who shall read it."""

    saelens = "saelens"
    dictionary_learning = "dictionary_learning"


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog="Example: sae-tracks export-sae sae/ --to dictionary_learning -o trainer_0/")(export_sae)


def export_sae(
    sae: SaePath,
    to: Annotated[Program, typer.Option("--to", help="The program that shall open it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
) -> None:
    """Write an SAE so that another program opens it and computes the same features."""
    from sae_tracks.sae import interop, load_sae

    name = interop.export_sae(load_sae(sae), out, to.value)
    log.info("%s in %s", name, out)
