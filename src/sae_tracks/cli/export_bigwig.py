"""``sae-tracks export-bigwig``: features as bigWig."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from sae_tracks.cli.options import (
    BlackListOption,
    ContextOption,
    DeviceOption,
    DryRunOption,
    FeaturesOption,
    GenomePath,
    MinContextOption,
    MismatchOption,
    ModelOption,
    ReadStrands,
    ReadStrandsOption,
    RegionOption,
    RegionsOption,
    SaePath,
    ThreadsOption,
    TrustRemoteCodeOption,
    WindowOption,
    open_source,
    parse_features,
)

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("export-bigwig", epilog="Example: sae-tracks export-bigwig sae/ hg38.fa -r chr14 -f 357,12 -o tracks/")(
        export_bigwig
    )


def export_bigwig(
    sae: SaePath,
    genome: GenomePath,
    features: FeaturesOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bigWigs.")],
    region: RegionOption = None,
    regions: RegionsOption = None,
    black_list: BlackListOption = None,
    read_strand: ReadStrandsOption = ReadStrands.forward,
    model: ModelOption = None,
    window_size: WindowOption = None,
    context: ContextOption = None,
    min_context: MinContextOption = 0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    allow_mismatch: MismatchOption = False,
    trust_remote_code: TrustRemoteCodeOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Activations of features along the genome, one bigWig a feature and read strand."""
    from sae_tracks.tracks import write_bigwigs
    from sae_tracks.tracks.estimate import estimate

    ids = parse_features(features)
    source = open_source(
        sae,
        genome,
        region=region,
        regions=regions,
        black_list=black_list,
        read_strand=read_strand,
        model=model,
        window_size=window_size,
        context=context,
        min_context=min_context,
        device=device,
        threads=threads,
        allow_mismatch=allow_mismatch,
        trust_remote_code=trust_remote_code,
    )
    if dry_run:
        expected = estimate(source, ids)
        typer.echo(f"{expected.tracks:,} bigWigs in {out}: {expected}")
        return
    paths = write_bigwigs(source, ids, out)
    log.info("%d bigWigs in %s", len(paths), out)
