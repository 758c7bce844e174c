"""Figures and tables from the output of `sae_quality.py`."""

import argparse
import json
from collections.abc import Iterable, Iterator
from math import log
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

Record = dict[str, Any]
NAMES = {
    "pca": ("principal components", "#999999", ":"),
    "ours-topk": ("ours, topk (default)", "#0072B2", "-"),
    "ours-batchtopk": ("ours, batchtopk", "#56B4E9", "-"),
    "ours-jumprelu": ("ours, jumprelu", "#009E73", "-"),
    "ours-standard": ("ours, standard", "#E69F00", "-"),
    "saelens-topk": ("SAELens, TopK", "#0072B2", "--"),
    "saelens-standard": ("SAELens, Standard", "#E69F00", "--"),
}  # Okabe and Ito: safe for the colour-blind
PRESETS = ("#0072B2", "#000000", "#E69F00", "#D55E00", "#CC79A7")
L0S = (4, 8, 16, 32)


def read(paths: Iterable[Path]) -> list[Record]:
    """Records of JSON lines."""
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def plot(options: argparse.Namespace) -> Iterator[str]:
    """Draw the records of `frontier` or of `presets`."""
    records = read(options.records)
    figure = draw_presets(records) if "preset" in records[0] else draw_frontier(records)
    figure.savefig(options.out, dpi=150, metadata={"Software": None})
    yield str(options.out)


def table(options: argparse.Namespace) -> Iterator[str]:
    """The records of `frontier` as Markdown, and what each trainer's best runs have at round sparsities."""
    records = read(options.records)
    yield "| run | L0 | FVU | FVU, pick | dead | s |\n|---|---|---|---|---|---|"
    for r in records:
        numbers = f"{r['l0']:.2f} | {r['fvu']:.4f} | {r['fvu_pick']:.4f} | {r['dead']:.1%} | {r['seconds']:.0f}"
        yield f"| `{r['run']}` | {numbers} |"
    yield "\n| FVU at L0 |" + "".join(f" {l0} |" for l0 in L0S) + "\n|---|" + "---|" * len(L0S)
    for name, (label, *_) in NAMES.items():
        if runs := best(records, name):
            yield f"| {label} | " + " | ".join(_at(runs, l0) for l0 in L0S) + " |"


def best(records: list[Record], name: str) -> list[Record]:
    """Runs of a trainer, ascending by L0, that no other with as low an L0 betters on the rows for picking."""
    runs = sorted((r for r in records if r["name"] == name), key=lambda r: (r["l0"], r["fvu_pick"]))
    kept: list[Record] = []
    for run in runs:
        if not kept or run["fvu_pick"] < kept[-1]["fvu_pick"]:
            kept.append(run)
    return kept


def _at(runs: list[Record], l0: float) -> str:
    """FVU on a straight line in log L0 between two runs; empty outside of them."""
    for low, high in zip(runs, [*runs[1:], runs[-1]]):
        if low["l0"] <= l0 <= high["l0"]:
            share = log(l0 / low["l0"]) / log(high["l0"] / low["l0"]) if high["l0"] > low["l0"] else 0.0
            return f"{low['fvu'] + share * (high['fvu'] - low['fvu']):.4f}"
    return ""


def draw_frontier(records: list[Record]) -> Figure:
    """Error against sparsity: the best runs of each trainer joined, the others as small dots."""
    figure = Figure((7, 4.6), layout="constrained")
    axes = figure.subplots()
    for name, (label, colour, stroke) in NAMES.items():
        if runs := best(records, name):
            every = [r for r in records if r["name"] == name]
            axes.plot([r["l0"] for r in every], [r["fvu"] for r in every], ".", color=colour, ms=4, alpha=0.5)
            filled = "white" if stroke == "--" else colour
            line = {"color": colour, "ls": stroke, "marker": "o", "mfc": filled, "ms": 6}
            axes.plot([r["l0"] for r in runs], [r["fvu"] for r in runs], label=label, **line)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlabel("L0 (active features a base, held-out rows)")
    axes.set_ylabel("FVU (share of variance unexplained)")
    _plain(axes, (4, 8, 16, 32, 64, 128, 256), (0.03, 0.05, 0.1, 0.2, 0.3, 0.5))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _plain(axes: Axes, x: tuple[float, ...], y: tuple[float, ...]) -> None:
    """Ticks of logarithmic axes as plain numbers."""
    for axis, ticks in ((axes.xaxis, x), (axes.yaxis, y)):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(ScalarFormatter())


def draw_presets(records: list[Record]) -> Figure:
    """FVU, L0 and loss of each preset in the course of training."""
    figure = Figure((9.5, 3.4), layout="constrained")
    panels = figure.subplots(1, 3)
    labels = ("FVU (share of variance unexplained)", "L0 (active features a base)", "loss, relative to the first step")
    for axes, key, label in zip(panels, ("fvu", "l0", "loss"), labels, strict=True):
        for record, colour in zip(records, PRESETS, strict=True):
            curve = record["curve"]
            values = [point[key] / (curve[0]["loss"] if key == "loss" else 1) for point in curve]
            axes.plot([point["rows"] / 1e6 for point in curve], values, color=colour, label=record["preset"])
        axes.set_xlabel("rows trained on (millions)")
        axes.set_ylabel(label)
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    return figure
