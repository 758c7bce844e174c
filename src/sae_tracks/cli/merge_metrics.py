"""``sae-tracks merge-metrics``: add the counts of shards and score them."""

from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.metrics import AllPairsOption, OutOption
from sae_tracks.cli.scored import write_scores

EPILOG = "Example: sae-tracks merge-metrics counts/* -o scores/"
UNTESTED = "counts do not hold what controls look at (metrics without --shard runs them)"

Parts = Annotated[
    list[Path], typer.Argument(metavar="FOLDER...", help="What metrics --shard 1/n to n/n -o FOLDER wrote.")
]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog=EPILOG)(merge_metrics)


def merge_metrics(parts: Parts, out: OutOption, all_pairs: AllPairsOption = False) -> None:
    """Add the counts of shards: the scores of one run over all of them, without controls and verdicts."""
    from sae_tracks.metrics import merge_parts

    counts, facts = merge_parts(parts)
    write_scores(counts, out, facts | {"parts": len(parts)}, all_pairs=all_pairs, untested=UNTESTED)
