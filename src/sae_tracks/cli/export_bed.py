"""``sae-tracks export-bed``: intervals in which features are active."""

import logging
from enum import StrEnum
from typing import Annotated

import typer

from sae_tracks.cli.inputs import open_source, parse_features
from sae_tracks.cli.options import (
    DryRunOption,
    FeaturesOption,
    GenomePath,
    ReadingOptions,
    SaePath,
    Scale,
    ScaleOption,
    ThresholdOption,
    with_options,
)

EPILOG = """With an index: sae-tracks export-bed sae/ hg38.fa -f 0-99 --format narrowpeak -o f0-99.narrowPeak.gz

Example: sae-tracks export-bed sae/ hg38.fa -r chr14 -f 357 -t 0.15 -o f357.bed"""
log = logging.getLogger(__name__)


class Format(StrEnum):
    """The format of the file."""

    bed6 = "bed6"
    narrowpeak = "narrowpeak"
    bedgraph = "bedgraph"
    bigbed = "bigbed"


FormatOption = Annotated[
    Format,
    typer.Option("--format", help="Format; narrowpeak and bigbed also hold the largest activation and its position."),
]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("export-bed", epilog=EPILOG)(with_options()(export_bed))


def export_bed(
    sae: SaePath,
    genome: GenomePath,
    features: FeaturesOption,
    out: Annotated[str, typer.Option("--out", "-o", help="File to write; .gz is bgzip with an index, - is stdout.")],
    threshold: ThresholdOption = 0.15,
    scale: ScaleOption = Scale.max,
    form: FormatOption = Format.bed6,
    merge_gap: Annotated[
        int, typer.Option(min=0, help="Join intervals of a feature with fewer bases between them.")
    ] = 0,
    min_length: Annotated[int, typer.Option(min=1, help="Leave out shorter intervals, in bases, after joining.")] = 1,
    *,
    reading: ReadingOptions,
    dry_run: DryRunOption = False,
) -> None:
    """Write intervals in which features are active, sorted: name f357, score 0 to 1000, read strand."""
    from sae_tracks.tracks import write_bed
    from sae_tracks.tracks.export import estimate

    ids = parse_features(features)
    source = open_source(sae, genome, reading)
    if dry_run:
        typer.echo(f"1 file, {out}: {estimate(source, ids)}")
        return
    how = {"form": form.value, "merge_gap": merge_gap, "min_length": min_length}
    count = write_bed(source, ids, out, threshold, scale, **how)
    log.info("%d intervals of %d features in %s", count, len(set(ids)), "stdout" if out == "-" else out)
