"""``sae-tracks merge-metrics``: add the counts of shards and score them."""

from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.metrics import AllPairsOption, OutOption, show

EPILOG = "Example: sae-tracks merge-metrics counts/* -o scores/"

Parts = Annotated[
    list[Path], typer.Argument(metavar="FOLDER...", help="What metrics --shard 1/n to n/n -o FOLDER wrote.")
]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog=EPILOG)(merge_metrics)


def merge_metrics(parts: Parts, out: OutOption, all_pairs: AllPairsOption = False) -> None:
    """Add the counts of shards: the scores of one run over all of them, without controls and verdicts."""
    from sae_tracks.controls.score import merge_scores

    show(merge_scores(parts, out, all_pairs=all_pairs).table)
