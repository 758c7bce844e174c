"""The Typer application: every verb in the order of the work."""

import typer

from sae_tracks import __version__
from sae_tracks.cli import (
    browsers,
    check_model,
    check_seams,
    convert_sae,
    evaluate,
    export_bed,
    export_bigwig,
    extract,
    fetch,
    info,
    merge_metrics,
    metrics,
    plot,
    pretrain,
    report,
    scan,
    shuffle,
    train,
)
from sae_tracks.cli import demo as demo_verb

app = typer.Typer(
    name="sae-tracks",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"sae-tracks {__version__}")
        raise typer.Exit


@app.callback(epilog="Any verb takes --debug, which shows the traceback of an error.")
def sae_tracks(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Sparse autoencoder features of gene language models as genome tracks."""


for verbs in (
    fetch,
    check_model,
    extract,
    shuffle,
    train,
    convert_sae,
    evaluate,
    info,
    check_seams,
    export_bigwig,
    export_bed,
    scan,
    metrics,
    merge_metrics,
    report,
    browsers,
    plot,
    pretrain,
    demo_verb,
):
    verbs.add_to(app)
