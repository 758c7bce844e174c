"""``sae-tracks export-bigwig``: features as bigWig."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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
    TopOption,
    choose_features,
    open_source,
    use_threads,
    with_options,
)

EPILOG = """The best matches: sae-tracks export-bigwig sae/ hg38.fa --top 50 --from scores/metrics.tsv -bs 10 -o tracks/

Example: sae-tracks export-bigwig sae/ hg38.fa -r chr14 -f 357,12 -o tracks/"""
log = logging.getLogger(__name__)


class BinStat(StrEnum):
    """What stands for the bases of a bin."""

    max = "max"
    mean = "mean"


BinSizeOption = Annotated[int, typer.Option("--bin-size", "-bs", "--binSize", min=1, help="Bases per bin.")]
BinStatOption = Annotated[BinStat, typer.Option(help="Of the readable bases of a bin.")]
ValueScaleOption = Annotated[Scale, typer.Option(help="Activations (raw), or fractions of the feature's maximum.")]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("export-bigwig", epilog=EPILOG)(with_options()(export_bigwig))


def export_bigwig(
    sae: SaePath,
    genome: GenomePath,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bigWigs; of the part with --shard.")],
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
    """Activations of features along the genome, one bigWig a feature and read strand. An interrupted run goes on."""
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
        log.info("part %s in %s; sae-tracks merge-bigwig writes the bigWigs of all parts", shard, out)
    else:
        paths = write_bigwigs(source, ids, out, values, threads=use_threads(reading.threads))
        log.info("%d bigWigs in %s", len(paths), out)
