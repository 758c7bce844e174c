"""``sae-tracks variants``: what variants do to features."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from sae_tracks.cli.inputs import open_source
from sae_tracks.cli.options import (
    ACTIVE,
    DryRunOption,
    GenomePath,
    ReadingOptions,
    SaePath,
    Scale,
    SeedOption,
    out_file,
)
from sae_tracks.cli.tables import print_table
from sae_tracks.cli.verb import Given, verb
from sae_tracks.names import counted

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 20
log = logging.getLogger(__name__)


@verb(
    """Which features are hit: sae-tracks variants sae/ hg38.fa in.vcf.gz --null 5 -o out.vcf.gz

Example: sae-tracks variants sae/ hg38.fa in.vcf.gz --read-strand both -o out.vcf.gz""",
    panel="Explain features",
    without=["region", "regions", "black_list", "min_context"],
)
def variants(
    sae: SaePath,
    genome: GenomePath,
    vcf: Annotated[Path, Argument(metavar="VCF", help="VCF or BCF, sorted, with one ALT per record.")],
    out: Annotated[Path, out_file("File to write: .vcf.gz, .bcf or .vcf; out.parquet beside it.")],
    top: Annotated[int, Option(min=0, help="Features per variant and read strand in SAE_TOP.")] = 5,
    min_change: Annotated[float, Option(min=0, help="Leave out smaller changes, in the unit of --scale.")] = 0.25,
    scale: Annotated[
        Scale, Option(help="Unit of changes: max, fractions of the feature's maximum; raw, activations.")
    ] = "max",
    threshold: Annotated[float, Option("--threshold", "-t", min=0, help=f"{ACTIVE} Says what is on or off.")] = 0,
    loss: Annotated[bool, Option("--loss/--no-loss", help="Also measure the change of the model's loss.")] = True,
    null: Annotated[
        int, Option(min=0, help="Substitutions to draw for each one, of the same kind and nearby (default: none).")
    ] = 0,
    annotation: Annotated[
        Path | None, Option(help="GTF or GFF3: substitutions in CDS are drawn at the same codon position.")
    ] = None,
    alias: Annotated[
        str | None, Option(metavar="ucsc|FILE", help="Other names of contigs in --annotation; see metrics.")
    ] = None,
    seed: SeedOption = 0,
    *,
    reading: ReadingOptions,
    shard: Annotated[str | None, Option(help="Score only part i of n of the records; written i/n.")] = None,
    dry_run: DryRunOption = False,
    given: Given,
) -> None:
    """Write what each variant changes: all features as a table, and the largest changes into the VCF.

    With --null, also test which features the variants hit more often than similar substitutions do.
    """
    from sae_tracks import VariantSettings, score_variants
    from sae_tracks.insight.variants import estimate
    from sae_tracks.regions import parse_shard

    given.refuse_if(not null, "only --null draws substitutions", "annotation", "alias", "seed")
    given.refuse_if(annotation is None, "only --annotation has contigs", "alias")
    settings = VariantSettings(top, min_change, scale, threshold, loss, null, seed)
    part = parse_shard(shard)
    source = open_source(sae, genome, reading)
    if dry_run:
        typer.echo(f"{out}: {estimate(source, vcf, settings, part)}")
        return
    report = score_variants(source, vcf, out, settings, annotation=annotation, alias=alias, shard=part)
    variants, changes = counted(report.variants, "variant"), counted(report.changes, "change")
    log.info("%s in %s, %s in the table", variants, out, changes)
    if report.features is not None:
        show(report.features)


def show(table: "pd.DataFrame") -> None:
    """Print the features that are hit most clearly."""
    title = f"Features that the variants hit: {min(SHOWN, len(table))} of {len(table)}, the lowest p first"
    rows = []
    for row in table.head(SHOWN).to_dict("records"):
        numbers = (
            f"{row['hits']:,}",
            f"{row['expected']:.1f}",
            f"{row['blocks']:,}",
            f"{row['p']:.2g}",
            f"{row['q']:.2g}",
        )
        rows.append((row["feature"], row["read_strand"], *numbers))
    print_table(title, ("feature", "read", "hits", "expected", "blocks", "p", "q"), rows, left=("feature",))
