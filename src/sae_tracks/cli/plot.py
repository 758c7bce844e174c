"""``sae-tracks plot``: the paper's figures."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.options import (
    ContextOption,
    DeviceOption,
    GenomePath,
    MismatchOption,
    ModelOption,
    ReadStrands,
    SaePath,
    ThreadsOption,
    TrustRemoteCodeOption,
    WindowOption,
    use_threads,
)
from sae_tracks.errors import SaeTracksError

log = logging.getLogger(__name__)
FigurePath = Annotated[Path, typer.Option("--out", "-o", help="Figure to write: .png, .pdf or .svg.")]


def add_to(app: typer.Typer) -> None:
    """Register the verb and its two figures."""
    plots = typer.Typer(no_args_is_help=True, help="The paper's figures as PNG, PDF or SVG.")
    plots.command(
        "activation",
        epilog="Example: sae-tracks plot activation sae/ hg38.fa -r chr14:87049332-87049831 -f 357 -o a.png",
    )(activation)
    plots.command("scores", epilog="Example: sae-tracks plot scores metrics/metrics.tsv -o scores.pdf")(scores)
    app.add_typer(plots, name="plot")


def activation(
    sae: SaePath,
    genome: GenomePath,
    region: Annotated[str, typer.Option("--region", "-r", help="chr14:87,049,332-87,049,831 (1-based inclusive).")],
    feature: Annotated[int, typer.Option("--feature", "-f", help="Feature id.")],
    out: FigurePath,
    base: Annotated[str | None, typer.Option(help="Base to mark (default: where the feature is strongest).")] = None,
    read_strand: Annotated[ReadStrands, typer.Option(help="+ or -.")] = ReadStrands.forward,
    model: ModelOption = None,
    window_size: WindowOption = None,
    context: ContextOption = None,
    allow_mismatch: MismatchOption = False,
    trust_remote_code: TrustRemoteCodeOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """A feature's activation along a region, one base marked (the paper's Fig. 2)."""
    from sae_tracks.figures import plot_activation, save_figure
    from sae_tracks.genome import Genome
    from sae_tracks.sae import load_sae
    from sae_tracks.source import Source, sae_language_model

    if read_strand is ReadStrands.both:
        raise SaeTracksError("a figure shows one read strand: --read-strand + or -")
    use_threads(threads)
    fasta, loaded = Genome(genome), load_sae(sae)
    place = fasta.region(region)
    lm = sae_language_model(loaded, model, device, trust_remote_code)
    source = Source(lm, loaded, fasta, [place], read_strand.each, window_size, context, allow_mismatch=allow_mismatch)
    blocks = list(source.blocks([feature]))
    save_figure(plot_activation(blocks, fasta, place, feature, base and base.upper()), out)
    log.info("f/%d at %s in %s", feature, place, out)


def scores(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="metrics.tsv of `sae-tracks metrics`.")],
    out: FigurePath,
    most: Annotated[int, typer.Option("-n", "--most", min=1, help="Annotations shown, the best first.")] = 12,
) -> None:
    """Precision, recall and F1 of nucleotides and of the best annotations (the paper's Fig. 3)."""
    from sae_tracks.figures import plot_scores, save_figure
    from sae_tracks.metrics import read_table

    save_figure(plot_scores(read_table(table), most), out)
    log.info("scores in %s", out)
