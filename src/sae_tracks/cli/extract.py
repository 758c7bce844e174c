"""``sae-tracks extract``: activations of a sample of windows, as shards."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.inputs import parse_black_list, parse_regions, use_threads
from sae_tracks.cli.options import (
    DryRunOption,
    GenomePath,
    HookOption,
    LayerOption,
    ReadingOptions,
    SeedOption,
    ShardOption,
    with_options,
)

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog="Example: sae-tracks extract demo hg38.fa -n 1000 --seed 1 -o act/")(
        with_options(without=["model", "allow_mismatch"])(extract)
    )


def extract(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Hub id, id@revision, folder, plug-in NAME:ARG or demo.")
    ],
    genome: GenomePath,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the shards.")],
    layer: LayerOption = None,
    hook: HookOption = None,
    n_windows: Annotated[
        int | None,
        typer.Option("--n-windows", "-n", min=1, help="Number of windows to sample per read strand (default: all)."),
    ] = None,
    *,
    reading: ReadingOptions,
    seed: SeedOption = 0,
    shard: ShardOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Store a language model's activations as shards for training; continues an interrupted run."""
    from sae_tracks.activations import extract as library
    from sae_tracks.genome import Genome
    from sae_tracks.lm import load_lm
    from sae_tracks.lm.protocol import place
    from sae_tracks.regions import parse_shard

    part = parse_shard(shard)
    use_threads(reading.threads)
    fasta = Genome(genome)
    lm = load_lm(model, layer, hook=hook, device=reading.device, trust_remote_code=reading.trust_remote_code)
    plan = library.plan_extraction(
        lm,
        fasta,
        parse_regions(fasta, reading.region, reading.regions),
        read_strands=reading.read_strand.each,
        window=reading.window_size,
        context=reading.context,
        min_context=reading.min_context,
        sample=n_windows,
        seed=seed,
        black_list=parse_black_list(fasta, reading.black_list),
    )
    log.info("%s, %s", model, place(lm))
    if dry_run:
        e = library.estimate(plan, part)
        log.info("%d windows, %d bases (at most one row each), %d shards", e.windows, e.bases, e.shards)
        log.info("disk %.3g GiB, memory %.3g GiB, about %.0f s", e.disk / 2**30, e.memory / 2**30, e.seconds)
        return
    missing = library.extract(plan, out, part)
    state = "complete" if not missing else f"{missing} of {plan.shard_count} shards are still missing"
    log.info("%d windows in %s: %s", len(plan.windows), out, state)
