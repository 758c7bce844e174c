"""``sae-tracks motifs``: what features respond to."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from sae_tracks.cli.inputs import open_source, parse_features
from sae_tracks.cli.options import (
    DryRunOption,
    FilterOptions,
    GenomePath,
    InsightShardOption,
    MotifsOption,
    ReadingOptions,
    SaePath,
    SeedOption,
    SomeFeaturesOption,
    out_folder,
)
from sae_tracks.cli.tables import print_table
from sae_tracks.cli.verb import Given, verb
from sae_tracks.names import counted

if TYPE_CHECKING:
    import pandas as pd

    from sae_tracks.motifs import Motif
    from sae_tracks.source import Source

SHOWN = 15  # features on the screen
log = logging.getLogger(__name__)


EXAMPLE = """In parts: sae-tracks motifs sae/ hg38.fa --motifs JASPAR2024 --shard $i/16 -o shards/$i    (i from 1 to 16)

Example: sae-tracks motifs sae/ hg38.fa -r chr14 --motifs JASPAR2024 --repeats alu -o motifs/"""


@verb(
    EXAMPLE,
    panel="Explain features",
    without=["min_instances", "min_score", "max_coverage"],
)
def motifs(
    sae: SaePath,
    genome: GenomePath,
    out: Annotated[Path, out_folder("Folder of motifs.meme, motifs.tsv, places.bed.")],
    features: SomeFeaturesOption = None,
    places: Annotated[int, Option(min=10, help="Strongest places per feature and half that are aligned.")] = 1000,
    apart: Annotated[int, Option(min=61, help="Bases between two places of a feature, at least.")] = 100,
    known: MotifsOption = None,
    repeats: Annotated[
        str | None,
        Option(
            metavar="FILE|softmask|alu",
            help="Repeats: rmsk table, RepeatMasker .out, BED; lower case; or Alu, with the position in its consensus.",
        ),
    ] = None,
    annotation: Annotated[
        list[str] | None,
        Option(help="Genes (GTF, GFF3) or any annotation: in which concept a feature peaks; repeatable."),
    ] = None,
    logos: Annotated[bool, Option("--logos", help="Draw each motif: logos/f357.png.")] = False,
    *,
    filters: FilterOptions,
    reading: ReadingOptions,
    seed: SeedOption = 0,
    shard: InsightShardOption = None,
    dry_run: DryRunOption = False,
    given: Given,
) -> None:
    """Name what features respond to: align the sequence of their strongest places.

    The motif is made on one half of the genome and tested on the other. It is compared with known ones (--motifs).
    Where a feature peaks can explain more: at a position of a repeat (--repeats) or of codons (--annotation).
    """
    from sae_tracks.insight.motifs import MotifQuestion, MotifRun, asked_features
    from sae_tracks.insight.shards import run_shard
    from sae_tracks.metrics import halves_on
    from sae_tracks.regions import parse_shard
    from sae_tracks.source import ReadBases

    given.refuse_if(shard, "--shard makes no motif yet; sae-tracks plot logo draws those of motifs.meme", "logos")
    part = parse_shard(shard)
    source = open_source(sae, genome, reading)
    ids = asked_features(source, parse_features(features) if features else None)
    regions, select, report = source.regions or (), filters.select_on or (), filters.report_on or ()
    halves = halves_on(source.genome, regions, split=not filters.no_split, select=select, report=report)
    if dry_run:
        return typer.echo(_size(source, ids, out))
    files = known, repeats, annotation or (), filters.alias
    run = MotifRun(source, MotifQuestion(ReadBases.of(source), halves, ids, places, apart, *files, seed))
    if shard:
        run_shard(run, out, part)
        return
    found = run.whole()
    found.write(out)
    if logos:
        _draw(found.motifs, out / "logos")
    show(found.table)
    named = sum(name != "" for name in found.table["name"])
    features = counted(len(found.table), "feature")
    log.info("%s, %d of them with a motif, %d with a name; in %s", features, len(found.motifs), named, out)


def _size(source: "Source", ids: list[int], out: Path) -> str:
    """What would be read, and how long that takes."""
    from sae_tracks.tracks.export import estimate

    expected = estimate(source, ids)
    read = f"{expected.bases:,} bases in {counted(expected.windows, 'window')}"
    return f"{counted(len(ids), 'feature')} in {out}: {read}; {expected.took} to read them"


def _draw(motifs: "list[Motif]", folder: Path) -> None:
    from sae_tracks.progress import track
    from sae_tracks.report.figures import save_figure
    from sae_tracks.report.logos import plot_logo

    for motif in track(motifs, "drawing", len(motifs)):
        save_figure(plot_logo(motif), folder / f"{motif.matrix_id}.png")


def show(table: "pd.DataFrame") -> None:
    """Print the features whose motif or place is clearest: those with a name first, then by AUROC."""
    some = table.assign(unnamed=table["name"] == "").sort_values(["unnamed", "auroc"], ascending=[True, False])
    title = f"{min(SHOWN, len(some))} of {counted(len(some), 'feature')}; AUROC on the report half"
    rows = []
    for row in some.head(SHOWN).to_dict("records"):
        auroc = "" if row["auroc"] != row["auroc"] else f"{row['auroc']:.3f}"
        rows.append((row["feature"], row["name"] or row["why"], row["consensus"], f"{row['sites']:,}", auroc))
    columns = ("feature", "name", "motif", "sites", "AUROC")
    print_table(title, columns, rows, left=columns[:3])
