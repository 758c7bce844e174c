"""An overview of a run: where along the genome features are active, and how their matches were judged."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from sae_tracks.annotations.sites import only
from sae_tracks.arrays import ratio
from sae_tracks.controls.verdict import OUTCOMES
from sae_tracks.files import PROVENANCE, write_provenance, write_tsv
from sae_tracks.names import feature_label, feature_name
from sae_tracks.report.figures import UNREADABLE, save_figure

if TYPE_CHECKING:
    from sae_tracks.source import Source

MOST_CONTIGS = 30  # drawn, the longest; the table has all
TOP = 0.99  # quantile of the values that gets the darkest colour
CSS = Path(__file__).parent / "assets" / "report.css"
ROW = ["feature", "read_strand"]
LETTERS = 130  # of the labels of positions, side by side along A and B
MOST_TICKS, LEAST_TICKS = 5, 3  # along adjacent bins


def plot_genome(along: pd.DataFrame, best: pd.DataFrame | None = None, density: pd.Series | None = None) -> Figure:
    """Draw where features are active, per contig (A) and along the contigs (B), and the verdicts of a run (C, D).

    A and B show how many times as often a feature is active there as on all bases that were read. The share of these is
    at the right. A dashed line in B stands for bins of a contig that were not read, or have no readable base.

    Parameters
    ----------
    along : DataFrame
        From `activity_along`.
    best : DataFrame, optional
        ``metrics.tsv``. C is the number of matches per verdict, D the F1 of each match against the density of its
        feature.
    density : Series, optional
        Share of the bases on which a feature is above 0, by its name; for `best`.

    Returns
    -------
    Figure
    """
    rows = len(along[ROW].drop_duplicates())
    height = 1.6 + 0.26 * rows
    figure = Figure(figsize=(11, height + (2.9 if best is not None else 0)), layout="constrained")
    if best is None or density is None:
        _draw_along(figure, along, {})
        return figure
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[height, 2.9])[:, 0]
    _draw_along(above, along, _named(best))
    bars, points = below.subplots(1, 2)
    _draw_verdicts(bars, best)
    _draw_density(points, best, density)
    return figure


def write_genome(
    along: pd.DataFrame, out: Path, source: "Source", best: pd.DataFrame | None = None, **facts: Any
) -> None:
    """Write the figure, and beside ``genome.png`` the counts as ``genome.tsv``, and ``genome.provenance.json``.

    `along` is that of the source; `facts` are settings for the provenance.
    """
    stats = source.sae.stats
    density = None if stats is None else pd.Series(stats["density"].to_numpy(), map(feature_name, stats["feature"]))
    save_figure(plot_genome(along, best, density), out)
    write_tsv(along, out.with_suffix(".tsv"))
    write_provenance(out.parent, file_name=f"{out.stem}.{PROVENANCE}", **source.provenance(), **facts)


def _named(best: pd.DataFrame) -> dict[tuple[str, str], str]:
    """The best concept of each feature and read strand."""
    first = best.sort_values("f1", ascending=False, kind="stable").drop_duplicates(ROW)
    return {
        (row["feature"], row["read_strand"]): f"{row['tf'] or row['concept']} {row['site_strand'].strip('.')}".strip()
        for row in first.to_dict("records")
    }


def _draw_along(figure: Figure | SubFigure, along: pd.DataFrame, named: Mapping[tuple[str, str], str]) -> None:
    keys = list(along[ROW].drop_duplicates().itertuples(index=False, name=None))
    contigs = _longest(along)
    contig = pd.Index(contigs).get_indexer(pd.Index(along["contig"]))
    shown, contig = only(along, contig >= 0), contig[contig >= 0]
    edges = np.stack([contig, shown["start"], shown["end"]], axis=1)
    bins, place = np.unique(edges, axis=0, return_inverse=True)
    overall = _share(along, np.zeros(len(along), np.int64))[:, 0]
    once = np.where(overall > 0, overall, np.nan)[:, None]
    each, whole = (_share(shown, of) / once for of in (contig, place.ravel()))
    wide = 0.25 * len(contigs) + 0.25
    rest = max(9 - wide, 4)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[wide, rest])
    top = float(np.nanquantile(whole, TOP)) if np.isfinite(whole).any() else 1.0
    colours = colormaps["Blues"].with_extremes(bad=UNREADABLE)
    for axes, values in ((left, each), (right, whole)):
        image = axes.imshow(values, colours, vmin=0, vmax=max(top, 2.0), aspect="auto", interpolation="nearest")
        axes.tick_params(length=0)
    strands = len({strand for _, strand in keys}) > 1
    left.set_yticks(range(len(keys)), [_label(key, named.get(key, ""), strands) for key in keys])
    left.set_xticks(range(len(contigs)), contigs, rotation=90)
    left.set_title("A", loc="left", fontweight="bold")
    _mark_contigs(right, contigs, np.bincount(bins[:, 0]))
    _mark_positions(right, bins, LETTERS * rest / (wide + rest))
    right.set_title("B  along the contigs", loc="left", fontweight="bold")
    right.set_title("of all bases", loc="right", fontsize="small")
    other = right.secondary_yaxis("right")
    other.set_yticks(range(len(keys)), [f"{share:.2%}" for share in overall])
    other.tick_params(length=0)
    figure.colorbar(image, ax=right, label="times the share\nof all bases", pad=0.02)


def _mark_contigs(axes: Axes, contigs: Sequence[str], bins: NDArray[np.integer]) -> None:
    """Draw the borders of contigs that have so many bins, and the names of those that are wide enough for one."""
    last = np.cumsum(bins)
    for border in last[:-1]:
        axes.axvline(border - 0.5, color="black", linewidth=0.5)
    wide = np.flatnonzero(bins > 0.02 * last[-1]).tolist()
    middle = last - bins / 2 - 0.5
    axes.set_xticks(middle[wide], [contigs[i] for i in wide], rotation=90 if len(contigs) > 6 else 0)


def _mark_positions(axes: Axes, bins: NDArray[np.integer], letters: float) -> None:
    """Label positions along (k, 3) bins (contig, start, end), and draw a dashed line where others lie between two.

    Bins that are adjacent have labels of their own, if at least `LEAST_TICKS` of them fit; `letters` fit on the axis.
    """
    contig, start, end = bins.T
    same = contig[1:] == contig[:-1]
    gaps = np.flatnonzero(same & (start[1:] > end[:-1])) + 1
    for gap in gaps:
        axes.axvline(gap - 0.5, color="black", linewidth=0.8, linestyle=(0, (2, 2)))
    places: list[float] = []
    labels: list[str] = []
    borders = np.sort(np.concatenate([[0, len(bins)], gaps, np.flatnonzero(~same) + 1])).tolist()
    for first, last in zip(borders, borders[1:]):
        room = letters * (last - first) / len(bins)
        for position, label in _ticks(int(start[first]), int(end[last - 1]), room):
            at = np.interp(position, [*start[first:last], end[last - 1]], np.arange(first, last + 1))
            places.append(float(at) - 0.5)
            labels.append(label)
    axes.xaxis.remove_overlapping_locs = False  # a name may stand below a position
    axes.set_xticks(places, labels, minor=True, fontsize=7)
    if labels:
        axes.tick_params(which="minor", length=3, pad=2)
        axes.tick_params(which="major", pad=14)


def _ticks(start: int, end: int, room: float) -> list[tuple[int, str]]:
    """Round positions between two others, and their labels; none if fewer than `LEAST_TICKS` labels fit.

    `room` is the number of letters that fit side by side.
    """
    for step in (times * 10**power for power in range(9) for times in (10, 20, 25, 50)):
        unit, name = (10**6, "Mb") if step >= 10**5 else (1000, "kb")
        digits = len(f"{step / unit:.6f}".rstrip("0").partition(".")[2])
        every = range(-(-start // step) * step, end + 1, step)
        if len(every) > 2 * MOST_TICKS:
            continue
        half = (len(f"{end / unit:,.{digits}f} {name}") + 1) / 2 * (end - start) / room  # bases under half a label
        kept = [at for at in every if start + half <= at <= end - half]
        if len(kept) < LEAST_TICKS:
            break
        if len(kept) <= MOST_TICKS and step >= 2 * half:
            return [(at, f"{at / unit:,.{digits}f} {name}") for at in kept]
    return []


def _longest(along: pd.DataFrame) -> list[str]:
    """The contigs of which most bases were read, in the order of the genome."""
    number, names = pd.factorize(along["contig"])
    bases = np.bincount(number, along["readable"])  # of all features, which have the same bins
    return [str(names[i]) for i in np.sort(np.argsort(-bases, kind="stable")[:MOST_CONTIGS])]


def _share(along: pd.DataFrame, column: NDArray[np.integer]) -> NDArray[np.float64]:
    """(rows, columns) share of active bases, a row per feature and read strand; NaN if no base is readable."""
    row = along.groupby(ROW, sort=False).ngroup().to_numpy()
    active, readable = np.zeros((2, row.max() + 1, column.max() + 1))
    np.add.at(active, (row, column), along["active"].to_numpy())
    np.add.at(readable, (row, column), along["readable"].to_numpy())
    return ratio(active, readable)


def _label(key: tuple[str, str], name: str, strands: bool) -> str:
    feature, strand = key
    return " ".join(filter(None, (feature_label(feature), f"read {strand}" if strands else "", name)))


def _draw_verdicts(axes: Axes, best: pd.DataFrame) -> None:
    """A bar of matches, one part per verdict, the strongest first."""
    counts = best["verdict"].value_counts()
    left = 0
    for name in (name for name in OUTCOMES if name in counts):
        axes.barh(0, counts[name], left=left, color=verdict_colours()[name], label=f"{name} ({counts[name]})")
        left += counts[name]
    axes.set(xlim=(0, left), ylim=(-2, 0.5), yticks=[], xlabel=f"{left} concepts, by the verdict of the best match")
    axes.legend(loc="lower center", ncols=3, frameon=False, fontsize="small", bbox_to_anchor=(0.5, 0.0))
    axes.set_title("C  verdicts", loc="left", fontweight="bold")
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_density(axes: Axes, best: pd.DataFrame, density: pd.Series) -> None:
    """A point per match; the verdicts have the colours of the bar beside it."""
    share = density.reindex(best["feature"]).to_numpy()
    for name in reversed([name for name in OUTCOMES if name in set(best["verdict"])]):
        mine = (best["verdict"] == name).to_numpy() & (share > 0)
        axes.scatter(share[mine], best["f1"].to_numpy()[mine], 18, verdict_colours()[name], linewidths=0)
    axes.set(xscale="log", ylim=(-0.02, 1.02), xlabel="share of bases on which the feature is above 0", ylabel="F1")
    axes.set_title("D  density and F1", loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)


@cache
def verdict_colours() -> dict[str, str]:
    """The colour of each verdict on the page.

    Returns
    -------
    dict of str to str
        ``#009e73`` and the like, by verdict.
    """
    return {
        name: colour for name, colour in re.findall(r"--([\w-]+): (#[0-9a-f]{6});", CSS.read_text()) if name in OUTCOMES
    }
