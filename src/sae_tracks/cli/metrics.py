"""``sae-tracks metrics``: score features against annotations."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sae_tracks.cli.controlled import (
    Controls,
    ControlsOption,
    DecoysOption,
    RepeatsOption,
    SeedsOption,
    TrainedOnOption,
    Wanted,
    holder,
)
from sae_tracks.cli.inputs import open_source, parse_black_list, parse_regions
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
from sae_tracks.cli.scored import write_scores
from sae_tracks.cli.streaming import score_stream, size_of
from sae_tracks.errors import SaeTracksError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sae_tracks.genome import Genome
    from sae_tracks.metrics import Counts, Evaluation
    from sae_tracks.regions import GenomicRegion

    Evaluate = Callable[[Genome, list[GenomicRegion] | None, list[GenomicRegion]], Evaluation]

EPILOG = "Example: sae-tracks metrics sae/ hg38.fa jaspar2024.chr14.bed.gz -r chr14 --min-score 500 -o scores/"
log = logging.getLogger(__name__)

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
MinInstancesOption = Annotated[
    int, typer.Option(min=1, help="Leave out concepts with fewer sites on a strand within the regions.")
]
MinScoreOption = Annotated[
    float | None,
    typer.Option(help="Leave out sites of a lower score, in the file's units (UCSC's JASPAR: 400 = 1e-4)."),
]
NoSplitOption = Annotated[
    bool, typer.Option("--no-split", help="Choose and report on all bases, not on alternate blocks.")
]
SelectOption = Annotated[
    list[str] | None,
    typer.Option("--select-on", metavar="REGION|BED", help="Choose on these contigs or regions; repeatable."),
]
ReportOption = Annotated[
    list[str] | None,
    typer.Option("--report-on", metavar="REGION|BED", help="Report on these; one of the two alone leaves the rest."),
]
AllPairsOption = Annotated[
    bool, typer.Option("--all-pairs", help="Every pair with a true positive, not the ten best of each.")
]


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
    min_instances: MinInstancesOption = 10,
    min_score: MinScoreOption = None,
    max_coverage: MaxCoverageOption = None,
    alias: AliasOption = None,
    select_on: SelectOption = None,
    report_on: ReportOption = None,
    no_split: NoSplitOption = False,
    all_pairs: AllPairsOption = False,
    controls: ControlsOption = Controls.standard,
    motifs: MotifsOption = None,
    decoys: DecoysOption = 5,
    repeats: RepeatsOption = None,
    seeds: SeedsOption = None,
    trained_on: TrainedOnOption = None,
    shard: ShardOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Precision, recall and F1 of features against annotations and A, C, G, T, and whether a match is real."""
    from sae_tracks.metrics import THRESHOLDS, annotation_checksums, evaluate_on

    sae, genome, annotations = _split(paths, annotation, bed)
    if out.exists() and not out.is_dir():
        raise SaeTracksError(f"cannot write {out}: it is a file; name a folder")
    filters = {"min_score": min_score, "min_instances": min_instances, "max_coverage": max_coverage, "alias": alias}
    filters |= {"split": not no_split}
    halves = {"select": select_on, "report": report_on}
    wanted = Wanted(controls, motifs, decoys, repeats, seeds, trained_on)
    untested = _no_controls(bed, shard, no_split, controls)
    if untested:
        wanted.refuse(untested)

    def evaluate(fasta: "Genome", where: "list[GenomicRegion] | None", black: "list[GenomicRegion]") -> "Evaluation":
        return evaluate_on(fasta, annotations, where, black_list=black, **_parsed(fasta, halves), **filters)

    if bed:
        alone = reading.read_strand is ReadStrands.forward and reading.context is None
        if not alone or reading.model or features or reading.window_size or reading.min_context or shard:
            raise SaeTracksError("--bed reads no model: leave out -m, -f, --read-strand, --shard, windows and contexts")
        hold = None
        done = _score_bed(bed, genome, evaluate, reading, threshold, dry_run)
    else:
        source = open_source(sae, genome, reading)
        thresholds = sorted(set(threshold or THRESHOLDS))
        hold = None if untested or dry_run else holder(
            wanted, source, sae, thresholds, scale.value, out, alias=alias, min_score=min_score
        )  # fmt: skip
        done = score_stream(source, evaluate, features, thresholds, scale, shard, dry_run, hold)
    if done:
        counts, facts = done
        named = {f"{half}_on": texts for half, texts in halves.items()}
        facts |= {"annotations": annotation_checksums(annotations), **filters, **named}
        facts |= {"alias_sha256": next(iter(annotation_checksums([alias]).values())) if alias else None}
        _write_bigwig_shard(counts, out, facts, shard) if shard else write_scores(
            counts, out, facts, all_pairs=all_pairs, hold=hold, untested=untested or ""
        )


def _no_controls(bed: Path | None, shard: str | None, no_split: bool, controls: Controls) -> str | None:
    """Why nothing can, or is to, be held against the matches; None where it is."""
    reasons = {
        "--bed reads no model": bed,
        "--shard counts a part, and merge-metrics adds counts alone": shard,
        "--no-split leaves no half that reports on what the other chose": no_split,
        "--controls none": controls is Controls.none,
    }
    return next((reason for reason, given in reasons.items() if given), None)


def _score_bed(
    bed: Path,
    genome: Path,
    evaluate: "Evaluate",
    reading: ReadingOptions,
    threshold: list[float] | None,
    dry_run: bool,
) -> "tuple[Counts, dict] | None":
    """Counts of intervals, and the facts of their provenance; None where they are only estimated."""
    from sae_tracks.genome import Genome
    from sae_tracks.metrics import score_bed

    fasta, exported_at = Genome(genome), _only(threshold)
    regions = parse_regions(fasta, reading.region, reading.regions)
    evaluation = evaluate(fasta, regions, parse_black_list(fasta, reading.black_list))
    if dry_run:
        return typer.echo(size_of(evaluation))
    counts = score_bed(bed, evaluation, threshold=exported_at)
    return counts, _bed_facts(bed, evaluation) | {"thresholds": None if exported_at is None else [exported_at]}


def _write_bigwig_shard(counts: "Counts", out: Path, facts: dict, shard: str) -> None:
    """The counts of a shard; their tables wait for the others."""
    from sae_tracks.files import write_provenance
    from sae_tracks.metrics import COUNTS

    counts.save(out / COUNTS)
    write_provenance(out, **facts, shard=shard)
    log.info("counts of part %s in %s; sae-tracks merge-metrics adds all parts and scores them", shard, out)


def _parsed(genome: "Genome", halves: dict[str, list[str] | None]) -> "dict[str, list[GenomicRegion]]":
    """The regions of --select-on and --report-on, each a region's text or a BED file."""
    from sae_tracks.annotations import read_regions

    return {
        half: [
            region
            for text in texts or []
            for region in (read_regions(text, genome) if Path(text).is_file() else [genome.region(text)])
        ]
        for half, texts in halves.items()
    }


def _split(paths: list[str], named: list[str] | None, bed: Path | None) -> tuple[str, Path, list[str]]:
    """SAE, genome and annotations; with --bed the SAE is not there."""
    sae, *rest = ["", *paths] if bed else paths
    genome, *annotations = [*rest, *(named or [])] if rest else [""]
    if not annotations:
        raise SaeTracksError(f"name {'' if bed else 'the SAE, '}the genome and at least one annotation, in this order")
    return sae, Path(genome), annotations


def _only(thresholds: list[float] | None) -> float | None:
    """The threshold that the intervals of --bed were exported at."""
    if thresholds and len(thresholds) > 1:
        raise SaeTracksError("--bed: the intervals were exported at one threshold; give one -t or none")
    return thresholds[0] if thresholds else None


def _bed_facts(bed: Path, evaluation: "Evaluation") -> dict:
    """What the provenance says where no model was read."""
    from sae_tracks.metrics import annotation_checksums

    genome = evaluation.genome
    contigs = dict.fromkeys(region.contig for region in evaluation.regions)
    return {
        "bed": annotation_checksums([bed]),
        "genome": {"path": str(genome.path), "contigs": genome.identity(contigs)},
        "regions": [str(region) for region in evaluation.regions],
    }
