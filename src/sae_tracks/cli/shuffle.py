"""``sae-tracks shuffle``: put the rows of activation shards in random order."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.options import DryRunOption, SeedOption

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog="Example: sae-tracks shuffle act/ -o shuffled/ --memory 4G")(shuffle)


def shuffle(
    shards: Annotated[Path, typer.Argument(metavar="SHARDS", help="Folder of activation shards.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the shuffled shards.")],
    memory: Annotated[str, typer.Option(help="Memory to use, such as 512M or 4G.")] = "4G",
    seed: SeedOption = 0,
    dry_run: DryRunOption = False,
) -> None:
    """Put the rows of all shards in one random order, so that every batch holds rows from the whole sample."""
    from sae_tracks.activations.shards import open_shards
    from sae_tracks.activations.shuffle import parse_size, plan_shuffle
    from sae_tracks.activations.shuffle import shuffle as run

    source = open_shards(shards)
    plan = plan_shuffle(source, parse_size(memory))
    if dry_run:
        log.info("%d rows in %d buckets; %.3g GiB on disk while it runs", plan.rows, plan.buckets, plan.disk / 2**30)
        return
    run(source, out, plan, seed=seed)
    log.info("%d rows in random order in %s", plan.rows, out)
