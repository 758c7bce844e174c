"""The figure of the yeast demo: features of coding sequence beside genes, and those of codon positions on one gene."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sae_tracks.features import FeatureBlock
from sae_tracks.genome import Genome
from sae_tracks.names import feature_label, feature_name
from sae_tracks.regions import GenomicRegion
from sae_tracks.report.figures import feature_values
from sae_tracks.tracks.folder import COLOURS

CODONS = 20  # of one gene, in letters
INSET = 300  # bases of the gene before them
BINS = 1000  # of a region, at most: the highest value of each is drawn


class Gene(NamedTuple):
    """A row of a BED6: 0-based half-open."""

    start: int
    end: int
    name: str
    strand: str


def read_genes(path: Path, region: GenomicRegion) -> list[Gene]:
    """The genes that overlap a region, in the order of the file."""
    rows = (line.split("\t") for line in path.read_text().splitlines())
    genes = [(contig, Gene(int(start), int(end), name, strand)) for contig, start, end, name, _, strand in rows]
    return [g for contig, g in genes if contig == region.contig and g.start < region.end and g.end > region.start]


def plot_genes(
    blocks: Sequence[FeatureBlock],
    genome: Genome,
    region: GenomicRegion,
    genes: Path,
    along: Mapping[str, tuple[int, str]],
    codons: Mapping[str, tuple[int, str]],
) -> Figure:
    """Draw some features along a region over its genes, and others on codons of the first whole gene on strand +.

    Parameters
    ----------
    blocks : sequence of FeatureBlock
        They cover the region and hold the features.
    genome : Genome
        For the letters of the codons.
    region : GenomicRegion
        With a whole gene on strand + of more than 360 bases.
    genes : path
        BED6 of genes without introns.
    along, codons : mapping of a concept to the id of a feature and the verdict of their match
        What is drawn above, by the highest value of each bin, and below, by base.
    """
    found = read_genes(genes, region)
    inside = (gene for gene in found if gene.start >= region.start and gene.end <= region.end)
    whole = next(gene for gene in inside if gene.strand == "+" and gene.end - gene.start > INSET + 3 * CODONS)
    start = whole.start + INSET
    zoom = GenomicRegion(region.contig, start, start + 3 * CODONS)
    shown = slice(zoom.start - region.start, zoom.end - region.start)
    ratios = [1] * len(along) + [0.8, 0.5] + [1] * len(codons) + [0.4]
    figure = Figure(figsize=(10, 0.8 * len(ratios)), layout="constrained")
    axes = figure.subplots(len(ratios), 1, height_ratios=ratios)
    colours = cycle("#{:02x}{:02x}{:02x}".format(*colour) for colour in COLOURS)
    for ax, (concept, (feature, verdict)) in zip(axes, along.items()):
        label = f"{concept}, {feature_label(feature_name(feature))}\n{verdict}"
        _track(ax, feature_values(blocks, region, feature), region, label, next(colours))
    _genes(axes[len(along)], found, region)
    axes[len(along) + 1].set_axis_off()
    for ax, (concept, (feature, verdict)) in zip(axes[len(along) + 2 :], codons.items()):
        label = f"{concept}, {feature_label(feature_name(feature))}\n{verdict}"
        _track(ax, feature_values(blocks, region, feature)[shown], zoom, label, next(colours))
        for edge in range(zoom.start, zoom.end, 3):
            ax.axvline(edge + 0.5, color="#BBBBBB", linewidth=0.6, zorder=0)
    _letters(axes[-1], genome, zoom, whole.name)
    return figure


def _track(ax: Axes, values: NDArray[np.float32], region: GenomicRegion, label: str, colour: str) -> None:
    starts = np.arange(0, len(region), -(-len(region) // BINS))
    values = np.maximum.reduceat(np.nan_to_num(values), starts)
    ax.stairs(values, region.start + np.append(starts, len(region)) + 0.5, fill=True, color=colour)
    ax.set(xlim=(region.start + 0.5, region.end + 0.5), ylim=(0, max(float(values.max()), 1e-6)), xticks=[], yticks=[])
    ax.set_ylabel(label, rotation=0, ha="right", va="center")
    ax.spines[["top", "right", "left"]].set_visible(False)


def _genes(ax: Axes, genes: Sequence[Gene], region: GenomicRegion) -> None:
    """Arrows in the direction of transcription, those of strand + above."""
    ax.set(xlim=(region.start + 0.5, region.end + 0.5), ylim=(-1.2, 1.2), yticks=[])
    for gene in genes:
        start, end = max(gene.start, region.start), min(gene.end, region.end)
        height, tail, head = (0.6, start, end) if gene.strand == "+" else (-0.6, end, start)
        ax.annotate("", xy=(head, height), xytext=(tail, height), arrowprops={"arrowstyle": "-|>", "lw": 2})
        ax.text((start + end) / 2, height + 0.12, gene.name, ha="center", va="bottom", fontsize=8)
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    ax.set_ylabel("genes", rotation=0, ha="right", va="center")
    ax.set_xlabel(f"position on {region.contig}")
    ax.spines[["top", "right", "left"]].set_visible(False)


def _letters(ax: Axes, genome: Genome, zoom: GenomicRegion, gene: str) -> None:
    ax.set(xlim=(zoom.start + 0.5, zoom.end + 0.5), ylim=(0, 1), yticks=[], xticks=[])
    for i, letter in enumerate(genome.sequence(zoom).decode()):
        ax.text(zoom.start + i + 1, 0.5, letter, ha="center", va="center", family="monospace")
    ax.set_xlabel(f"{gene}, codons {INSET // 3 + 1} to {INSET // 3 + CODONS}")
    ax.spines[["top", "right", "left", "bottom"]].set_visible(False)
