"""Figures of saturation mutagenesis: letters as high as they contribute, and which base moves which."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sae_tracks.names import feature_label, feature_name
from sae_tracks.progress import track
from sae_tracks.report.figures import TRACK, UNREADABLE, save_figure
from sae_tracks.report.logos import COLORS, LETTERS

if TYPE_CHECKING:
    from sae_tracks.insight.saturate import Saturation

ROW = 100  # bases of a row of letters
FEWEST = 40  # bases whose width a row has at least
BASE_WIDTH = 0.115  # inches
HEIGHTS = (0.4, 1.3, 0.6)  # inches of the three panels of a row: activation, letters, changes
TICKS = 10  # bases
BETWEEN = 0.6  # inches between rows
PEAK = "#555555"


def plot_contributions(found: "Saturation", strand: int, feature: int) -> Figure:
    """Draw a feature's activation, the letters of the region as high as they contribute, and every change.

    Parameters
    ----------
    found : Saturation
        From `sae_tracks.saturate`.
    strand, feature : int
        Which read strand and feature, as indices into the arrays of `found`.

    Returns
    -------
    Figure
        Rows of 100 bases of the forward strand, with three panels each: the activation; the letters (upright if a
        letter raises the activation at the peak, upside down if it lowers it); the change at the peak by new letter.
    """
    width = min(len(found.region), ROW)
    rows = [slice(first, min(first + width, len(found.region))) for first in range(0, len(found.region), width)]
    shown = max(width, FEWEST)
    tall = (sum(HEIGHTS) + BETWEEN) * len(rows)
    figure = Figure(figsize=(1.9 + BASE_WIDTH * shown, 0.7 + tall), layout="constrained")
    figure.suptitle(_title(found, strand, feature, "what each base does at the peak"), x=0.01, ha="left", size="medium")
    panels = figure.subplots(3 * len(rows), 1, height_ratios=HEIGHTS * len(rows), squeeze=False)[:, 0]
    for i, row in enumerate(rows):
        above, letters, below = panels[3 * i : 3 * i + 3]
        _draw_activation(above, found, strand, feature, row)
        _draw_letters(letters, found, found.contributions[strand, feature], row)
        _draw_changes(below, found, found.changes[strand, feature], row)
        for axes in (above, letters, below):
            axes.set_xlim(found.region.start + row.start + 0.5, found.region.start + row.start + shown + 0.5)
            _mark_peak(axes, found, strand, feature, row)
        for axes in (above, letters):
            axes.set_xticks([])
    panels[-1].set_xlabel(
        f"{found.region.contig} position (letters of the forward strand; dots: the letter that stands there)"
    )
    bar = figure.colorbar(panels[-1].images[0], ax=panels.tolist(), shrink=min(1, 2.5 / tall), pad=0.01, aspect=15)
    bar.set_label("change of the activation at the peak")
    return figure


def _title(found: "Saturation", strand: int, feature: int, what: str) -> str:
    """Feature, region and read strand; then the peak."""
    way = "left to right" if found.read_strands[strand] == "+" else "right to left"
    name, region = feature_label(feature_name(found.features[feature])), found.region
    place = f"{region.contig}:{region.start + 1:,}-{region.end:,}"
    peak, height = found.peaks[strand, feature] + 1, found.heights[strand, feature]
    return (
        f"{name} at {place}, read strand {found.read_strands[strand]} ({way}): {what}\n"
        f"peak: base {peak:,}, activation {height:.3g}" + ("" if height > 0 else " (changes can only raise it)")
    )


def _extent(found: "Saturation", row: slice) -> tuple[float, float]:
    """Left and right edge of some bases: 1-based position p is the column from p - 0.5 to p + 0.5."""
    return found.region.start + row.start + 0.5, found.region.start + row.stop + 0.5


def _draw_activation(axes: Axes, found: "Saturation", strand: int, feature: int, row: slice) -> None:
    values = found.activations[strand, feature]
    left, right = _extent(found, row)
    axes.stairs(np.nan_to_num(values[row]), np.arange(left, right + 1), fill=True, color=TRACK)
    axes.set_ylim(0, float(np.nanmax(values)) * 1.1 or 1)
    axes.yaxis.set_major_locator(MaxNLocator(2))
    axes.set_ylabel("activation", rotation=0, ha="right", va="center", size="small")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines["bottom"].set_bounds(left, right)


def _draw_letters(axes: Axes, found: "Saturation", contributions: NDArray[np.float32], row: slice) -> None:
    from logomaker import Logo

    letters = np.frombuffer(found.sequence[row], np.uint8)[:, None] == np.frombuffer(LETTERS.encode(), np.uint8)
    heights = np.where(letters, np.nan_to_num(contributions[row])[:, None], 0)
    positions = np.arange(row.start, row.stop) + found.region.start + 1
    if heights.any():  # logomaker warns of letters without any height
        Logo(pd.DataFrame(heights, positions, list(LETTERS)), ax=axes, color_scheme=COLORS)
    axes.plot(_extent(found, row), (0, 0), color="black", linewidth=0.5)
    low, high = min(float(np.nanmin(contributions)), 0), max(float(np.nanmax(contributions)), 0)
    pad = 0.06 * (high - low) or 1
    axes.set_ylim(low - pad, high + pad)
    for position in positions[~letters.any(axis=1)]:
        axes.axvspan(position - 0.5, position + 0.5, color=UNREADABLE, linewidth=0)
    axes.set_ylabel("contribution\n(activation)", rotation=0, ha="right", va="center", size="small")
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _draw_changes(axes: Axes, found: "Saturation", changes: NDArray[np.float32], row: slice) -> None:
    most = float(np.nanmax(np.abs(changes))) or 1.0
    axes.set_facecolor(UNREADABLE)
    extent = (*_extent(found, row), len(LETTERS) - 0.5, -0.5)
    axes.imshow(changes[row].T, extent=extent, aspect="auto", cmap="RdBu_r", norm=Normalize(-most, most))
    for letter, name in enumerate(LETTERS):
        at = np.flatnonzero(np.frombuffer(found.sequence[row], np.uint8) == ord(name))
        axes.plot(found.region.start + row.start + 1 + at, np.full(len(at), letter), ".", color="black", markersize=1.5)
    axes.set_yticks(range(len(LETTERS)), list(LETTERS), size="x-small")
    axes.set_ylabel("new letter", rotation=0, ha="right", va="center", size="small")
    axes.axvspan(extent[1], extent[1] + ROW, color="white", linewidth=0)  # behind the region's end nothing is unknown
    first, last = found.region.start + row.start + 1, found.region.start + row.stop
    axes.set_xticks([first, *range((first // TICKS + 1) * TICKS, last + 1, TICKS)][(first % TICKS > TICKS // 2) :])
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.spines[:].set_visible(False)


def _mark_peak(axes: Axes, found: "Saturation", strand: int, feature: int, row: slice) -> None:
    left, right = _extent(found, row)
    if left < (peak := found.peaks[strand, feature] + 1) < right:
        axes.axvline(peak, color=PEAK, linewidth=0.8, linestyle=":", zorder=0.5)


def plot_dependency(found: "Saturation", strand: int, feature: int) -> Figure:
    """Draw which base moves a feature where: the dependency map as a heat map, with the activation above.

    Parameters
    ----------
    found : Saturation
        From `sae_tracks.saturate`.
    strand, feature : int
        Which read strand and feature, as indices into the arrays of `found`.

    Returns
    -------
    Figure
        A row per changed base, a column per base whose activation moves. Below the diagonal (above, if the model reads
        from right to left) a causal model has no effect.
    """
    figure = Figure(figsize=(8.2, 8.2), layout="constrained")
    figure.suptitle(_title(found, strand, feature, "which base moves which"), x=0.01, ha="left", size="medium")
    panels = figure.subplots(2, 1, height_ratios=(1, 8), sharex=True)
    whole = slice(0, len(found.region))
    _draw_activation(panels[0], found, strand, feature, whole)
    left, right = _extent(found, whole)
    values = found.dependency[strand, feature]
    norm = PowerNorm(0.5, 0, float(np.nanmax(values)) or 1.0)  # weak effects are many and wide
    panels[1].set_facecolor(UNREADABLE)
    image = panels[1].imshow(values, extent=(left, right, right, left), aspect="auto", cmap="Blues", norm=norm)
    for axes in panels:
        _mark_peak(axes, found, strand, feature, whole)
    panels[1].set(
        xlabel=f"{found.region.contig} position of the base whose activation moves",
        ylabel=f"{found.region.contig} position of the changed base",
    )
    for axis in (panels[1].xaxis, panels[1].yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
        axis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    bar = figure.colorbar(image, ax=panels[1], shrink=0.6, aspect=25)
    bar.set_label("largest absolute change of the activation")
    return figure


def write_saturation_figures(found: "Saturation", folder: Path) -> list[Path]:
    """Write ``f357.contributions.png`` and ``f357.dependency.png`` per feature and read strand."""
    paths = []
    tracks = found.tracks()
    for strand, feature, name in track(tracks, "drawing", len(tracks)):
        for kind, plot in (("contributions", plot_contributions), ("dependency", plot_dependency)):
            paths.append(folder / f"{name}.{kind}.png")
            save_figure(plot(found, strand, feature), paths[-1])
    return paths
