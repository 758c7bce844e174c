"""``sae-tracks check-seams``: how much a track depends on where its windows begin."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sae_tracks.cli.inputs import open_source, parse_features
from sae_tracks.cli.options import (
    GenomePath,
    ReadingOptions,
    SaePath,
    Scale,
    ScaleOption,
    SomeFeaturesOption,
    ThresholdOption,
    with_options,
)

if TYPE_CHECKING:
    import pandas as pd

EPILOG = "Example: sae-tracks check-seams sae/ hg38.fa -r chr14:87,000,001-87,500,000 -o seams/"
log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog=EPILOG)(with_options(without=["min_context"])(check_seams))


def check_seams(
    sae: SaePath,
    genome: GenomePath,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of seams.tsv, seams_by_feature.parquet and seams.png.")
    ],
    features: SomeFeaturesOption = None,
    threshold: ThresholdOption = 0.15,
    scale: ScaleOption = Scale.max,
    *,
    reading: ReadingOptions,
) -> None:
    """Measure how features change with the context of a base, to choose --context."""
    from sae_tracks.evaluate.seams import measure_seams, write_seams
    from sae_tracks.files import make_folder, write_provenance
    from sae_tracks.report.figures import plot_seams, save_figure

    ids = parse_features(features) if features else None
    source = open_source(sae, genome, reading)
    make_folder(out)
    measured = measure_seams(source, ids, threshold, scale)
    table = write_seams(measured, out)
    save_figure(plot_seams(table), out / "seams.png")
    write_provenance(out, **source.provenance(), features=ids, threshold=threshold, scale=scale.value)
    typer.echo(_table(table))
    for seams in measured:
        typer.echo(seams.advice(source.layout.context))
    log.info("seams of %d features in %s", len(measured[0].features), out)


def _table(table: "pd.DataFrame") -> str:
    """The rows of ``seams.tsv`` as text of 80 columns."""
    from sae_tracks.evaluate.seams import bin_text

    rows = [f"{'read':4}{'context':>15}{'bases':>12}{'mean':>11}{'95 %':>11}{'max':>11}{'Jaccard':>9}"]
    for row in table.to_dict("records"):
        context = bin_text(row["context_from"], row["context_to"])
        numbers = "".join(f"{row[f'{name}_difference']:11.3g}" for name in ("mean", "p95", "max"))
        rows.append(f"{row['read_strand']:4}{context:>15}{row['bases']:12,}{numbers}{row['jaccard']:9.3f}")
    return "\n".join(rows)
