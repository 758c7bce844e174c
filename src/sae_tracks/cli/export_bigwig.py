"""``sae-tracks export-bigwig`` and ``merge-bigwig``: features as bigWig, in one run or in shards."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.inputs import choose_features, open_source, use_threads
from sae_tracks.cli.options import (
    AllFeaturesOption,
    ChosenFeaturesOption,
    DryRunOption,
    GenomePath,
    ReadingOptions,
    SaePath,
    Scale,
    ScoresOption,
    ShardOption,
    ThreadsOption,
    TopOption,
    with_options,
)

EPILOG = """The best matches: sae-tracks export-bigwig sae/ hg38.fa --top 50 --from scores/metrics.tsv -bs 10 -o tracks/

Example: sae-tracks export-bigwig sae/ hg38.fa -r chr14 -f 357,12 -o tracks/"""
MERGE_EPILOG = """The shards: sae-tracks export-bigwig sae/ hg38.fa -f 357 --shard $i/2 -o shards/$i    (i from 1 to 2)

Example: sae-tracks merge-bigwig shards/1 shards/2 -o tracks/"""
log = logging.getLogger(__name__)


class BinStat(StrEnum):
    """The value of a bin, from those of its bases."""

    max = "max"
    mean = "mean"


BinSizeOption = Annotated[int, typer.Option("--bin-size", "-bs", "--binSize", min=1, help="Bases per bin.")]
BinStatOption = Annotated[BinStat, typer.Option(help="Value of a bin, over its readable bases.")]
ValueScaleOption = Annotated[Scale, typer.Option(help="raw, activations; max, fractions of the feature's maximum.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command("export-bigwig", epilog=EPILOG)(with_options()(export_bigwig))
    app.command("merge-bigwig", epilog=MERGE_EPILOG)(merge_bigwig)


def export_bigwig(
    sae: SaePath,
    genome: GenomePath,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bigWigs; with --shard, of the shard.")],
    features: ChosenFeaturesOption = None,
    top: TopOption = None,
    scores: ScoresOption = None,
    everything: AllFeaturesOption = False,
    *,
    reading: ReadingOptions,
    bin_size: BinSizeOption = 1,
    bin_stat: BinStatOption = BinStat.max,
    scale: ValueScaleOption = Scale.raw,
    shard: ShardOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Write activations along the genome, one bigWig per feature and read strand; continues an interrupted run."""
    from sae_tracks.regions import parse_shard
    from sae_tracks.tracks import Values, write_bigwig_shard, write_bigwigs
    from sae_tracks.tracks.export import estimate

    chosen = choose_features(features, top, scores, everything)
    part, values = parse_shard(shard), Values(bin_size, bin_stat.value, scale.value)
    source = open_source(sae, genome, reading)
    ids = range(source.sae.d_sae) if chosen is None else chosen
    if dry_run:
        expected = estimate(source, ids)
        typer.echo(f"{expected.tracks:,} bigWigs in {out}: {expected}")
    elif shard:
        write_bigwig_shard(source, ids, out, part, values)
        log.info("shard %s in %s; sae-tracks merge-bigwig writes bigWigs from all shards", shard, out)
    else:
        paths = write_bigwigs(source, ids, out, values, threads=use_threads(reading.threads))
        log.info("%d bigWigs in %s", len(paths), out)


def merge_bigwig(
    shards: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="The folders that export-bigwig --shard i/n wrote, all n.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bigWigs.")],
    threads: ThreadsOption = None,
) -> None:
    """Write the bigWigs of all shards; they have the bytes of one run without --shard."""
    from sae_tracks.tracks import merge_bigwigs

    paths = merge_bigwigs(shards, out, threads=use_threads(threads))
    log.info("%d bigWigs in %s", len(paths), out)
