"""Heatmaps and mean profiles around regions, laid out as those of deepTools."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sae_tracks.arrays import ratio
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, write_provenance, write_tsv
from sae_tracks.names import feature_label
from sae_tracks.report.figures import BESIDE, UNREADABLE, save_figure
from sae_tracks.tracks.folder import COLOURS

if TYPE_CHECKING:
    from sae_tracks.region_sets.profile import BinLayout, Profiles

LINES = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in COLOURS]
PER_INCH, MOST_BINS = 120, 200  # rows of a heatmap and bins per panel; of more, neighbours are averaged
TOP = 0.99  # quantile of the values that gets the darkest colour
WIDTH, TALL, SHORT = 1.9, 4.2, 1.3  # inches: a column, the heatmaps, a profile
BEHIND = "#444444"
WAYS = ("", "along", "against", "plus", "minus")  # after the name of a feature
log = logging.getLogger(__name__)


def plot_profile(profiles: "Profiles", means: pd.DataFrame) -> Figure:
    """Draw the mean of each group around the regions, with its 95 % interval: one panel per column.

    `means` are those of the profiles.
    """
    columns, layout = profiles.columns, profiles.layout
    figure = Figure(figsize=(1.8 + 2.6 * len(columns), 2.6), layout="constrained")
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, column in zip(panels, columns):
        _draw_means(axes, layout, cast(pd.DataFrame, means[means["column"] == column]))
        axes.set_title(_label(column), loc="left", fontweight="bold")
        _mark_bases(axes, layout)
    panels[0].set_ylabel("mean value")
    panels[-1].legend(**BESIDE)
    return figure


def plot_heatmap(profiles: "Profiles", means: pd.DataFrame) -> Figure:
    """Draw a row per region and a panel per group and column, under the means of the groups.

    The regions of each group are drawn from top to bottom as they come. If there are more regions or bins than a panel
    can show, neighbours are averaged. Grey is missing. The colours of a column end at the 99 % quantile of its pixels.
    """
    columns, layout = profiles.columns, profiles.layout
    groups = profiles.sites["Group"].cat
    rows = [profiles.values[groups.codes == code] for code in range(len(groups.categories))]
    heights = [max(len(one) / len(profiles.values), 0.08) * TALL for one in rows]
    size = (1.6 + WIDTH * len(columns), SHORT + sum(heights) + 1)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(rows) + 1, len(columns), squeeze=False, sharex="col", height_ratios=[SHORT, *heights])
    for i, column in enumerate(columns):
        top = panels[0, i]
        _draw_means(top, layout, cast(pd.DataFrame, means[means["column"] == column]))
        top.set_title(_label(column), fontweight="bold")
        drawn = [_drawn(group[:, :, i], height) for group, height in zip(rows, heights)]
        colours, low, high = _scale(drawn)
        for axes, values, group in zip(panels[1:, i], drawn, rows):
            extent = layout.offsets[0], layout.offsets[-1] + layout.bin_size, len(group), 0
            style = {"aspect": "auto", "interpolation": "nearest", "extent": extent}
            image = axes.imshow(values, colours, vmin=low, vmax=high, **style)
            axes.set_yticks([])
        _mark_bases(panels[-1, i], layout)
        for axes in panels[1:, i]:
            for border in _borders(layout):
                axes.axvline(border, color=BEHIND, linewidth=0.5, linestyle=":")
        bar = figure.colorbar(image, ax=panels[1:, i], location="bottom", aspect=14, shrink=0.9, pad=0.02)
        bar.ax.locator_params(nbins=4)
        bar.ax.tick_params(labelsize=8)
    for axes, name, group in zip(panels[1:, 0], groups.categories, rows):
        axes.set_ylabel(f"{name}\n({len(group):,})")
    panels[0, 0].set_ylabel("mean")
    if len(rows) > 1:
        panels[0, -1].legend(**BESIDE)
    return figure


def write_profiles(
    profiles: "Profiles", out: Path, plot: Callable[["Profiles", pd.DataFrame], Figure], **facts: Any
) -> None:
    """Write a figure, and beside it what it shows.

    ``h.png`` gets ``h.tsv``, the means of the groups, ``h.matrix.gz``, which deepTools reads, and
    ``h.provenance.json``. Profiles that were read from a matrix get no second one.

    Parameters
    ----------
    profiles : Profiles
        The regions in the order wanted.
    out : path
        PNG, PDF or SVG.
    plot : function
        `plot_heatmap` or `plot_profile`.
    **facts
        Settings for the provenance.

    Raises
    ------
    SaeTracksError
        No column has a value at any region. Columns that lack some are named in the log.
    """
    from sae_tracks.region_sets.deeptools import MATRIX, write_deeptools

    _check_values(profiles)
    means = profiles.means()
    save_figure(plot(profiles, means), out)
    write_tsv(means, out.with_suffix(".tsv"))
    if "matrix" not in profiles.facts:
        write_deeptools(profiles, out.with_suffix(MATRIX))
    write_provenance(out.parent, file_name=f"{out.stem}.{PROVENANCE}", **profiles.facts, **facts)


def _check_values(profiles: "Profiles") -> None:
    """Say which columns have no value at some regions; if none has any at all, there is nothing to draw."""
    regions, having = len(profiles.values), np.isfinite(profiles.values).any(axis=1).sum(axis=0)
    if not having.any():
        columns = ", ".join(profiles.columns)
        raise SaeTracksError(f"{columns}: 0 of {regions:,} regions have a value; name regions that they cover")
    for column, count in zip(profiles.columns, having):
        if count < regions:
            log.warning("%s: %s of %s regions have a value", column, f"{count:,}", f"{regions:,}")


def _label(column: str) -> str:
    """``f/357 along`` of ``f357.along``; the name of any other column as it is."""
    feature, _, way = column.partition(".")
    if feature[:1] == "f" and feature[1:].isdecimal() and way in WAYS:
        return f"{feature_label(feature)} {way}".rstrip()
    return column


def _draw_means(axes: Axes, layout: "BinLayout", means: pd.DataFrame) -> None:
    """Draw a line and a band per group."""
    for i, (group, rows) in enumerate(means.groupby("group", sort=False, observed=True)):
        middle = (rows["start"] + rows["end"]) / 2
        colour = LINES[i % len(LINES)]
        axes.fill_between(middle, rows["low"], rows["high"], color=colour, alpha=0.25, linewidth=0)
        axes.plot(middle, rows["mean"], color=colour, linewidth=1.2, label=str(group))
    for border in _borders(layout):
        axes.axvline(border, color=UNREADABLE, zorder=0)
    if not (means["mean"].to_numpy() < 0).any():
        axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)


def _borders(layout: "BinLayout") -> Sequence[int]:
    """The reference point, or start and end of a scaled region."""
    return (0,) if layout.body is None else (0, layout.body)


def _mark_bases(axes: Axes, layout: "BinLayout") -> None:
    """Label the ends of the axis with distances, and the reference point or the ends of the region with its name."""
    at = {-layout.before: _distance(-layout.before), (layout.body or 0) + layout.after: _distance(layout.after)}
    at |= {0: layout.point} if layout.body is None else {0: "start", layout.body: "end"}
    axes.set_xlim(layout.offsets[0], layout.offsets[-1] + layout.bin_size)
    axes.set_xticks(list(at), list(at.values()))
    ends = axes.get_xticklabels()
    if layout.before:
        ends[0].set_horizontalalignment("left")
    if layout.after:
        ends[1].set_horizontalalignment("right")


def _distance(bases: int) -> str:
    """``-1 kb``, or ``+200`` for bases."""
    return f"{bases / 1000:+g} kb" if bases % 100 == 0 and abs(bases) >= 1000 else f"{bases:+,}"


def _drawn(values: NDArray[np.float32], height: float) -> NDArray[np.float64]:
    """The values of regions x bins as a panel of so many inches can show them."""
    return _averaged(_averaged(values, int(height * PER_INCH)).T, MOST_BINS).T


def _averaged(values: NDArray[np.floating], most: int) -> NDArray[np.float64]:
    """At most so many rows: means of as many neighbours as it takes, without those that are missing."""
    first = np.arange(0, len(values), -(-len(values) // max(most, 1)))
    known = np.isfinite(values)
    total = np.add.reduceat(np.where(known, values, np.float64(0)), first, axis=0)
    count = np.add.reduceat(known, first, axis=0, dtype=np.int64)
    return ratio(total, count)


def _scale(drawn: Sequence[NDArray[np.float64]]) -> tuple[Colormap, float, float]:
    """Colours and the values of both ends: white to dark from 0, or from blue to red if some values are below 0."""
    every = np.concatenate([values.ravel() for values in drawn])
    known = every[np.isfinite(every)]
    signed = known.min(initial=0) < 0
    size = np.abs(known)
    high = (float(np.quantile(size, TOP)) if len(size) else 0) or float(size.max(initial=0)) or 1.0
    return colormaps["RdBu_r" if signed else "Blues"].with_extremes(bad=UNREADABLE), -high if signed else 0.0, high
