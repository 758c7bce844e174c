"""Figures: a feature along the sequence, how well features match annotations, and seams between windows."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

from sae_tracks.dna import readable_bases
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic
from sae_tracks.genome import Genome
from sae_tracks.names import feature_label, feature_name
from sae_tracks.regions import GenomicRegion

if TYPE_CHECKING:
    from sae_tracks.features import FeatureBlock

NUCLEOTIDES = ("A", "T", "C", "G")
SCORES = ("precision", "recall", "f1")
COLORS = {"precision": "#0072B2", "recall": "#E69F00", "f1": "#009E73"}  # Okabe and Ito: safe for the colour-blind
TRACK, BASE, UNREADABLE = "#D55E00", "#56B4E9", "#DDDDDD"
DIFFERENCES = {"max": "#0072B2", "p95": "#E69F00", "mean": "#009E73"}
PALE = ("chance", "low-power")  # verdicts
AGREEMENTS = {"jaccard_min": "#0072B2", "jaccard_median": "#009E73", "jaccard": TRACK}
STROKES = {"+": "-", "-": "--"}
TICKS = (0, *(4**i for i in range(12)))  # contexts, in bases
FORMATS = (".png", ".pdf", ".svg")
MOST_BASES = 20_000  # more do not show on a page
BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1), "frameon": False}  # a legend beside the axes
ANCHORS = {"start": "bases from the first base of the site", "end": "bases from the last base of the site"}


def feature_values(blocks: Sequence["FeatureBlock"], region: GenomicRegion, feature: int) -> NDArray[np.float32]:
    """Return one feature at every base of a region: 0 if it is silent there, NaN if the base was not read."""
    values = np.full(len(region), np.nan, np.float32)
    for block in blocks:
        row = np.repeat(np.arange(len(block.region)), np.diff(block.indptr))
        mine = block.feature == feature
        dense = np.where(block.readable, np.float32(0), np.float32(np.nan))
        dense[row[mine]] = block.value[mine]
        values[block.region.start - region.start : block.region.end - region.start] = dense
    return values


def plot_activation(
    blocks: Sequence["FeatureBlock"], genome: Genome, region: GenomicRegion, feature: int, base: str | None = None
) -> Figure:
    """Draw the paper's Fig. 2: a feature along a region in one read strand, with the places of one base marked below.

    `base` is A, C, G or T; by default the one on which the feature is strongest.
    """
    if len(region) > MOST_BASES:
        raise SaeTracksError(f"{region} has {len(region):,} bases; a figure shows at most {MOST_BASES:,}")
    values = feature_values(blocks, region, feature)
    sequence = genome.sequence(region)
    letters = np.frombuffer(sequence, np.uint8)
    if base is None:
        base = max("ACGT", key=lambda b: np.nansum(values[letters == ord(b)]))
    elif base not in ("A", "C", "G", "T"):
        raise SaeTracksError(f"--base {base}: it is A, C, G or T")
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    axes = figure.subplots()
    edges = np.arange(region.start, region.end + 1) + 0.5  # position p (1-based) is the bar from p - 0.5 to p + 0.5
    top = max(float(np.nanmax(values, initial=0)), 1e-6)
    axes.stairs(np.nan_to_num(values), edges, fill=True, color=TRACK, label=feature_label(feature_name(feature)))
    marks = np.where(letters == ord(base), -0.08 * top, 0)
    axes.stairs(marks, edges, fill=True, color=BASE, label=f"{base}")
    unread = np.where(readable_bases(sequence) & ~np.isnan(values), 0, top)
    if unread.any():
        axes.stairs(unread, edges, fill=True, color=UNREADABLE, label="not readable")
    strand = blocks[0].read_strand if blocks else "+"
    axes.set(xlim=(edges[0], edges[-1]), ylim=(-0.1 * top, 1.05 * top))
    axes.set(xlabel=f"{region.contig} position (read strand {strand})", ylabel="activation")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.axhline(0, color="black", linewidth=0.5)
    axes.legend(**BESIDE)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_scores(table: pd.DataFrame, most: int = 12) -> Figure:
    """Draw the paper's Fig. 3: precision, recall and F1 of the best feature of each nucleotide (A) and annotation (B).

    `table` is ``metrics.tsv``. B shows the `most` annotations with the highest F1. Matches whose verdict is chance or
    low-power are pale: nothing speaks for them.
    """
    missing = {"concept", "site_strand", "feature", *SCORES} - set(table.columns)
    if missing:
        raise SaeTracksError(f"this is not a table of `sae-tracks metrics`: it has no column {sorted(missing)[0]!r}")
    is_base = table["concept"].isin(NUCLEOTIDES) & (table["instances"].isna() | (table["tf"].fillna("") == ""))
    of_bases = cast(pd.DataFrame, table[is_base])
    if of_bases.duplicated("concept").any() and "chosen" in table:
        raise SaeTracksError("this is the table of all pairs: name metrics.tsv, which has the best ones")
    letters = of_bases.drop_duplicates("concept")  # of two read strands, the first
    bases = letters.set_index("concept").reindex(NUCLEOTIDES).dropna(subset="f1").reset_index()
    others = cast(pd.DataFrame, table[~is_base]).sort_values("f1", ascending=False, kind="stable").head(most)
    panels = [(name, rows) for name, rows in (("nucleotides", bases), ("annotations", others)) if len(rows)]
    if not panels:
        raise SaeTracksError("the table has no row to draw")
    widths = [max(len(rows), 3) for _, rows in panels]
    figure = Figure(figsize=(2.5 + 0.75 * sum(widths), 4.2), layout="constrained")
    axes = figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)
    for letter, ax, (name, rows) in zip("AB", axes[0], panels):
        sides = [f" ({strand})" if strand in "+-" and name != "nucleotides" else "" for strand in rows["site_strand"]]
        factors = rows["tf"].fillna("") if "tf" in rows else [""] * len(rows)
        names = [f"{factor} {concept}".strip() for factor, concept in zip(factors, rows["concept"])]
        labels = [f"{label}{side}" for label, side in zip(names, sides)]
        _bars(ax, [f"{label}\n{feature}" for label, feature in zip(labels, rows["feature"])], rows)
        _finish(ax, f"{letter}  {name}")
    axes[0][0].set_ylabel("score")
    axes[0][-1].legend(**BESIDE)
    return figure


def _bars(axes: Axes, labels: Sequence[str], rows: pd.DataFrame) -> None:
    at, width = np.arange(len(rows)), 0.27
    for i, score in enumerate(SCORES):
        name = "F1" if score == "f1" else score
        axes.bar(at + (i - 1) * width, rows[score], width, color=COLORS[score], label=name)
    pale = np.isin(rows["verdict"], PALE) if "verdict" in rows else np.zeros(len(rows), bool)
    for bars in axes.containers:
        for bar, faded in zip(cast(BarContainer, bars).patches, pale):
            bar.set_alpha(0.25 if faded else 1)
    if pale.any():
        axes.bar(0, 0, color="#777777", alpha=0.25, label=f"pale: {' or '.join(PALE)}")
    axes.set_xticks(at, labels, rotation=45 if len(rows) > 4 else 0, ha="right" if len(rows) > 4 else "center")
    for label, faded in zip(axes.get_xticklabels(), pale):
        label.set_color("#888888" if faded else "black")
    axes.set_ylim(0, 1.02)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)


def read_offsets(path: Path) -> pd.DataFrame:
    """Read ``offsets.parquet`` of `metrics`.

    Returns
    -------
    DataFrame
        One row per pair, anchor and offset: ``concept``, ``site_strand``, ``feature`` (``f357``), ``read_strand``,
        ``anchor`` (start, end), ``offset`` (bases, in the orientation of the site), ``active_share``, ``sites``,
        ``background`` (NaN: not known), ``reading`` (along, against, or "").
    """
    try:
        table = pd.read_parquet(path)
    except FileNotFoundError as error:
        raise SaeTracksError(f"no file {path}: `sae-tracks metrics` writes it") from error
    except (OSError, ValueError) as error:
        raise SaeTracksError(f"cannot read {path} as profiles of offsets: {error}") from error
    table = table.rename(columns={"active": "active_share", "n": "sites"})
    needed = ("concept", "site_strand", "feature", "read_strand", "anchor", "offset", "active_share", "sites")
    missing = [name for name in needed if name not in table]
    if missing:
        raise SaeTracksError(f"{path} holds no profiles of offsets: it has no column {missing[0]!r}")
    feature = "f" + table["feature"].astype(str).str.removeprefix("f")
    return table.reindex(columns=[*needed, "background", "reading"]).assign(
        feature=feature, reading=table.get("reading", "")
    )


def plot_offsets(offsets: pd.DataFrame, concept: str, strand: str | None = None) -> Figure:
    """Draw how often a concept's feature is active at each distance from the start (A) and the end (B) of its sites.

    `offsets` is of `read_offsets`; `strand` is the site strand: +, - or ``.``; by default the one on which the feature
    is active on the largest share of sites at its best distance.
    """
    if strand is None:
        mine = cast(pd.DataFrame, offsets[offsets["concept"] == concept])
        strand = "+" if mine.empty else str(mine.sort_values("active_share", kind="stable")["site_strand"].iloc[-1])
    rows = offsets[(offsets["concept"] == concept) & (offsets["site_strand"] == strand)]
    if rows.empty:
        known = sorted(offsets.loc[offsets["concept"] == concept, "site_strand"].unique())
        there = f"such as {', '.join(offsets['concept'].unique()[:3])}"
        if known:
            there = f"it is there on strand {', '.join(known)}"
        raise SaeTracksError(f"no profile of {concept} on strand {strand}: {there}")
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for letter, axes, (anchor, label) in zip("AB", panels, ANCHORS.items()):
        of_anchor = cast(pd.DataFrame, rows[rows["anchor"] == anchor])
        for pair, of in of_anchor.groupby(["feature", "read_strand"], sort=False):
            feature, read = cast(tuple[str, str], pair)
            of = of.sort_values("offset")
            name = f"{feature_label(feature)} (read strand {read})"
            axes.step(of["offset"], of["active_share"], where="mid", color=TRACK, linestyle=STROKES[read], label=name)
            if np.isfinite(of["background"].iloc[0]):
                axes.axhline(of["background"].iloc[0], color="black", linewidth=0.8, linestyle=":", label="all bases")
        axes.axvline(0, color=UNREADABLE, zorder=0)
        axes.set_xlabel(label)
        _finish(axes, letter)
    panels[0].set_ylabel("P(active)")
    panels[0].set_ylim(bottom=0)
    panels[1].legend(**BESIDE)
    return figure


def plot_seams(table: pd.DataFrame) -> Figure:
    """Draw the difference (A) and disagreement (B) between readings with little and with much context.

    `table` is ``seams.tsv``: one row per read strand and bin of context. Bins in which nothing differs have no place on
    the logarithmic axes and are left out.
    """
    from sae_tracks.evaluate.seams import AGREEMENT  # loads torch, which only check-seams needs

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = {"max": "largest", "p95": "95 % of features", "mean": "mean"}
    strands = [(cast(str, strand), rows) for strand, rows in table.groupby("read_strand", sort=False)]
    for strand, rows in strands:
        read = f" ({strand})" if len(strands) > 1 else ""
        for key, name in {"jaccard_min": "worst feature", "jaccard_median": "median", "jaccard": "all bases"}.items():
            differing = cast(pd.Series, 1 - rows[key])
            _steps(right, rows, differing, color=AGREEMENTS[key], linestyle=STROKES[strand], label=name + read)
        for key, name in names.items():
            style = {"color": DIFFERENCES[key], "linestyle": STROKES[strand], "label": name + read}
            _steps(left, rows, cast(pd.Series, rows[f"{key}_difference"]), **style)
    left.set_ylabel("absolute difference")
    right.set_ylabel("1 - Jaccard index")
    right.axhline(1 - AGREEMENT, color="black", linewidth=0.8, linestyle=":", label=f"Jaccard {AGREEMENT}")
    for letter, axes in zip("AB", (left, right)):
        _finish(axes, letter)
        axes.set(xscale="log", yscale="log", xlabel="context (bases)")
        ticks = [start for start in table["context_from"].unique().tolist() if start in TICKS]
        axes.set_xticks([start or 0.5 for start in ticks], [f"{start:,}" for start in ticks])
        axes.xaxis.minorticks_off()
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(strands), frameon=False)
    right.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    right.yaxis.set_major_formatter("{x:g}")
    return figure


def _steps(axes: Axes, rows: pd.DataFrame, values: pd.Series, **style: Any) -> None:
    """Draw a level per bin of context, on a logarithmic axis with 0 at a half; a level of 0 is left out."""
    edges = np.append(rows["context_from"].replace(0, 0.5), rows["context_to"].iloc[-1])
    levels = values.where(values > 0).to_numpy()
    axes.plot(edges, np.append(levels, levels[-1]), drawstyle="steps-post", **style)


def check_format(path: Path) -> None:
    """Refuse a figure whose name does not end in one of the formats."""
    if path.suffix not in FORMATS:
        raise SaeTracksError(f"{path.name}: a figure ends in {', '.join(FORMATS)}")


def save_figure(figure: Figure, path: Path) -> None:
    """Write PNG, PDF or SVG by the ending, atomically and without a date, so the same figure gives the same bytes."""
    check_format(path)
    dateless = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}[path.suffix]
    with atomic(path) as temporary, rc_context({"svg.hashsalt": "sae-tracks"}):
        figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=dateless)
