"""``sae-tracks insert``: put motifs into other sequence, and see whether features respond."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from sae_tracks.cli.inputs import open_source, parse_features
from sae_tracks.cli.options import (
    RELEASE,
    DryRunOption,
    GenomePath,
    InsightShardOption,
    MatricesOption,
    ReadingOptions,
    SaePath,
    SeedOption,
    out_folder,
)
from sae_tracks.cli.tables import print_table
from sae_tracks.cli.verb import Given, verb
from sae_tracks.errors import UsageError
from sae_tracks.names import counted

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 20
log = logging.getLogger(__name__)


@verb(
    """Known matches: sae-tracks insert sae/ hg38.fa -r chr14 --motifs JASPAR2024.pfm --from scores/

Example: sae-tracks insert sae/ hg38.fa -r chr14 -f 357,12 --matrix MA1596.1 --repeats alu -o insertion/""",
    panel="Explain features",
    without=["black_list", "min_context"],
)
def insert(
    sae: SaePath,
    genome: GenomePath,
    motifs: MatricesOption = RELEASE,
    matrix: Annotated[str | None, Option(help="Matrix IDs, separated by commas (default: all of --motifs).")] = None,
    features: Annotated[str | None, Option("--features", "-f", help="Feature ids: 357,12 or 0-9, or @FILE.")] = None,
    scores: Annotated[
        Path | None,
        Option(
            "--from", metavar="FOLDER", help="Take motifs and features from the tables of metrics; judge them again."
        ),
    ] = None,
    verdict: Annotated[
        list[str] | None,
        Option(help="With --from: take matches of this verdict; repeatable (default: supported, not-tested, context)."),
    ] = None,
    out: Annotated[
        Path | None,
        out_folder("Folder of insertion.tsv and insertion.parquet (default: that of --from)."),
    ] = None,
    *,
    reading: ReadingOptions,
    contexts: Annotated[int, Option(min=20, max=1000, help="Number of contexts of each kind.")] = 100,
    repeats: Annotated[
        str | None, Option(metavar="FILE|softmask|alu", help="Also put motifs into repeats; see metrics --repeats.")
    ] = None,
    seed: SeedOption = 0,
    shard: InsightShardOption = None,
    dry_run: DryRunOption = False,
    given: Given,
) -> None:
    """Put words of motifs and of their decoys into real and into shuffled sequence, and compare what features do.

    An AUROC of 0.5 means that a feature does not tell the motif from its decoys: then it follows something else.
    """
    from sae_tracks.insight.insert import InsertRun, write_insertion
    from sae_tracks.insight.judged import judge_again, matches_of
    from sae_tracks.insight.shards import run_shard
    from sae_tracks.motifs import chosen_motifs, named_motifs
    from sae_tracks.regions import parse_shard

    if (scores is None) == (features is None):
        raise UsageError("name features with -f 357,12, or matches with --from scores/")
    if (folder := out if shard else out or scores) is None:
        raise UsageError("name the folder to write: -o")
    given.refuse_if(scores is None, "only --from has verdicts", "verdict")
    given.refuse_if(scores, "--from names the matrices", "matrix")
    part = parse_shard(shard)
    source = open_source(sae, genome, reading)
    pairs = matches_of(scores, source, verdict or ("supported", "not-tested", "context")) if scores else None
    found, where = named_motifs(motifs)
    names = {name for name, _ in pairs} if pairs else {name.strip() for name in matrix.split(",")} if matrix else None
    chosen = found if names is None else chosen_motifs(found, where, names)
    ids = sorted({feature for _, feature in pairs}) if pairs else parse_features(features or "")
    how = {"contexts": contexts, "repeats": repeats, "seed": seed}
    run = InsertRun(source, chosen, ids, pairs=pairs, **how, scores=scores, named={"motifs": where})
    if dry_run:
        return typer.echo(f"{folder}: {run.size()}")
    if shard:
        run_shard(run, folder, part)
        return
    measured = run.whole()
    write_insertion(measured, folder, **run.provenance())
    if scores:
        judge_again(scores, measured.table)
        log.info("verdicts in %s take the insertions into account", scores)
    show(measured.table)
    log.info("%s in %s", counted(len(measured.table), "row"), folder / "insertion.tsv")


def show(table: "pd.DataFrame") -> None:
    """Print the rows that respond most clearly."""
    inside = bool(table["repeat_auroc"].notna().any())
    title = f"Insertion of motifs: {min(SHOWN, len(table))} of {counted(len(table), 'row')}, the highest AUROC first"
    rows = []
    for row in table.sort_values("insertion_auroc", ascending=False).head(SHOWN).to_dict("records"):
        feature = f"{row['feature']}{row['read_strand'] if row['read_strand'] == '-' else ''}"
        auroc = f"{row['insertion_auroc']:.3f} ({row['insertion_low']:.2f}-{row['insertion_high']:.2f})"
        numbers = (
            auroc,
            f"{row['insertion_change']:.3g}",
            f"{row['offset']:+.0f}",
            *([f"{row['repeat_auroc']:.3f}"] * inside),
        )
        rows.append((row["concept"], row["tf"], row["site_strand"], feature, *numbers))
    columns = ("matrix", "TF", "site", "feature", "AUROC", "change", "at", *(["in repeats"] * inside))
    print_table(title, columns, rows, left=("matrix", "TF", "feature"))
