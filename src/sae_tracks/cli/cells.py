"""``sae-tracks cells``: which features the accessibility of single cells follows."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from sae_tracks.cli.inputs import parse_features
from sae_tracks.cli.matrix import PANEL, MatrixPath
from sae_tracks.cli.options import SeedOption, SomeFeaturesOption, out_file
from sae_tracks.cli.tables import print_table
from sae_tracks.cli.verb import verb
from sae_tracks.names import counted

if TYPE_CHECKING:
    from sae_tracks.region_sets.deviations import CellDeviations

SHOWN = 20  # features on the screen
EPILOG = """Clusters: sae-tracks cells peaks.h5ad atac.h5ad --clusters leiden -o cells.h5ad

Example: sae-tracks cells peaks.h5ad filtered_peak_bc_matrix.h5 -f 357,12 -o cells.h5ad"""
log = logging.getLogger(__name__)


@verb(EPILOG, panel=PANEL)
def cells(
    matrix: MatrixPath,
    counts: Annotated[
        Path, Argument(metavar="CELLS", help="Cells x peaks with counts in X: .h5ad, or .h5 of 10x's Cell Ranger.")
    ],
    out: Annotated[Path, out_file("File to write, .h5ad: cells x features.")],
    features: SomeFeaturesOption = None,
    clusters: Annotated[
        str | None,
        Option(metavar="COLUMN", help="Column of the cells' table: also test which features mark each of its values."),
    ] = None,
    draws: Annotated[int, Option(min=10, help="Number of draws of background peaks, which are also the null.")] = 100,
    seed: SeedOption = 0,
) -> None:
    """Measure how much the accessibility of each cell follows each feature (chromVAR).

    Deviations are corrected by peaks of like GC and accessibility. What features of shuffled peaks reach is the null.
    """
    from sae_tracks import cell_deviations
    from sae_tracks.region_sets.deviations import check_name

    check_name(out)
    ids = parse_features(features) if features else None
    found = cell_deviations(matrix, counts, features=ids, clusters=clusters, draws=draws, seed=seed)
    found.write(out)
    show(found)
    log.info("%s x %s in %s", *map(counted, found.z.shape, ("cell", "feature")), out)


def show(found: "CellDeviations") -> None:
    """Print the most variable features, and the name of each cluster."""
    best = found.var.sort_values("variability", ascending=False, kind="stable").head(SHOWN)
    title = "Variability over cells"
    rows = [
        (str(name), f"{row['variability']:.2f}", f"{row['null_95']:.2f}", f"{row['q']:.2g}")
        for name, row in zip(best.index, best.to_dict("records"))
    ]
    columns = ("feature", "z over cells (SD)", "95 % of draws", "q")
    print_table(title, columns, rows, left=columns[:1], wrap=False)
    if found.markers is not None:
        named = [
            (str(row["cluster"]), f"{row['cells']:,}", row["name"], _number(row["difference"]), _number(row["auroc"]))
            for row in found.names().to_dict("records")
        ]
        columns = ("cluster", "cells", "marker", "difference of z", "AUROC")
        print_table("Clusters", columns, named, left=("cluster", "marker"), wrap=False)


def _number(value: float) -> str:
    return "" if value != value else f"{value:.2f}"
