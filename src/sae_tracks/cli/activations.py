"""``sae-tracks extract`` and ``shuffle``: activations of a language model, as shards for training."""

import logging
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from sae_tracks.cli.inputs import open_extraction, use_threads
from sae_tracks.cli.options import (
    MODEL_HELP,
    DryRunOption,
    GenomePath,
    HookOption,
    LayerOption,
    ReadingOptions,
    SeedOption,
    ShardOption,
    WindowsOption,
    out_folder,
)
from sae_tracks.cli.verb import Given, verb
from sae_tracks.names import counted

log = logging.getLogger(__name__)


@verb(
    "Example: sae-tracks extract demo hg38.fa -n 1000 --seed 1 -o act/",
    panel="Train an SAE",
    without=["model", "allow_mismatch"],
    resumes=True,
)
def extract(
    model: Annotated[str, Argument(metavar="MODEL", help=f"{MODEL_HELP}.")],
    genome: GenomePath,
    out: Annotated[Path, out_folder("Folder for the shards.")],
    layer: LayerOption = None,
    hook: HookOption = None,
    n_windows: WindowsOption = None,
    *,
    reading: ReadingOptions,
    seed: SeedOption = 0,
    shard: ShardOption = None,
    dry_run: DryRunOption = False,
    given: Given,
) -> None:
    """Store a language model's activations as shards."""
    given.refuse_if(n_windows is None, "without -n all windows are read, so nothing is random", "seed")
    from sae_tracks.activations import extract as library
    from sae_tracks.regions import parse_shard

    part = parse_shard(shard)
    use_threads(reading.threads)
    plan = open_extraction(model, genome, reading, layer=layer, hook=hook, sample=n_windows, seed=seed)
    if dry_run:
        e = library.estimate(plan, part)
        windows, shards = counted(e.windows, "window"), counted(e.shards, "shard")
        log.info("%s, %s bases (at most one row each), %s", windows, f"{e.bases:,}", shards)
        log.info("disk %.3g GiB, memory %.3g GiB, time %s", e.disk / 2**30, e.memory / 2**30, e.took)
        return
    missing = library.extract(plan, out, part)
    state = "complete" if not missing else f"still missing: {missing:,} of {counted(plan.shard_count, 'shard')}"
    log.info("%s in %s: %s", counted(len(plan.windows), "window"), out, state)


@verb("Example: sae-tracks shuffle act/ -o shuffled/ --memory 4G", panel="Train an SAE")
def shuffle(
    shards: Annotated[Path, Argument(metavar="SHARDS", help="Folder of activation shards.")],
    out: Annotated[Path, out_folder("Folder for the shuffled shards.")],
    memory: Annotated[str, Option(help="Memory to use, such as 512M or 4G.")] = "4G",
    seed: SeedOption = 0,
    dry_run: DryRunOption = False,
) -> None:
    """Put the rows of all shards in one random order, so that every batch has rows from the whole sample."""
    from sae_tracks.activations.shards import open_shards
    from sae_tracks.activations.shuffle import parse_size, plan_shuffle
    from sae_tracks.activations.shuffle import shuffle as run

    source = open_shards(shards)
    plan = plan_shuffle(source, parse_size(memory))
    if dry_run:
        sizes = counted(plan.rows, "row"), counted(plan.buckets, "bucket"), plan.disk / 2**30
        log.info("%s in %s; %.3g GiB on disk while it runs", *sizes)
        return
    run(source, out, plan, seed=seed)
    log.info("%s in random order in %s", counted(plan.rows, "row"), out)
