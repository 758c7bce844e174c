"""``sae-tracks export-bed``: the intervals in which features are active."""

import logging
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
    Scale,
    ScaleOption,
    ThreadsOption,
    ThresholdOption,
    TrustRemoteCodeOption,
    WindowOption,
    open_source,
    parse_features,
)

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("export-bed", epilog="Example: sae-tracks export-bed sae/ hg38.fa -r chr14 -f 357 -t 0.15 -o f357.bed")(
        export_bed
    )


def export_bed(
    sae: SaePath,
    genome: GenomePath,
    features: FeaturesOption,
    out: Annotated[str, typer.Option("--out", "-o", help="BED file; .bed.gz is bgzip, - is stdout.")],
    threshold: ThresholdOption = 0.15,
    scale: ScaleOption = Scale.max,
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
    """Intervals in which features are active, as sorted BED6: name f357, score 0 to 1000, strand the read strand."""
    from sae_tracks.tracks import write_bed
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
        typer.echo(f"1 BED file, {out}: {estimate(source, ids)}")
        return
    count = write_bed(source, ids, out, threshold, scale)
    log.info("%d intervals of %d features in %s", count, len(set(ids)), "stdout" if out == "-" else out)
