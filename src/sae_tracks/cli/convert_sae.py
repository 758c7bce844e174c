"""``sae-tracks import-sae`` and ``export-sae``: SAEs of other programs, and SAEs for them."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.options import SaePath

log = logging.getLogger(__name__)


class Program(StrEnum):
    """The program for which an SAE is written."""

    saelens = "saelens"
    dictionary_learning = "dictionary_learning"


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog="Example: sae-tracks import-sae trainer_0/ -o sae/ --model me/my-dna-lm --layer 12")(import_sae)
    app.command(epilog="Example: sae-tracks export-sae sae/ --to dictionary_learning -o trainer_0/")(export_sae)


def import_sae(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="SAE of SAELens, sparsify, dictionary_learning, InterPLM or Evo 2."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="SAE directory to write.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Language model that the SAE reads.")] = None,
    layer: Annotated[int | None, typer.Option(min=1, help="Layer that it reads: 3 is hidden_states[3].")] = None,
    hook: Annotated[
        str | None, typer.Option(metavar="MODULE", help="Module whose output it reads, instead of a layer.")
    ] = None,
    k: Annotated[int | None, typer.Option("--k", min=1, help="Features per row, for a renamed SAE of Evo 2.")] = None,
) -> None:
    """Import an SAE of another program; scalings are folded into its weights, and no pickle is run."""
    from sae_tracks.sae import interop

    found = interop.import_sae(source, out, model=model, layer=layer, hook=hook, k=k)
    sae = found.sae
    sizes = (sae.architecture, sae.d_sae, sae.d_in)
    log.info("%s: %s, %d features of %d channels, from %s of %s", out, *sizes, found.file, found.format)
    if found.note:
        log.warning("%s: %s", found.format, found.note)
    if sae.stats is None:
        log.info("the features' maxima are not known: thresholds need --scale raw")
    if "lm" not in sae.metadata:
        log.info(
            "which model and layer it reads is not known, so no mismatch is noticed: import it with --model, --layer"
        )


def export_sae(
    sae: SaePath,
    to: Annotated[Program, typer.Option("--to", help="Program that will open the SAE.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
) -> None:
    """Write an SAE so that another program opens it and computes the same features."""
    from sae_tracks.sae import interop, load_sae

    name = interop.export_sae(load_sae(sae), out, to.value)
    log.info("%s in %s", name, out)
