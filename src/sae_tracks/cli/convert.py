"""``sae-tracks import-sae`` and ``export-sae``: SAEs of other programs, and SAEs for them."""

import logging
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from sae_tracks.cli.options import SaePath, out_folder
from sae_tracks.cli.verb import verb

log = logging.getLogger(__name__)


@verb(
    "Example: sae-tracks import-sae trainer_0/ -o sae/ --model me/my-dna-lm --layer 12", panel="SAEs of other programs"
)
def import_sae(
    source: Annotated[
        Path, Argument(metavar="SOURCE", help="SAE of SAELens, sparsify, dictionary_learning, InterPLM or Evo 2.")
    ],
    out: Annotated[Path, out_folder("SAE directory to write.")],
    model: Annotated[
        str | None, Option("--model", "-m", help="Language model whose activations the SAE reads.")
    ] = None,
    layer: Annotated[int | None, Option(min=1, help="Layer that the SAE reads; 3 is hidden_states[3].")] = None,
    hook: Annotated[
        str | None, Option(metavar="MODULE", help="Module whose output the SAE reads, instead of a layer.")
    ] = None,
    k: Annotated[
        int | None,
        Option("--k", min=1, help="Active features per row. Only for an SAE of Evo 2 whose file was renamed."),
    ] = None,
) -> None:
    """Import an SAE of another program. Its features keep their values. No pickle is run."""
    from sae_tracks.sae import interop

    found = interop.import_sae(source, out, model=model, layer=layer, hook=hook, k=k)
    sae = found.sae
    sizes = (sae.architecture, sae.d_sae, sae.d_in)
    log.info("%s: %s, %d features of %d dimensions, from %s of %s", out, *sizes, found.file, found.format)
    if found.note:
        log.warning("%s: %s", found.format, found.note)
    if sae.stats is None:
        log.info("the features' maxima are not known: thresholds need --scale raw")
    if "lm" not in sae.metadata:
        log.info("its model and layer are not known, so it cannot read a genome: import it with --model and --layer")


@verb("Example: sae-tracks export-sae sae/ --to dictionary_learning -o trainer_0/", panel="SAEs of other programs")
def export_sae(
    sae: SaePath,
    to: Annotated[Literal["saelens", "dictionary_learning"], Option("--to", help="Program that will open the SAE.")],
    out: Annotated[Path, out_folder("Folder to write.")],
) -> None:
    """Write an SAE so that another program opens it and computes the same features."""
    from sae_tracks.sae import interop, load_sae

    log.info("%s in %s", interop.export_sae(load_sae(sae), out, to), out)
