"""``sae-tracks export-bigwig``, ``merge-bigwig`` and ``export-bed``: features as tracks along the genome."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from sae_tracks.cli.inputs import choose_features, open_source, parse_features, use_threads
from sae_tracks.cli.options import (
    DryRunOption,
    GenomePath,
    ReadingOptions,
    SaePath,
    Scale,
    ScaleOption,
    ShardOption,
    ThreadsOption,
    ThresholdOption,
    out_file,
    out_folder,
)
from sae_tracks.cli.verb import Given, verb
from sae_tracks.names import counted

PANEL = "Write tracks"
BIGWIG = """The best matches: sae-tracks export-bigwig sae/ hg38.fa --top 50 --from scores/metrics.tsv -bs 10 -o tracks/

Example: sae-tracks export-bigwig sae/ hg38.fa -r chr14 -f 357,12 -o tracks/"""
MERGE = """The shards: sae-tracks export-bigwig sae/ hg38.fa -f 357 --shard $i/2 -o shards/$i    (i from 1 to 2)

Example: sae-tracks merge-bigwig shards/1 shards/2 -o tracks/"""
BED = """With an index: sae-tracks export-bed sae/ hg38.fa -f 0-99 --format narrowpeak -o f0-99.narrowPeak.gz

Example: sae-tracks export-bed sae/ hg38.fa -r chr14 -f 357 -t 0.15 -o f357.bed"""
FEATURES = "Feature ids: 357,12 or 0-9, or @FILE that lists them."
log = logging.getLogger(__name__)


@verb(BIGWIG, panel=PANEL, resumes=True)
def export_bigwig(
    sae: SaePath,
    genome: GenomePath,
    out: Annotated[Path, out_folder("Folder of the bigWigs; with --shard, of the shard.")],
    features: Annotated[str | None, Option("--features", "-f", help=FEATURES)] = None,
    top: Annotated[
        int | None, Option("--top", min=1, help="Features of the N best matches by F1 in the table of --from.")
    ] = None,
    scores: Annotated[
        Path | None,
        Option(
            "--from",
            metavar="TABLE",
            help="For --top: metrics.tsv (best matches) or metrics.parquet (all).",
        ),
    ] = None,
    everything: Annotated[bool, Option("--all", help="All features of the SAE.")] = False,
    *,
    reading: ReadingOptions,
    bin_size: Annotated[int, Option("--bin-size", "-bs", "--binSize", min=1, help="Bases per bin.")] = 1,
    bin_stat: Annotated[Literal["max", "mean"], Option(help="Value of a bin, over its readable bases.")] = "max",
    scale: Annotated[Scale, Option(help="raw, activations; max, fractions of the feature's maximum.")] = "raw",
    shard: ShardOption = None,
    dry_run: DryRunOption = False,
    given: Given,
) -> None:
    """Write activations along the genome, one bigWig per feature and read strand."""
    from sae_tracks import write_bigwigs
    from sae_tracks.regions import parse_shard
    from sae_tracks.tracks import BigWigValues, write_bigwig_shard
    from sae_tracks.tracks.export import estimate

    given.refuse_if("bin_size" not in given, "a bin of one base has one value", "bin_stat")
    chosen = choose_features(features, top, scores, everything)
    part, values = parse_shard(shard), BigWigValues(bin_size, bin_stat, scale)
    source = open_source(sae, genome, reading)
    ids = range(source.sae.d_sae) if chosen is None else chosen
    if dry_run:
        expected = estimate(source, ids)
        typer.echo(f"{counted(expected.tracks, 'bigWig')} in {out}: {expected}")
    elif shard:
        write_bigwig_shard(source, ids, out, part, values)
        log.info("shard %s in %s; sae-tracks merge-bigwig writes bigWigs from all shards", shard, out)
    else:
        paths = write_bigwigs(source, ids, out, values, threads=use_threads(reading.threads))
        log.info("%s in %s", counted(len(paths), "bigWig"), out)


@verb(MERGE, panel=PANEL)
def merge_bigwig(
    shards: Annotated[
        list[Path], Argument(metavar="FOLDER...", help="All folders that export-bigwig --shard 1/n to n/n wrote.")
    ],
    out: Annotated[Path, out_folder("Folder of the bigWigs.")],
    threads: ThreadsOption = None,
) -> None:
    """Write the bigWigs of all shards. They have the same bytes as those of one run without --shard."""
    from sae_tracks.tracks import merge_bigwigs

    paths = merge_bigwigs(shards, out, threads=use_threads(threads))
    log.info("%s in %s", counted(len(paths), "bigWig"), out)


@verb(BED, panel=PANEL, resumes=True)
def export_bed(
    sae: SaePath,
    genome: GenomePath,
    features: Annotated[str, Option("--features", "-f", help=FEATURES)],
    out: Annotated[str, out_file("File to write; .gz is bgzip with an index, - is stdout.")],
    threshold: ThresholdOption = 0.15,
    scale: ScaleOption = "max",
    form: Annotated[
        Literal["bed6", "narrowpeak", "bedgraph", "bigbed"],
        Option("--format", help="Format. narrowpeak and bigbed also have the largest activation and its position."),
    ] = "bed6",
    merge_gap: Annotated[int, Option(min=0, help="Join intervals of a feature with fewer bases between them.")] = 0,
    min_length: Annotated[int, Option(min=1, help="After joining, leave out intervals with fewer bases.")] = 1,
    *,
    reading: ReadingOptions,
    dry_run: DryRunOption = False,
) -> None:
    """Write intervals in which features are active, sorted: name f357, score 0 to 1000, read strand."""
    from sae_tracks import write_bed
    from sae_tracks.tracks.export import estimate

    ids = parse_features(features)
    source = open_source(sae, genome, reading)
    if dry_run:
        typer.echo(f"1 file, {out}: {estimate(source, ids)}")
        return
    count = write_bed(source, ids, out, threshold, scale, form=form, merge_gap=merge_gap, min_length=min_length)
    intervals, place = counted(count, "interval"), "stdout" if out == "-" else out
    log.info("%s of %s in %s", intervals, counted(len(set(ids)), "feature"), place)
