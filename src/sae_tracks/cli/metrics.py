"""``sae-tracks metrics``: score features against annotations."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sae_tracks.cli.inputs import open_source, parse_black_list, parse_features, parse_regions
from sae_tracks.cli.options import (
    AliasOption,
    DryRunOption,
    MaxCoverageOption,
    MotifsOption,
    ReadingOptions,
    ReadStrands,
    Scale,
    ScaleOption,
    ShardOption,
    SomeFeaturesOption,
    with_options,
)
from sae_tracks.errors import SaeTracksError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from sae_tracks.controls.score import ControlSettings

EPILOG = "Example: sae-tracks metrics sae/ hg38.fa jaspar2024.chr14.bed.gz -r chr14 --min-score 500 -o scores/"
SHOWN = 15  # concepts on the screen

Paths = Annotated[
    list[str],
    typer.Argument(metavar="SAE GENOME [ANNOTATION]", help="SAE (left out with --bed), FASTA, and annotations."),
]
AnnotationOption = Annotated[
    list[str] | None,
    typer.Option("--annotation", help="Annotation, like those behind the genome: GENOME --bed A --annotation B."),
]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder of metrics.parquet, metrics.tsv, counts.npz.")]
BedOption = Annotated[
    Path | None, typer.Option("--bed", help="Score intervals, those of export-bed or any; no SAE and no model is read.")
]
ThresholdsOption = Annotated[
    list[float] | None,
    typer.Option("--threshold", "-t", min=0, help="Active means strictly greater; repeatable (0 0.15 0.5 0.6 0.8)."),
]
AllPairsOption = Annotated[
    bool, typer.Option("--all-pairs", help="Every pair with a true positive, not the ten best per concept and feature.")
]


class Controls(StrEnum):
    """How much is done to find out whether a match is real."""

    standard = "standard"
    untrained = "untrained"
    none = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterOptions:
    """Which concepts are scored, and which bases choose and report."""

    min_instances: Annotated[
        int, typer.Option(min=1, help="Leave out concepts with fewer sites per strand within the regions.")
    ] = 10
    min_score: Annotated[
        float | None,
        typer.Option(help="Leave out sites of a lower score, in the file's units (UCSC's JASPAR: 400 is p = 1e-4)."),
    ] = None
    max_coverage: MaxCoverageOption = None
    alias: AliasOption = None
    select_on: Annotated[
        list[str] | None,
        typer.Option("--select-on", metavar="REGION|BED", help="Choose on these contigs or regions; repeatable."),
    ] = None
    report_on: Annotated[
        list[str] | None,
        typer.Option("--report-on", metavar="REGION|BED", help="Report on these. The one not given is the rest."),
    ] = None
    no_split: Annotated[
        bool, typer.Option("--no-split", help="Choose and report on all bases, not on alternate blocks.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOptions:
    """What the best matches are compared with."""

    controls: Annotated[
        Controls,
        typer.Option("--controls", help="standard; untrained: untrained models too (long); none: scores alone."),
    ] = Controls.standard
    motifs: MotifsOption = None
    decoys: Annotated[int, typer.Option(min=1, help="Number of column-shuffled decoys per motif.")] = 5
    repeats: Annotated[
        str | None,
        typer.Option("--repeats", metavar="FILE|softmask|alu", help="Repeats: rmsk, .out, BED, lower case, or Alu."),
    ] = None
    seeds: Annotated[
        list[str] | None, typer.Option("--seeds", metavar="SAE", help="SAE of another seed to compare; repeatable.")
    ] = None
    trained_on: Annotated[
        Path | None,
        typer.Option(
            "--trained-on", help="Activations that the SAE was trained on, for untrained models (default: its record)."
        ),
    ] = None

    def settings(self, sae: str, untested: str) -> "ControlSettings | None":
        """For `score`; options of controls are errors if no controls are run, which `untested` gives the reason for."""
        from sae_tracks.controls.score import ControlSettings, activations_of

        untrained = self.controls is Controls.untrained
        trained_on = self.trained_on
        if untested:
            asked = [("--controls untrained", untrained), ("--motifs", self.motifs), ("--repeats", self.repeats)]
            asked += [("--seeds", self.seeds), ("--trained-on", trained_on)]
            if given := [name for name, value in asked if value]:
                raise UsageError(f"{untested}, so no controls are run: leave out {', '.join(given)}")
            return None
        if trained_on and not untrained:
            raise UsageError("--trained-on is for untrained models: add --controls untrained, or leave it out")
        if untrained:
            trained_on = trained_on or activations_of(sae)
        return ControlSettings(
            motifs=self.motifs,
            decoys=self.decoys,
            repeats=self.repeats,
            seeds=self.seeds or (),
            trained_on=trained_on,
        )


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog=EPILOG)(with_options()(metrics))


def metrics(
    paths: Paths,
    out: OutOption,
    bed: BedOption = None,
    annotation: AnnotationOption = None,
    *,
    reading: ReadingOptions,
    features: SomeFeaturesOption = None,
    threshold: ThresholdsOption = None,
    scale: ScaleOption = Scale.max,
    filters: FilterOptions,
    all_pairs: AllPairsOption = False,
    control: ControlOptions,
    shard: ShardOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Precision, recall and F1 of features against annotations and A, C, G, T, and whether a match is real."""
    from sae_tracks.controls.score import prepare_score, score_bed, why_untested
    from sae_tracks.genome import Genome
    from sae_tracks.metrics import THRESHOLDS, evaluate_on

    sae, genome, annotations = _split(paths, annotation, bed)
    if out.exists() and not out.is_dir():
        raise SaeTracksError(f"cannot write {out}: it is a file; name a folder")
    wanted = control.controls is not Controls.none
    untested = why_untested(shard=shard, split=not filters.no_split, controls=wanted)
    controls = control.settings(sae, "--bed reads no model" if bed else untested)
    if bed and (_reads_model(reading) or features or shard):
        raise SaeTracksError("--bed reads no model: leave out -m, -f, --read-strand, --shard, windows and contexts")
    source = None if bed else open_source(sae, genome, reading)
    fasta = source.genome if source else Genome(genome)
    evaluation = evaluate_on(
        fasta,
        annotations,
        source.regions if source else parse_regions(fasta, reading.region, reading.regions),
        black_list=source.black_list if source else parse_black_list(fasta, reading.black_list),
        min_score=filters.min_score,
        min_instances=filters.min_instances,
        max_coverage=filters.max_coverage,
        alias=filters.alias,
        split=not filters.no_split,
        select=filters.select_on or (),
        report=filters.report_on or (),
    )
    if bed:
        exported_at = _only(threshold)
        if dry_run:
            typer.echo(evaluation.size)
        else:
            show(score_bed(bed, evaluation, out, threshold=exported_at, all_pairs=all_pairs).table)
        return
    assert source is not None
    ids, thresholds = parse_features(features) if features else None, threshold or THRESHOLDS
    task = prepare_score(source, evaluation, out, ids, thresholds, scale.value, shard, controls)
    if dry_run:
        typer.echo(task.estimate())
    else:
        show(task.run(all_pairs=all_pairs).table)


def show(best: "pd.DataFrame") -> None:
    """Print the first rows of the table of best features; nothing if a shard was counted."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    if not best.columns.size:
        return
    title = f"Best feature of {min(SHOWN, len(best))} of {len(best)} concepts, on the report half"
    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))  # fits a terminal of 80 columns
    for name in ("concept", "TF", "site", "feature", "cut", "sites", "prec.", "rec.", "F1", "verdict"):
        table.add_column(name, justify="left" if name in ("concept", "TF", "feature", "verdict") else "right")
    forward = bool((best["read_strand"] == "+").all())
    for row in best.head(SHOWN).to_dict("records"):
        scores = (f"{row[name]:.3f}" for name in ("precision", "recall", "f1"))
        feature = row["feature"] if forward else f"{row['feature']}{row['read_strand']}"
        names = (row["concept"], row["tf"], row["site_strand"], feature)
        table.add_row(*names, f"{row['threshold']:g}", f"{row['instances']:,}", *scores, row["verdict"])
    Console().print(table)


def _split(paths: list[str], named: list[str] | None, bed: Path | None) -> tuple[str, Path, list[str]]:
    """SAE, genome and annotations; with --bed there is no SAE."""
    sae, *rest = ["", *paths] if bed else paths
    genome, *annotations = [*rest, *(named or [])] if rest else [""]
    if not annotations:
        raise SaeTracksError(f"name {'' if bed else 'the SAE, '}the genome and at least one annotation, in this order")
    return sae, Path(genome), annotations


def _only(thresholds: list[float] | None) -> float | None:
    """The threshold at which the intervals of --bed were exported."""
    if thresholds and len(thresholds) > 1:
        raise SaeTracksError("--bed: the intervals were exported at one threshold; give one -t or none")
    return thresholds[0] if thresholds else None


def _reads_model(reading: ReadingOptions) -> bool:
    """Whether an option was given that says how a model reads."""
    chosen = (reading.model, reading.window_size, reading.min_context)
    return any(chosen) or reading.context is not None or reading.read_strand is not ReadStrands.forward
