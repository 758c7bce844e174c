"""``sae-tracks saturate``: every single-base change of a region, and what it does to features."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from sae_tracks.cli.inputs import open_source, parse_features
from sae_tracks.cli.options import LOCUS, DryRunOption, GenomePath, ReadingOptions, SaePath, out_folder
from sae_tracks.cli.verb import verb
from sae_tracks.errors import UsageError
from sae_tracks.names import counted

log = logging.getLogger(__name__)


@verb(
    "Example: sae-tracks saturate sae/ hg38.fa -r chr14:87,049,332-87,049,531 -f 357,12 -o out/",
    panel="Explain features",
    without=["region", "regions", "black_list", "min_context"],
)
def saturate(
    sae: SaePath,
    genome: GenomePath,
    region: Annotated[str, Option("--region", "-r", help=f"Region to change, at most 2,000 bases: {LOCUS}.")],
    features: Annotated[str, Option("--features", "-f", help="Feature ids: 357,12 or 0-9, or @FILE that lists them.")],
    out: Annotated[Path, out_folder("Folder of the bigWigs, arrays, table and figures.")],
    at: Annotated[
        str | None,
        Option(
            metavar="POSITION",
            help="Measure changes at this base, such as chr14:87,049,400 (default: where each feature is highest).",
        ),
    ] = None,
    *,
    reading: ReadingOptions,
    dry_run: DryRunOption = False,
) -> None:
    """Change every base of a region, and measure what each change does to features.

    Writes each letter's contribution to a feature at its peak as bigWig (letters in browsers that draw dynseq tracks),
    all changes as table and arrays, and two figures per feature: letters, and which base moves which.
    """
    from sae_tracks.insight.saturate import estimate, saturate, write_saturation
    from sae_tracks.report.saturation import write_saturation_figures

    ids = parse_features(features)
    source = open_source(sae, genome, replace(reading, region=[region]))
    place = source.genome.region(region)
    peak = source.genome.region(at) if at else None
    if peak and (len(peak) > 1 or peak.contig != place.contig):
        raise UsageError(f"--at {at}: it is one base of {place}, such as {place.contig}:{place.start + 1:,}")
    peak_at = peak.start if peak else None
    if dry_run:
        return typer.echo(f"{out}: {estimate(source, place, ids, at=peak_at)}")
    found = saturate(source, place, ids, at=peak_at)
    write_saturation(found, source, out)
    write_saturation_figures(found, out)
    for remark in found.remarks():
        log.info("%s", remark)
    tracks = len(found.tracks())
    log.info("%s and %s in %s", counted(tracks, "bigWig"), counted(2 * tracks, "figure"), out)
