"""Features along one gene, read on the gene's strand, with its exons below.

Each track is a feature of an SAE. A base where it is active is a line as high as its share of the highest value in the
picture: coloured on an annotated acceptor or donor of the same strand, grey elsewhere. Triangles mark all these sites.

    python picture.py genome.fa.gz sites.bed chr9:360,001-430,000 + splice.png "acceptors=sae/:35" ...
"""

import sys
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from auprc import CONTEXT
from numpy.typing import NDArray

from sae_tracks import Genome, GenomicRegion, Source, load_sae
from sae_tracks.regions import ReadStrand
from sae_tracks.report.figures import feature_values
from sae_tracks.source import sae_language_model

mpl.use("agg")
import matplotlib.pyplot as plt

COLOURS = {"acceptor": "#0072b2", "donor": "#d55e00"}
DPI, SIZE = 100, (12, 5)  # 1200 x 500 pixels


def along(genome: Genome, folder: str, feature: int, region: GenomicRegion, strand: ReadStrand) -> NDArray[np.float32]:
    """(n,) values of a feature at the bases of a region."""
    sae = load_sae(folder)
    source = Source(sae_language_model(sae), sae, genome, [region], (strand,), context=CONTEXT)
    return np.nan_to_num(feature_values(list(source.blocks([feature])), region, feature))


def draw_track(axes: Any, values: NDArray[np.float32], first: int, sites: dict[str, NDArray[np.int64]]) -> None:
    height = values / values.max()
    at = np.flatnonzero(height)
    axes.vlines(at + first, 0, height[at], color="0.82", linewidth=0.5)
    for kind, colour in COLOURS.items():
        here = height[sites[kind] - first]
        axes.vlines(sites[kind], 0, here, color=colour, linewidth=1.5, zorder=2, label=kind)
        axes.plot(sites[kind], np.full(len(here), 1.1), "v", color=colour, markersize=3, clip_on=False)
    axes.set(ylim=(0, 1.05), yticks=(0, 1))


def draw_exons(axes: Any, exons: list[tuple[int, int]], region: GenomicRegion, least: int) -> None:
    """Exons as boxes, at least as wide as can be seen."""
    axes.hlines(0, min(start for start, _ in exons), max(end for _, end in exons), color="black", linewidth=0.8)
    axes.broken_barh([(start, max(end - start, least)) for start, end in exons], (-0.4, 0.8), color="black")
    axes.set(ylim=(-0.6, 0.6), yticks=())
    axes.set_xlabel(f"{region.contig}, Mb (GRCh38)")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1e6:g}")


def main(fasta: str, bed: str, where: str, strand: str, out: str, *tracks: str) -> None:
    genome = Genome(fasta)
    region = genome.region(where)
    rows = [line.split("\t") for line in Path(bed).read_text().splitlines()]
    spans = [(int(r[1]), int(r[2]), r[3]) for r in rows if r[0] == region.contig and r[5] == strand]
    spans = [span for span in spans if region.start <= span[0] and span[1] <= region.end]
    sites = {kind: np.array([start for start, _, k in spans if k == kind]) for kind in COLOURS}
    ratios = [3] * len(tracks) + [1]
    figure, axes = plt.subplots(len(ratios), sharex=True, figsize=SIZE, layout="constrained", height_ratios=ratios)
    for track, panel in zip(tracks, axes):
        title, _, rest = track.partition("=")
        folder, feature = rest.rsplit(":", 1)
        values = along(genome, folder, int(feature), region, cast("ReadStrand", strand))
        draw_track(panel, values, region.start, sites)
        panel.set_title(title, loc="left", fontsize=9, pad=7)
    axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1.08), ncols=2, fontsize=8, frameon=False)
    exons = [(start, end) for start, end, kind in spans if kind == "exon"]
    draw_exons(axes[-1], exons, region, len(region) // 1000)
    axes[-1].set_xlim(region.start, region.end)
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    figure.savefig(out, dpi=DPI)


if __name__ == "__main__":
    main(*sys.argv[1:])
