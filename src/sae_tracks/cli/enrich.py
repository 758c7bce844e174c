"""``sae-tracks enrich`` and ``match-regions``: features in sets of regions, beside regions that are like them."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from sae_tracks.cli.inputs import open_source, parse_features, use_threads
from sae_tracks.cli.options import (
    AliasOption,
    GenomePath,
    ReadingOptions,
    RegionOptions,
    RepeatsOption,
    SaePath,
    ScaleOption,
    SeedOption,
    SomeFeaturesOption,
    ThreadsOption,
    ThresholdOption,
    out_file,
    out_folder,
)
from sae_tracks.cli.tables import print_table
from sae_tracks.cli.verb import Given, verb
from sae_tracks.errors import UsageError
from sae_tracks.names import counted

if TYPE_CHECKING:
    import pandas as pd

    from sae_tracks.region_sets.matched import MatchedRegions

SHOWN = 10  # features per set on the screen
GenesOption = Annotated[
    Path | None, Option(help="GTF or GFF3: match the distance to the nearest transcription start as well.")
]
PerRegionOption = Annotated[int, Option(min=1, help="Number of matched regions wanted per region.")]
EPILOG = """What is special about my peaks, against others of the same set-up:
sae-tracks enrich sae/ hg38.fa peaks.bed --universe all_peaks.bed -o enriched/

Example: sae-tracks enrich sae/ hg38.fa a.bed b.bed --genes genes.gtf --repeats rmsk.txt -o enriched/"""
log = logging.getLogger(__name__)


@verb(EPILOG, panel="Score features")
def enrich(
    sae: SaePath,
    genome: GenomePath,
    sets: Annotated[list[Path], Argument(metavar="REGIONS...", help="Sets of regions: BED, peaks; one file each.")],
    out: Annotated[Path, out_folder("Folder of enrichment.tsv, enrichment.parquet and matched/.")],
    universe: Annotated[
        Path | None, Option(help="All regions that could be in a set: its other regions are the background.")
    ] = None,
    against: Annotated[Path | None, Option(help="Another set, which is the background of the one set.")] = None,
    paired: Annotated[
        bool, Option("--paired", help="With --against: compare regions of one name (or row) with each other.")
    ] = False,
    matched: Annotated[
        list[Path] | None, Option(help="What match-regions wrote for the sets, in their order; repeatable.")
    ] = None,
    per_region: PerRegionOption = 5,
    genes: GenesOption = None,
    repeats: RepeatsOption = None,
    alias: AliasOption = None,
    *,
    reading: ReadingOptions,
    features: SomeFeaturesOption = None,
    threshold: ThresholdOption = 0.15,
    scale: ScaleOption = "max",
    seed: SeedOption = 0,
    given: Given,
) -> None:
    """Compare what features do in sets of regions with a background, and test whether they differ.

    The background are regions of the genome that are alike in length, GC, CpG (and repeats and distance to genes),
    unless a --universe or a set --against is named.
    """
    from sae_tracks.metrics import annotation_checksums
    from sae_tracks.region_sets.comparison import check_names, in_universe, with_matched, with_other
    from sae_tracks.region_sets.enrich import enrich as run
    from sae_tracks.region_sets.enrich import write_enrichment
    from sae_tracks.region_sets.matched import landscape, match_regions, read_matched
    from sae_tracks.region_sets.regions import read_region_set

    if sum(map(bool, (universe, against, matched))) > 1:
        raise UsageError("a background is one of --universe, --against and --matched")
    given.refuse_if(not against, "only sets --against each other are pairs", "paired")
    given.refuse_if(universe or against, "only matched regions are drawn", "genes", "repeats", "per_region")
    given.refuse_if(matched, "--matched regions are drawn already", "per_region")
    if against and len(sets) != 1:
        raise UsageError("--against compares one set with another one: name one")
    if matched and len(matched) != len(sets):
        raise UsageError(f"name one --matched file per set: there are {len(sets)} sets")
    source = open_source(sae, genome, reading)
    fasta, where = source.genome, source.regions or []
    whole = [read_region_set(path, fasta, alias=alias) for path in sets]
    check_names(one.name for one in whole)
    read = [one.inside(where) for one in whole]
    found: list[MatchedRegions] = []
    if universe:
        comparison = in_universe(read, read_region_set(universe, fasta, alias=alias).inside(where))
    elif against:
        other = read_region_set(against, fasta, alias=alias).inside(where)
        comparison = with_other(read[0], other, fasta, paired=paired)
    else:
        land = landscape(fasta, where, repeats=repeats, genes=genes, black_list=source.black_list, alias=alias)
        if matched:
            found = [read_matched(path, one, land) for path, one in zip(matched, whole)]
        else:
            found = [match_regions(one, land, per_region=per_region, seed=seed) for one in read]
        comparison = with_matched(found, fasta)
    ids = parse_features(features) if features else None
    table = run(source, comparison, features=ids, threshold=threshold, scale=scale, seed=seed)
    files = [*sets, *(matched or []), *filter(None, (universe, against, genes))]
    facts = {"files": annotation_checksums(files), "background": comparison.kind, "repeats": repeats, "seed": seed}
    settings = {"threshold": threshold, "scale": scale, "per_region": None if universe or against else per_region}
    write_enrichment(table, out, found, **source.provenance(), **facts, **settings)
    show(table)
    log.info("enrichment of %s in %s", counted(len(comparison.designs), "set"), out)


@verb(
    "Example: sae-tracks match-regions hg38.fa peaks.bed --genes genes.gtf --repeats softmask -o matched.bed",
    panel="Score features",
)
def match_regions(
    genome: GenomePath,
    path: Annotated[Path, Argument(metavar="REGIONS", help="Set of regions: BED, peaks.")],
    out: Annotated[Path, out_file("BED file to write.")],
    per_region: PerRegionOption = 5,
    genes: GenesOption = None,
    repeats: RepeatsOption = None,
    alias: AliasOption = None,
    *,
    where: RegionOptions,
    black_list: Annotated[Path | None, Option("--black-list", "-bl", help="BED file of regions to leave out.")] = None,
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
) -> None:
    """Draw regions of the genome that are alike in length, GC, CpG (and repeats and distance to genes).

    No two of them share a base, and none shares one with the set. Prints how alike they are.
    """
    from sae_tracks import Genome
    from sae_tracks.annotations import read_regions
    from sae_tracks.metrics import annotation_checksums
    from sae_tracks.region_sets.matched import landscape
    from sae_tracks.region_sets.matched import match_regions as run
    from sae_tracks.region_sets.regions import read_region_set

    use_threads(threads)
    fasta = Genome(genome)
    read = fasta.merged(where.regions_in(fasta))
    masked = read_regions(black_list, fasta, skip_unknown=True) if black_list else []
    own = read_region_set(path, fasta, alias=alias).inside(read)
    land = landscape(fasta, read, repeats=repeats, genes=genes, black_list=masked, alias=alias)
    found = run(own, land, per_region=per_region, seed=seed)
    files = annotation_checksums([*filter(None, (path, genes, black_list))])
    contigs = (region.contig for region in read)
    facts = {"genome": fasta.record(contigs), "regions": list(map(str, read)), "files": files}
    found.write(out, **facts, repeats=repeats, per_region=per_region, seed=seed)
    rows = [
        (str(name), f"{row['set']:.4g}", f"{row['matched']:.4g}", f"{row['difference']:+.3f}")
        for name, row in found.balance().iterrows()
    ]
    print_table("Set and matched regions", ("trait", "set", "matched", "difference (SD)"), rows, left=("trait",))
    log.info("%s in %s", counted(len(found.table), "region"), out)


def show(table: "pd.DataFrame") -> None:
    """Print the first features of each set."""
    columns = ("feature", "share", "in bg.", "fold", "95 %", "hit", "in bg.", "AUROC", "q")
    for name, rows in table.groupby("set", sort=False):
        first = rows.head(SHOWN)
        shown = []
        for row in first.to_dict("records"):
            feature = row["feature"] if row["read_strand"] == "+" else f"{row['feature']}-"
            shares = (f"{100 * row[column]:.2g} %" for column in ("share", "share_background"))
            ends = f"{row['fold_low']:.2f} {row['fold_high']:.2f}" if row["fold_low"] == row["fold_low"] else ""
            hits = f"{row['support']:,}", f"{row['b']:,}"
            shown.append(
                (feature, *shares, f"{row['fold']:.2f}", ends, *hits, f"{row['auroc']:.2f}", f"{row['q']:.2g}")
            )
        size = f"{counted(rows['regions'].iloc[0], 'region')}, {rows['background'].iloc[0]:,} in the background"
        title = f"{name}: {size}; q < 0.05: {(rows['q'].to_numpy() < 0.05).sum()} of {len(rows)}"
        print_table(title, columns, shown, left=("feature",))
