"""The Typer application: every verb in the order of the work."""

import typer

from sae_tracks import __version__
from sae_tracks.cli import (
    check_hub,
    check_model,
    check_seams,
    evaluate,
    export_bed,
    export_bigwig,
    export_sae,
    extract,
    fetch,
    hub,
    igv,
    import_sae,
    info,
    merge_bigwig,
    merge_metrics,
    metrics,
    plot,
    pretrain,
    pygenometracks,
    report,
    scan,
    shuffle,
    train,
    view,
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


for verb in (
    fetch,
    check_model,
    extract,
    shuffle,
    train,
    import_sae,
    export_sae,
    evaluate,
    info,
    check_seams,
    export_bigwig,
    merge_bigwig,
    export_bed,
    scan,
    metrics,
    merge_metrics,
    report,
    view,
    hub,
    check_hub,
    igv,
    pygenometracks,
    plot,
    pretrain,
    demo_verb,
):
    verb.add_to(app)
