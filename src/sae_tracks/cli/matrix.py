"""``sae-tracks matrix`` and ``gene-lists``: features in peaks, genes and promoters."""

import logging
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from sae_tracks.cli.inputs import open_source, parse_features
from sae_tracks.cli.options import (
    AliasOption,
    GenomePath,
    ReadingOptions,
    SaePath,
    ScaleOption,
    SomeFeaturesOption,
    ThresholdOption,
    out_folder,
)
from sae_tracks.cli.verb import Given, verb
from sae_tracks.errors import UsageError
from sae_tracks.names import counted

PANEL = "Peaks, genes and cells"
MATRIX = """Promoters: sae-tracks matrix sae/ hg38.fa --genes genes.gtf --over promoter -o promoters.h5ad

Example: sae-tracks matrix sae/ hg38.fa peaks.narrowPeak --explained scores/ -o peaks.h5ad"""
MatrixPath = Annotated[Path, Argument(metavar="MATRIX", help="The .h5ad that matrix wrote.")]
log = logging.getLogger(__name__)


@verb(MATRIX, panel=PANEL)
def matrix(
    sae: SaePath,
    genome: GenomePath,
    rows: Annotated[
        Path | None, Argument(metavar="REGIONS", help="Regions that are the rows: BED, peaks, bigBed.")
    ] = None,
    *,
    out: Annotated[
        Path,
        Option(
            "--out", "-o", help="File to write: .h5ad, .parquet (a row per entry), or a folder .mtx (10x's layout)."
        ),
    ],
    genes: Annotated[Path | None, Option(help="GTF or GFF3 whose genes are the rows, in place of REGIONS.")] = None,
    over: Annotated[
        Literal["body", "promoter"], Option(help="With --genes: the whole gene, or the bases around its start.")
    ] = "body",
    upstream: Annotated[int, Option(min=0, help="With --over promoter: bases before the start of the gene.")] = 1000,
    downstream: Annotated[int, Option(min=0, help="With --over promoter: bases from the start of the gene on.")] = 200,
    alias: AliasOption = None,
    features: SomeFeaturesOption = None,
    explained: Annotated[
        list[Path] | None,
        Option(
            metavar="FOLDER",
            help="What metrics, motifs, insert, effects and compare wrote: names and lines of features; repeatable.",
        ),
    ] = None,
    reading: ReadingOptions,
    threshold: ThresholdOption = 0.15,
    scale: ScaleOption = "max",
    given: Given,
) -> None:
    """Write how active every feature is in every region: mean, maximum and share of active bases.

    The file is for scanpy or pandas: rows are regions, columns are features, per read strand.
    """
    from sae_tracks import read_gene_set, read_region_set, region_matrix
    from sae_tracks.metrics import annotation_checksums
    from sae_tracks.region_sets.stores import check_store

    if (rows is None) == (genes is None):
        raise UsageError("name the rows with one of REGIONS and --genes genes.gtf")
    given.refuse_if(genes is None, "only --genes has genes", "over", "upstream", "downstream")
    given.refuse_if(over == "body", "only --over promoter has a size", "upstream", "downstream")
    check_store(out)
    ids = parse_features(features) if features else None
    source = open_source(sae, genome, reading)
    named = {"files": annotation_checksums([path for path in (rows, genes) if path])}
    if genes:
        sizes = {"upstream": upstream, "downstream": downstream}
        regions = read_gene_set(genes, source.genome, over=over, **sizes, alias=alias)
        named |= {"over": over} | (sizes if over == "promoter" else {})
    else:
        regions = read_region_set(rows or "", source.genome, alias=alias)
    how = {"features": ids, "threshold": threshold, "scale": scale, "explained": explained or ()}
    report = region_matrix(source, regions, out, **how, named=named)
    sizes = f"{counted(report.regions, 'region')} x {counted(report.columns, 'column')}"
    log.info("%s, %s in %s", sizes, counted(report.entries, "entry", "entries"), out)


@verb("Example: sae-tracks gene-lists promoters.h5ad -f 357,12 -o lists/", panel=PANEL)
def gene_lists(
    matrix: MatrixPath,
    out: Annotated[Path, out_folder("Folder of the lists.")],
    features: SomeFeaturesOption = None,
    top: Annotated[int, Option(min=1, help="Number of genes per feature in features.gmt.")] = 100,
) -> None:
    """Rank genes by each feature: f357.rnk for GSEA, and the top genes as sets in features.gmt."""
    from sae_tracks import gene_lists

    report = gene_lists(matrix, out, features=parse_features(features) if features else None, top=top)
    log.info("%s of %s in %s", counted(report.features, "list"), counted(report.genes, "gene"), out)
    if report.silent:
        log.info("%s active in no gene: no list", counted(report.silent, "feature is", "features are"))
