"""``sae-tracks import-sae``: an SAE of another program as an SAE directory."""

import logging
from pathlib import Path
from typing import Annotated

import typer

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog="Example: sae-tracks import-sae trainer_0/ -o sae/ --model me/my-dna-lm --layer 12")(import_sae)


def import_sae(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="An SAE of SAELens, dictionary_learning, InterPLM or Evo 2."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="SAE directory to write.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="The language model that the SAE reads.")] = None,
    layer: Annotated[int | None, typer.Option(min=1, help="The layer that it reads: 3 is hidden_states[3].")] = None,
    hook: Annotated[str | None, typer.Option(metavar="MODULE", help="Or the module whose output it reads.")] = None,
    k: Annotated[int | None, typer.Option("--k", min=1, help="Features a row, of Evo 2's SAE renamed.")] = None,
) -> None:
    """Import an SAE of another program, its scalings folded into the weights; no pickle is run."""
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
