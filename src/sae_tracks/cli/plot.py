"""``sae-tracks plot``: single figures, among them those of the paper."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, Typer

from sae_tracks.cli.inputs import open_source, parse_features
from sae_tracks.cli.options import (
    LOCUS,
    RELEASE,
    GenomePath,
    MatricesOption,
    ReadingOptions,
    SaePath,
    ScaleOption,
    ThresholdOption,
    out_file,
)
from sae_tracks.cli.verb import Given, app, verb
from sae_tracks.errors import UsageError
from sae_tracks.names import counted

FigurePath = Annotated[Path, out_file("Figure to write: .png, .pdf or .svg.")]
log = logging.getLogger(__name__)
plots = Typer(no_args_is_help=True, help="Draw single figures as PNG, PDF or SVG.")
app.add_typer(plots, name="plot", rich_help_panel="Look at results")


@verb(
    "Example: sae-tracks plot activation sae/ hg38.fa -r chr14:87049332-87049831 -f 357 -o a.png",
    group=plots,
    without=["region", "regions", "black_list", "min_context"],
)
def activation(
    sae: SaePath,
    genome: GenomePath,
    region: Annotated[str, Option("--region", "-r", help=f"Region to draw: {LOCUS}.")],
    feature: Annotated[str, Option("--feature", "-f", help="Feature id.")],
    out: FigurePath,
    base: Annotated[
        str | None, Option(help="Letter to mark (default: the base at which the feature is strongest).")
    ] = None,
    *,
    reading: ReadingOptions,
) -> None:
    """Draw a feature's activation along a region, with one of the four bases marked (Fig. 2 of the paper)."""
    from sae_tracks.report.figures import plot_activation, save_figure

    if reading.read_strand == "both":
        raise UsageError("a figure shows one read strand: --read-strand + or -")
    ids = parse_features(feature)
    if len(ids) > 1:
        raise UsageError(f"a figure shows one feature, not {len(ids)}")
    source = open_source(sae, genome, replace(reading, region=[region]))
    place = source.genome.region(region)
    blocks = list(source.blocks(ids))
    save_figure(plot_activation(blocks, source.genome, place, ids[0], base and base.upper()), out)
    log.info("f/%d at %s in %s", ids[0], place, out)


@verb("Example: sae-tracks plot scores metrics/metrics.tsv -o scores.pdf", group=plots)
def scores(
    table: Annotated[Path, Argument(metavar="TABLE", help="metrics.tsv of `sae-tracks metrics`.")],
    out: FigurePath,
    top: Annotated[int, Option("--top", min=1, help="Number of annotations to show, the best first.")] = 12,
) -> None:
    """Draw precision, recall and F1 of the four bases and the best annotations (Fig. 3 of the paper)."""
    from sae_tracks.metrics import read_table
    from sae_tracks.report.figures import plot_scores, save_figure

    save_figure(plot_scores(read_table(table), top), out)
    log.info("scores in %s", out)


@verb("Example: sae-tracks plot logo MA0139.1 --motifs JASPAR2024.pfm -o ctcf.svg", group=plots)
def logo(
    matrix: Annotated[str, Argument(metavar="MATRIX", help="Matrix ID, such as MA0139.1.")],
    out: FigurePath,
    motifs: MatricesOption = RELEASE,
) -> None:
    """Draw the logo of a motif. The height of a letter is its information in bits."""
    from sae_tracks.motifs import chosen_motifs, named_motifs
    from sae_tracks.report.figures import save_figure
    from sae_tracks.report.logos import plot_logo

    (motif,) = chosen_motifs(*named_motifs(motifs), [matrix])
    save_figure(plot_logo(motif), out)
    log.info("logo of %s in %s", matrix, out)


@verb("Example: sae-tracks plot offsets scores/ --concept MA0139.1 --strand + -o lag.png", group=plots)
def offsets(
    folder: Annotated[Path, Argument(metavar="SCORES", help="Folder that `sae-tracks metrics` wrote.")],
    concept: Annotated[str, Option(help="Name of the annotation, such as a matrix ID.")],
    out: FigurePath,
    strand: Annotated[
        Literal["+", "-", "."] | None,
        Option(help="Strand of the sites (default: the one that the feature is active on more often)."),
    ] = None,
) -> None:
    """Draw how often a concept's best feature is active at each distance from the start and end of its sites."""
    from sae_tracks.metrics.scores import OFFSETS
    from sae_tracks.report.figures import plot_offsets, read_offsets, save_figure

    save_figure(plot_offsets(read_offsets(folder / OFFSETS), concept, strand), out)
    log.info("profile of %s in %s", concept, out)


@verb(
    """Named features, part of a genome: sae-tracks plot genome sae/ hg38.fa -f 357,12 -r chr14 -r chr21 -o genome.pdf

Example: sae-tracks plot genome sae/ hg38.fa --from scores/ -o genome.png""",
    group=plots,
)
def genome(
    sae: SaePath,
    genome: GenomePath,
    out: FigurePath,
    features: Annotated[
        str | None, Option("--features", "-f", help="Feature ids, in the order wanted: 357,12 or 0-9, or @FILE.")
    ] = None,
    scores: Annotated[
        Path | None,
        Option(
            "--from", metavar="SCORES", help="Folder of `sae-tracks metrics`: its verdicts, and without -f its best."
        ),
    ] = None,
    top: Annotated[int, Option("--top", min=1, help="Without -f: features of the N best matches by F1.")] = 12,
    *,
    threshold: ThresholdOption = 0.15,
    scale: ScaleOption = "max",
    bin_size: Annotated[
        int | None,
        Option("--bin-size", "-bs", "--binSize", min=1, help="Bases per bin (default: about 400 bins in all)."),
    ] = None,
    reading: ReadingOptions,
    given: Given,
) -> None:
    """Draw where along the genome features are active, with --from also the verdicts and F1 of all matches.

    Writes the counts of active bases beside the figure, as .tsv.
    """
    from sae_tracks import activity_along
    from sae_tracks.metrics import top_features
    from sae_tracks.metrics.scores import BEST_SCORES
    from sae_tracks.report.figures import check_format
    from sae_tracks.report.genome_figure import write_genome
    from sae_tracks.report.scores import load_scores

    check_format(out)
    given.refuse_if(features, "-f names the features", "top")
    if features:
        ids = parse_features(features)
    elif scores:
        ids = top_features(scores / BEST_SCORES, top)
    else:
        raise UsageError("name the features: -f 357,12, or --from SCORES for the best ones")
    best = load_scores(scores) if scores else None
    source = open_source(sae, genome, reading)
    along = activity_along(source, ids, threshold=threshold, scale=scale, bin_size=bin_size)
    write_genome(along, out, source, best, threshold=threshold, scale=scale)
    features, contigs = counted(len(ids), "feature"), counted(len(along["contig"].unique()), "contig")
    log.info("%s along %s in %s", features, contigs, out)
