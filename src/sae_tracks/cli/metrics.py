"""``sae-tracks metrics``: score features against annotations."""

import logging
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from sae_tracks.cli.options import (
    BlackListOption,
    ContextOption,
    DeviceOption,
    DryRunOption,
    MinContextOption,
    MismatchOption,
    ModelOption,
    ReadStrands,
    ReadStrandsOption,
    RegionOption,
    RegionsOption,
    Scale,
    ScaleOption,
    SomeFeaturesOption,
    ThreadsOption,
    TrustRemoteCodeOption,
    WindowOption,
    open_source,
    parse_black_list,
    parse_features,
    parse_regions,
)
from sae_tracks.errors import SaeTracksError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd

    from sae_tracks.features import FeatureBlock
    from sae_tracks.metrics import Counter, Counts, Evaluation
    from sae_tracks.source import Source

SHOWN = 15  # concepts on the screen
EPILOG = "Example: sae-tracks metrics sae/ hg38.fa jaspar2024.chr14.bed.gz -r chr14 --min-score 500 -o scores/"
log = logging.getLogger(__name__)

Paths = Annotated[
    list[str],
    typer.Argument(metavar="SAE GENOME ANNOTATION", help="SAE (left out with --bed), FASTA, and BED files."),
]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder of metrics.parquet, metrics.tsv, counts.npz.")]
BedOption = Annotated[
    Path | None, typer.Option("--bed", help="Score intervals that export-bed wrote; no SAE and no model is read.")
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
AllPairsOption = Annotated[
    bool, typer.Option("--all-pairs", help="Every pair with a true positive, not the ten best of each.")
]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog=EPILOG)(metrics)


def metrics(
    paths: Paths,
    out: OutOption,
    bed: BedOption = None,
    region: RegionOption = None,
    regions: RegionsOption = None,
    black_list: BlackListOption = None,
    read_strand: ReadStrandsOption = ReadStrands.forward,
    model: ModelOption = None,
    window_size: WindowOption = None,
    context: ContextOption = None,
    min_context: MinContextOption = 0,
    features: SomeFeaturesOption = None,
    threshold: ThresholdsOption = None,
    scale: ScaleOption = Scale.max,
    min_instances: MinInstancesOption = 10,
    min_score: MinScoreOption = None,
    no_split: NoSplitOption = False,
    all_pairs: AllPairsOption = False,
    device: DeviceOption = "auto",
    processors: ThreadsOption = None,
    allow_mismatch: MismatchOption = False,
    trust_remote_code: TrustRemoteCodeOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Precision, recall and F1 of features against annotations and A, C, G, T, base by base."""
    from sae_tracks.files import write_provenance
    from sae_tracks.genome import Genome
    from sae_tracks.metrics import THRESHOLDS, annotation_checksums, evaluate_on, score_bed, write_tables

    sae, genome_path, annotations = _split(paths, bed)
    if out.exists() and not out.is_dir():
        raise SaeTracksError(f"cannot write {out}: it is a file; name a folder")
    filters = {"min_score": min_score, "min_instances": min_instances, "split": not no_split}
    if bed:
        if (
            model
            or features
            or window_size
            or context is not None
            or read_strand is not ReadStrands.forward
            or min_context
        ):
            raise SaeTracksError("--bed reads no model: leave out -m, -f, --read-strand, --window-size and contexts")
        genome, exported_at = Genome(genome_path), _only(threshold)
        where, black = parse_regions(genome, region, regions), parse_black_list(genome, black_list)
        evaluation = evaluate_on(genome, annotations, where, black_list=black, **filters)
        if dry_run:
            return typer.echo(_size(evaluation))
        counts = score_bed(bed, evaluation, threshold=exported_at)
        facts = _bed_facts(bed, evaluation) | {"thresholds": None if exported_at is None else [exported_at]}
    else:
        source = open_source(
            sae, genome_path, region=region, regions=regions, black_list=black_list, read_strand=read_strand,
            model=model, window_size=window_size, context=context, min_context=min_context, device=device,
            threads=processors,
            allow_mismatch=allow_mismatch, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        evaluation = evaluate_on(source.genome, annotations, source.regions, black_list=source.black_list, **filters)
        counter, blocks = _stream(evaluation, source, features, threshold or THRESHOLDS, scale)
        if dry_run:
            return typer.echo(f"{_size(evaluation)}; {_cost(evaluation, counter, blocks)}")
        counts = _count(counter, blocks)
        facts = source.provenance() | {"scale": scale.value, "thresholds": counts.thresholds.tolist()}
    best = write_tables(counts, out, all_pairs=all_pairs)
    facts |= {"annotations": annotation_checksums(annotations), **filters}
    write_provenance(out, **facts)
    _show(best)
    log.info("scores of %d concepts in %s", len(best), out)


def _split(paths: list[str], bed: Path | None) -> tuple[str, Path, list[str]]:
    """SAE, genome and annotations; with --bed the SAE is not there."""
    sae, *rest = ["", *paths] if bed else paths
    if len(rest) < 2:
        raise SaeTracksError(f"name {'' if bed else 'the SAE, '}the genome and at least one annotation, in this order")
    return sae, Path(rest[0]), rest[1:]


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


def _stream(
    evaluation: "Evaluation", source: "Source", features: str | None, thresholds: "Iterable[float]", scale: Scale
) -> "tuple[Counter, Iterator[FeatureBlock]]":
    """The counter of the features asked for, and the blocks that it is to take in."""
    from sae_tracks.metrics import Counter

    ids = source.sae.check_features(parse_features(features)).tolist() if features else None
    thresholds = sorted(set(thresholds))
    cutoffs = [source.sae.cutoffs(threshold, scale.value) for threshold in thresholds]
    counter = Counter(evaluation, thresholds, cutoffs, features=ids, read_strands=source.read_strands)
    return counter, source.blocks(ids)


def _count(counter: "Counter", blocks: "Iterator[FeatureBlock]") -> "Counts":
    from sae_tracks.features import run

    run(blocks, counter)
    return counter.counts()


def _size(evaluation: "Evaluation") -> str:
    return f"{evaluation.bases:,} bases, {len(evaluation.labels.concepts):,} concepts"


def _cost(evaluation: "Evaluation", counter: "Counter", blocks: "Iterator[FeatureBlock]") -> str:
    """Memory of the counts, and the time that all bases take if they go as fast as the second window."""
    counts = counter.counts()
    next(blocks)  # lays out the windows and warms up
    started = perf_counter()
    block = next(blocks, None)
    if block is None:
        return f"{counts.tp.nbytes / 1e9:.2f} GB of counts; one window, seconds"
    counter.add(block)
    counter.counts()
    seconds = (perf_counter() - started) * evaluation.bases * len(counts.read_strands) / len(block.region)
    return f"{counts.tp.nbytes / 1e9:.2f} GB of counts; about {seconds / 60:,.1f} min"


def _show(best: "pd.DataFrame") -> None:
    """The head of the best features as a table on the screen."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    title = f"Best feature of {min(SHOWN, len(best))} of {len(best)} concepts, on the report half"
    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))  # fits a terminal of 80 columns
    for name in ("concept", "TF", "site", "feature", "read", "cut", "instances", "precision", "recall", "F1"):
        table.add_column(name, justify="left" if name in ("concept", "TF", "feature") else "right", no_wrap=True)
    for row in best.head(SHOWN).itertuples():
        scores = (f"{score:.3f}" for score in (row.precision, row.recall, row.f1))
        names = (row.concept, row.tf, row.site_strand, row.feature, row.read_strand)
        table.add_row(*names, f"{row.threshold:g}", f"{row.instances:,}", *scores)
    Console().print(table)
