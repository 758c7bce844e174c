"""``sae-tracks plot heatmap`` and ``plot profile``: features and signals around regions."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from typer import Argument, Option

from sae_tracks.cli.inputs import open_source, parse_features
from sae_tracks.cli.options import READING, AliasOption, ReadingOptions
from sae_tracks.cli.plot import FigurePath, plots
from sae_tracks.cli.verb import Given, verb
from sae_tracks.errors import SaeTracksError, UsageError
from sae_tracks.names import counted

if TYPE_CHECKING:
    from sae_tracks.region_sets.profile import Profiles

PathsArgument = Annotated[
    list[str],
    Argument(
        metavar="[SAE GENOME] REGIONS...",
        help="Without -f only REGIONS: BED, peaks, GTF, ...; each file is a group. Or one .matrix.gz to draw again.",
    ),
]
HEATMAP = """Signals beside features: sae-tracks plot heatmap sae/ hg38.fa peaks.bed -f 357 --bigwig atac.bw -o h.png

Example: sae-tracks plot heatmap sae/ hg38.fa genes.gtf -f 357,12 --reference-point TSS -o tss.png"""
PROFILE = """Another figure of the same numbers: sae-tracks plot profile tss.matrix.gz -o profile.pdf

Example: sae-tracks plot profile sae/ hg38.fa genes.gtf -f 357 --scale-regions 2000 -bs 50 -o genes.png"""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOptions:
    """What is drawn around which regions."""

    HEADING: ClassVar[str] = "What is drawn"
    features: Annotated[
        str | None, Option("--features", "-f", help="Feature ids, in the order wanted: 357,12 or 0-9, or @FILE.")
    ] = None
    bigwig: Annotated[
        list[Path] | None, Option(help="Signal to draw behind the features: bigWig or bedGraph; repeatable.")
    ] = None
    concept: Annotated[
        list[str] | None,
        Option(help="Draw regions of this name, such as start_codon of a GTF, as a group; repeatable."),
    ] = None
    reference_point: Annotated[
        Literal["start", "end", "center", "TSS", "TES"],
        Option("--reference-point", "--referencePoint", help="Along the strand; TSS is start, TES is end."),
    ] = "start"
    scale_regions: Annotated[
        int | None,
        Option("--scale-regions", "--regionBodyLength", min=1, help="Scale all regions to this number of bases."),
    ] = None
    before: Annotated[
        int, Option("--before", "-b", "--beforeRegionStartLength", min=0, help="Bases before the point or the region.")
    ] = 1000
    after: Annotated[
        int, Option("--after", "-a", "--afterRegionStartLength", min=0, help="Bases behind the point or the region.")
    ] = 1000
    bin_size: Annotated[int, Option("--bin-size", "-bs", "--binSize", min=1, help="Bases per bin.")] = 10
    alias: AliasOption = None


@verb(HEATMAP, group=plots, without=["regions"])
def heatmap(
    paths: PathsArgument,
    out: FigurePath,
    *,
    drawn: ProfileOptions,
    sort: Annotated[
        Literal["descend", "ascend", "keep"],
        Option("--sort", "--sortRegions", help="Order of the regions of a group: by the mean of the first column."),
    ] = "descend",
    reading: ReadingOptions,
    given: Given,
) -> None:
    """Draw features or signals around regions: a row per region, under the mean of each group.

    Writes the numbers beside the figure: .matrix.gz, which deepTools reads, and .tsv, the means with 95 % intervals.
    """
    from sae_tracks.report.profile_figures import plot_heatmap, write_profiles

    profiles = _profiles(paths, out, drawn, reading, given).sort(sort)
    write_profiles(profiles, out, plot_heatmap, sort=sort)
    log.info("%s in %s", counted(len(profiles.sites), "region"), out)


@verb(PROFILE, group=plots, without=["regions"])
def profile(
    paths: PathsArgument, out: FigurePath, *, drawn: ProfileOptions, reading: ReadingOptions, given: Given
) -> None:
    """Draw the mean of features or signals around regions, with 95 % intervals: a line per group.

    Writes the numbers beside the figure, as `plot heatmap` does.
    """
    from sae_tracks.report.profile_figures import plot_profile, write_profiles

    profiles = _profiles(paths, out, drawn, reading, given)
    write_profiles(profiles, out, plot_profile)
    log.info("%s in %s", counted(len(profiles.sites), "region"), out)


def _profiles(paths: list[str], out: Path, drawn: ProfileOptions, reading: ReadingOptions, given: Given) -> "Profiles":
    """Read the matrix of the first argument, or average features and signals around regions."""
    from sae_tracks import region_profiles
    from sae_tracks.region_sets.deeptools import is_deeptools, read_deeptools
    from sae_tracks.region_sets.profile import BinLayout
    from sae_tracks.report.figures import check_format

    check_format(out)
    if len(paths) == 1 and is_deeptools(Path(paths[0])):
        every = ("features", "bigwig", "concept", "reference_point", "scale_regions", "before", "after", "bin_size")
        given.refuse_if(True, "a matrix has its bins", *every, "alias", "region", "black_list", *READING)
        return read_deeptools(Path(paths[0]))
    if not drawn.features and not drawn.bigwig:
        raise UsageError("name what to draw: -f 357,12 with SAE and GENOME before the regions, or --bigwig FILE")
    given.refuse_if(drawn.scale_regions, "scaled regions have no reference point", "reference_point")
    given.refuse_if(not drawn.features, "without -f no model is read", "black_list", *READING)
    where = drawn.before, drawn.after, drawn.bin_size, drawn.reference_point, drawn.scale_regions
    layout, source = BinLayout(*where), None
    if drawn.features:
        if len(paths) < 3:
            raise SaeTracksError("name the SAE, the genome and at least one file of regions, in this order")
        sae, genome, *paths = paths
        source = open_source(sae, Path(genome), reading)
    return region_profiles(
        paths,
        layout,
        source=source,
        features=parse_features(drawn.features) if drawn.features else (),
        bigwigs=drawn.bigwig or (),
        concepts=drawn.concept or (),
        within=reading.region or (),
        alias=drawn.alias,
    )
