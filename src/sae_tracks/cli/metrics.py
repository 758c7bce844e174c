"""``sae-tracks metrics`` and ``merge-metrics``: score features against annotations."""

import logging
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from sae_tracks.cli.inputs import open_source, parse_features
from sae_tracks.cli.options import (
    ACTIVE,
    READING,
    ControlOptions,
    DryRunOption,
    FilterOptions,
    ReadingOptions,
    ScaleOption,
    ShardOption,
    SomeFeaturesOption,
    out_folder,
)
from sae_tracks.cli.tables import print_table
from sae_tracks.cli.verb import Given, verb
from sae_tracks.errors import SaeTracksError, UsageError
from sae_tracks.names import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from sae_tracks.controls.score import Scored

log = logging.getLogger(__name__)
SHOWN = 15  # concepts on the screen, or the four letters and one of each annotation file if these are more
SETTINGS_OF_CONTROLS = ("motifs", "decoys", "repeats", "seeds", "trained_on")
OF_INTERVALS = ("threshold", "scale", "min_instances", "min_score", "max_coverage", "all_pairs", "controls")
OF_INTERVALS = (*OF_INTERVALS, *SETTINGS_OF_CONTROLS)  # what says nothing about signals
OutOption = Annotated[Path, out_folder("Folder of metrics.parquet, metrics.tsv, counts.npz.")]
AllPairsOption = Annotated[
    bool, Option("--all-pairs", help="Write all pairs with a true positive, not the ten best per concept and feature.")
]


@verb(
    "Example: sae-tracks metrics sae/ hg38.fa jaspar2024.chr14.bed.gz -r chr14 --min-score 500 -o scores/",
    panel="Score features",
)
def metrics(
    paths: Annotated[list[str], Argument(metavar="SAE GENOME [ANNOTATION]", help="With --bed, leave out the SAE.")],
    out: OutOption,
    bed: Annotated[
        Path | None, Option(help="Score these intervals, from export-bed or elsewhere. No SAE and no model is read.")
    ] = None,
    annotation: Annotated[
        list[str] | None, Option(help="The same as ANNOTATION, but as an option; repeatable.")
    ] = None,
    *,
    reading: ReadingOptions,
    features: SomeFeaturesOption = None,
    threshold: Annotated[
        list[float] | None,
        Option("--threshold", "-t", min=0, help=f"{ACTIVE} Repeatable (default: 0 0.15 0.5 0.6 0.8)."),
    ] = None,
    scale: ScaleOption = "max",
    filters: FilterOptions,
    all_pairs: AllPairsOption = False,
    control: ControlOptions,
    bin_size: Annotated[
        int, Option("--bin-size", "-bs", min=1, help="Bases of a bin in which signals (bigWig, bedGraph) are averaged.")
    ] = 100,
    shard: ShardOption = None,
    dry_run: DryRunOption = False,
    given: Given,
) -> None:
    """Score features against annotations and A, C, G, T, and test whether each match is real.

    Writes precision, recall and F1 per base, the best feature of each concept, and a verdict for it. Meanwhile, the
    folder holds the levels of all features on the report half, hidden. A bigWig or a bedGraph is a signal: features
    are correlated with it (signals.tsv).
    """
    from sae_tracks import Genome, score_bed
    from sae_tracks.annotations.signal import is_signal
    from sae_tracks.controls.score import ScoreTask, why_untested
    from sae_tracks.metrics import BEST_SCORES, THRESHOLDS, refuse_beside

    sae, genome, annotations = _split(paths, annotation, bed)
    signals = [path for path in annotations if is_signal(path)]
    annotations = [path for path in annotations if path not in signals]
    wanted = control.controls != "none"
    untested = why_untested(split=not filters.no_split, controls=wanted)
    untested = "--bed reads no model" if bed else untested
    tests = ("controls", *SETTINGS_OF_CONTROLS) if wanted else SETTINGS_OF_CONTROLS
    given.refuse_if(untested, f"{untested}, so no controls are run", *tests)
    given.refuse_if(bed, "--bed reads no model", *READING, "features", "scale", "shard", "bin_size")
    given.refuse_if(not signals, "no bigWig or bedGraph is named", "bin_size")
    given.refuse_if(not annotations, "only signals are scored, not intervals", *OF_INTERVALS)
    if bed and signals:
        raise UsageError(f"{signals[0]}: --bed has intervals of features, and a signal needs their activations")
    given.refuse_if(shard, "--shard writes counts only", "all_pairs")
    given.refuse_if(filters.no_split, "--no-split has one half", "select_on", "report_on")
    given.refuse_if(control.controls != "untrained", "only --controls untrained makes untrained models", "trained_on")
    if not (signals and annotations):
        refuse_beside(out / (BEST_SCORES if signals else SIGNALS))
    if bed:
        fasta = Genome(genome)
        evaluation = filters.evaluation(fasta, annotations, reading.regions_in(fasta), reading.black_list_in(fasta))
        if dry_run:
            return typer.echo(evaluation.size)
        exported_at = _only(threshold)
        return show(score_bed(bed, evaluation, out, threshold=exported_at, all_pairs=all_pairs))
    controls = None if untested else control.settings(sae)
    source = open_source(sae, genome, reading)
    ids = parse_features(features) if features else None
    along = filters.signal_task(source, signals, out, ids, bin_size, shard) if signals else None
    if along and not annotations:
        if dry_run:
            return typer.echo(along.size)
        return show_signals(along.run())
    evaluation = filters.evaluation(source.genome, annotations, source.regions, source.black_list)
    task = ScoreTask(source, evaluation, out, ids, threshold or THRESHOLDS, scale, shard, controls)
    if dry_run:
        return typer.echo("; ".join([*([along.size] if along else []), str(task.estimate())]))
    if along:
        along.survey()
    show(task.run(all_pairs=all_pairs, beside=along))
    if along:
        show_signals(along.finish(alone=False))


def _split(paths: list[str], named: list[str] | None, bed: Path | None) -> tuple[str, Path, list[str]]:
    """Split the arguments into SAE, genome and annotations. With --bed there is no SAE."""
    sae, *rest = ["", *paths] if bed else paths
    genome, *annotations = [*rest, *(named or [])] if rest else [""]
    if not annotations:
        raise SaeTracksError(f"name {'' if bed else 'the SAE, '}the genome and at least one annotation, in this order")
    return sae, Path(genome), annotations


def _only(thresholds: list[float] | None) -> float | None:
    """Return the threshold at which the intervals of --bed were exported, if it is known."""
    if thresholds and len(thresholds) > 1:
        raise UsageError("--bed: the intervals were exported at one threshold; give one -t or none")
    return thresholds[0] if thresholds else None


@verb("Example: sae-tracks merge-metrics counts/* -o scores/", panel="Score features")
def merge_metrics(
    shards: Annotated[
        list[Path], Argument(metavar="FOLDER...", help="All folders that metrics --shard 1/n to n/n wrote.")
    ],
    out: OutOption,
    all_pairs: AllPairsOption = False,
    *,
    given: Given,
) -> None:
    """Add the counts of all shards, test whether each match is real, and write what one run would have written.

    Reads counts.npz and controls/ of each shard, and again the genome and the annotation, but no model.
    """
    from sae_tracks import merge_scores, merge_signals

    intervals, signals = ([one for one in shards if (one / name).is_file()] for name in ("counts.npz", "signals.npz"))
    given.refuse_if(signals and not intervals, "the shards are of signals alone", "all_pairs")
    if intervals or not signals:
        show(merge_scores(shards, out, all_pairs=all_pairs))
    if signals:
        show_signals(merge_signals(shards, out))


def show(scored: "Scored") -> None:
    """Print some rows of the table of best features; nothing if a shard was counted."""
    from sae_tracks.metrics import BEST_SCORES

    best = scored.table
    if not best.columns.size:
        return
    where = ", on the report half" if len(scored.counts.halves) > 1 else ""
    shown = shown_rows(best, scored.files)
    title = f"Best feature of {len(shown):,} of {len(best):,} concepts (rows of {BEST_SCORES}){where}"
    forward, rows = bool((best["read_strand"] == "+").all()), []
    for row in shown.to_dict("records"):
        scores = (f"{row[name]:.3f}" for name in ("precision", "recall", "f1"))
        feature = row["feature"] if forward else f"{row['feature']}{row['read_strand']}"
        names = (row["concept"], row["tf"], row["site_strand"], feature)
        rows.append((*names, f"{row['threshold']:g}", f"{row['instances']:,}", *scores, row["verdict"]))
    columns = ("concept", "TF", "site", "feature", "cut", "sites", "prec.", "rec.", "F1", "verdict")
    print_table(title, columns, rows, left=("concept", "TF", "feature", "verdict"))


def shown_rows(best: "pd.DataFrame", files: "Sequence[pd.Index]") -> "pd.DataFrame":
    """The rows for the screen, in their order: A, C, G and T, the best of each annotation file, and then the first.

    Each file gets the same number of rows, at least one, so that a small file is seen beside a long one. `files` are
    the concepts of each.
    """
    from sae_tracks.dna import NUCLEOTIDES

    keep = best["concept"].isin(list(NUCLEOTIDES))
    share = max((SHOWN - len(NUCLEOTIDES)) // max(len(files), 1), 1)
    for concepts in files:
        mine = best["concept"].isin(concepts.tolist())
        keep |= mine & (mine.cumsum() <= share)
    others = ~keep
    return best.loc[keep | (others & (others.cumsum() <= SHOWN - keep.sum()))]


def show_signals(best: "pd.DataFrame") -> None:
    """Print the table of the best feature of each signal; nothing if a shard was added up."""
    rows = []
    for row in best.to_dict("records"):
        low, high = _two_digits(row["bin_spearman_low"]), _two_digits(row["bin_spearman_high"])
        rho, *scores = (_two_digits(row[f"{name}_spearman"]) for name in ("bin", "sequence", "dimension"))
        name = row["feature"] if row["read_strand"] == "+" else f"{row['feature']}-"
        between = f"{low} to {high}" if low else ""
        rows.append((row["signal"], name, rho, between, *scores, _two_digits(row.get("r2", nan)), row["verdict"]))
    if rows:
        columns = ("signal", "feature", "rho", "interval", "letters", "dimension", "R2", "verdict")
        title = "Best feature of each signal: Spearman's correlation in bins of the report half"
        print_table(title, columns, rows, left=("signal", "feature", "verdict"))
    if "r2" in best and bool(best["r2"].isna().any()):
        log.info(
            "R2 is blank: the select half has fewer than 3 blocks with a value, or the signal is constant on a half"
        )


def _two_digits(value: float) -> str:
    return "" if isnan(value) else f"{value:.2f}"
