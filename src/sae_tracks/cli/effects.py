"""``sae-tracks effects``: what features do in the model."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from sae_tracks.cli.inputs import open_source, parse_features
from sae_tracks.cli.options import (
    GenomePath,
    InsightShardOption,
    ReadingOptions,
    SaePath,
    ScaleOption,
    SeedOption,
    ThresholdOption,
)
from sae_tracks.cli.tables import print_table
from sae_tracks.cli.verb import Given, verb
from sae_tracks.errors import SaeTracksError, UsageError
from sae_tracks.names import counted

if TYPE_CHECKING:
    import pandas as pd

    from sae_tracks.annotations import Annotation
    from sae_tracks.source import Source

SHOWN = 40  # rows on the screen
EPILOG = """The supported ones: sae-tracks effects sae/ hg38.fa -r chr14 --from scores/metrics.tsv -o effects.tsv

Example: sae-tracks effects sae/ hg38.fa -r chr14 -f 357,12 --annotation genes.gtf -o effects.tsv"""
log = logging.getLogger(__name__)


@verb(EPILOG, panel="Explain features")
def effects(
    sae: SaePath,
    genome: GenomePath,
    out: Annotated[
        Path,
        Option(
            "--out",
            "-o",
            help="File to write, .tsv, and .parquet beside; with --shard, a folder.",
        ),
    ],
    features: Annotated[
        str | None, Option("--features", "-f", help="Feature ids: 357,12 or 0-9, or @FILE that lists them.")
    ] = None,
    scores: Annotated[
        Path | None, Option("--from", metavar="TABLE", help="The features of metrics.tsv that have the --verdict.")
    ] = None,
    verdict: Annotated[str, Option(help="With --from: the verdict of the matches whose features are ablated.")] = (
        "supported"
    ),
    annotation: Annotated[
        list[str] | None,
        Option(help="Also average inside and outside of its sites: BED, GTF, GFF3, peaks, bigBed; repeatable."),
    ] = None,
    concept: Annotated[list[str] | None, Option(help="Only this name of the annotation, such as CDS; repeatable.")] = (
        None
    ),
    *,
    reading: ReadingOptions,
    threshold: ThresholdOption = 0.15,
    scale: ScaleOption = "max",
    seed: SeedOption = 0,
    shard: InsightShardOption = None,
    given: Given,
) -> None:
    """Ablate features one at a time, and measure how the predictions of the model change.

    Of a HyenaDNA: the loss of the next base, in nats. Of a plug-in that offers outputs: their divergence.

    Intervals of 95 % are empty if the regions lie in fewer than five blocks of 10 kb.
    """
    from sae_tracks.insight.effects import EffectRun, check_name, features_with_verdict, write_effects
    from sae_tracks.insight.shards import run_shard
    from sae_tracks.metrics import annotation_checksums
    from sae_tracks.regions import parse_shard

    if (features is None) == (scores is None):
        raise UsageError("name features with one of -f 357,12 and --from metrics.tsv")
    given.refuse_if(scores is None, "only --from has verdicts", "verdict")
    given.refuse_if(not annotation, "only an --annotation has concepts", "concept")
    part = parse_shard(shard)
    if not shard:
        check_name(out)
    elif out.suffix == ".tsv":
        raise UsageError(f"--shard writes a folder: name one, not {out}")
    ids = features_with_verdict(scores, verdict) if scores else parse_features(features or "")
    source = open_source(sae, genome, reading)
    sites = _sites(annotation or [], concept or [], source)
    named = {"annotations": annotation_checksums(annotation or []), "concepts": concept}
    run = EffectRun(source, ids, sites, threshold=threshold, scale=scale, seed=seed, named=named)
    if shard:
        run_shard(run, out, part)
        return
    table = run.whole()
    write_effects(table, out, **run.provenance())
    show(table)
    log.info("effects of %s in %s", counted(len(table["feature"].unique()), "feature"), out)


def _sites(paths: list[str], concepts: list[str], source: "Source") -> "Annotation | None":
    """Read the sites of the annotations, of these concepts if any are named."""
    from dataclasses import replace

    from sae_tracks.annotations import filter_sites, read_annotations
    from sae_tracks.annotations.sites import only, series

    if not paths:
        return None
    read = read_annotations(paths, source.genome, source.regions)
    found = filter_sites(read, source.regions or [], min_instances=1)
    names = sorted(set(found.sites["Name"].astype(str)))
    if missing := [name for name in concepts if name not in names]:
        known = ", ".join(names[:12]) + (" ..." if len(names) > 12 else "")
        raise SaeTracksError(f"{found.source} has no concept {missing[0]!r} in the regions; it has {known}")
    return replace(found, sites=only(found.sites, series(found.sites, "Name").isin(concepts))) if concepts else found


def show(table: "pd.DataFrame") -> None:
    """Print the first rows."""
    from sae_tracks.bootstrap import BLOCK, FEW

    main = "change" if "change" in table else "kl"
    said = "loss of the next base" if main == "change" else "divergence of the outputs"
    title = f"Change of the {said} without the feature, 1e-3 nats per base (in-out: inside less outside)"
    rows = []
    for row in table.head(SHOWN).to_dict("records"):
        feature = row["feature"] if row["read_strand"] == "+" else f"{row['feature']}-"
        where = f"{row['where']} {row['concept']} {row['site_strand']}".strip()
        numbers = [_milli(row[main]), _interval(row[f"{main}_low"], row[f"{main}_high"])]
        more = [_milli(row["difference"]), _interval(row["difference_low"], row["difference_high"])]
        rows.append((feature, where, f"{row['bases']:,}", *numbers, *more))
    columns = ("feature", "where", "bases", "mean", "95 %", "in-out", "95 %")
    print_table(title, columns, rows, left=columns[:2], wrap=False)
    if bool(table[f"{main}_low"].isna().all()):
        log.info("no 95 %% intervals: the regions lie in fewer than %d blocks of %s bases", FEW, f"{BLOCK:,}")
    if len(table) > SHOWN:
        typer.echo(f"... and {counted(len(table) - SHOWN, 'more row')} in the file")


def _milli(value: float) -> str:
    """Thousandths, with fewer decimals the larger they are: the outputs of a plug-in may change by some nats."""
    milli = 1000 * value
    decimals = sum(abs(milli) < limit for limit in (10, 100))
    return "" if milli != milli else f"{milli:.{decimals}f}"


def _interval(low: float, high: float) -> str:
    return "" if low != low else f"{_milli(low)} {_milli(high)}"
