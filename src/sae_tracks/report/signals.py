"""The section on signals: reads what `metrics` wrote of them, and says it in HTML that needs no script."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.arrays import ratio
from sae_tracks.errors import SaeTracksError
from sae_tracks.names import SIGNAL_PROFILES, SIGNALS, feature_label
from sae_tracks.report.markup import definitions, strip, written
from sae_tracks.report.scores import read_columns
from sae_tracks.report.tracks import asset
from sae_tracks.signals.profiles import REACH
from sae_tracks.signals.verdict import SIGNAL_OUTCOMES

PAIR = ("signal", "feature", "read_strand")
TEXTS = (*PAIR, "sequence", "dimension", "verdict", "says")
NUMBERS = (
    *("bin_spearman", "bin_spearman_low", "bin_spearman_high", "sequence_spearman", "dimension_spearman"),
    *("active_mean", "matched_mean", "difference", "difference_low", "difference_high", "q"),
)
DESIGNS = {"r2": "features", "kmer_r2": "words", "gc_r2": "GC, CpG", "dimension_r2": "dimensions"}
OF_HALVES = ("shift_q", *(f"{name}{end}" for name in DESIGNS for end in ("", "_low", "_high")))
BASES = 11  # of a point of a drawn profile; it divides the 2 x REACH + 1 offsets, so that one point is around 0
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 260, 116, 48, 6, 8, 34  # pixels: a drawn profile and its margins
HEADS = (  # of the columns after the first
    *("Best feature", "Verdict", "Correlation per bin", "Its rivals", "R\u00b2 of all", "Signal at active bases"),
    "Mean around its strongest places",  # only with profiles
)
HALVES = {
    True: "chosen on the select half; all numbers are of the report half.",
    False: "chosen on the same bases that the numbers are of, which flatters them, so nothing was tested.",
}

Row = Mapping[str, Any]
Line = tuple[NDArray[np.float64], NDArray[np.float64]]  # offsets and means


@dataclass(frozen=True, slots=True)
class Signals:
    """The scores of signals.

    Attributes
    ----------
    table : DataFrame
        ``signals.tsv``. If features were chosen and reported on the same bases, it lacks `OF_HALVES`.
    profiles : DataFrame, optional
        ``signal_profiles.parquet``, if there is one.
    without : list of str
        Signals of the run that have no row.
    """

    table: pd.DataFrame
    profiles: pd.DataFrame | None
    without: list[str]

    @property
    def section(self) -> str:
        """The HTML of the section: a row per signal."""
        names = ", ".join(self.without) or ("" if len(self.table) else "a signal")
        none = f"<p>No feature has a correlation with {escape(names)} on the select half.</p>" if names else ""
        if self.table.empty:
            return f'<section id="signals"><h2>Signals</h2>{none}</section>'
        profiles = {} if self.profiles is None else _profiles(self.profiles)
        return Template(asset("signals.html").decode()).substitute(
            chosen=HALVES["shift_q" in self.table],
            heads="".join(f'<th scope="col">{head}</th>' for head in ("Signal", *HEADS[: None if profiles else -1])),
            rows="\n".join(_row(row, profiles) for row in self.table.to_dict("records")),
            bases=BASES,
            none=none,
        )


def read_signals(folder: Path, names: Iterable[str] = ()) -> Signals | None:
    """Read ``signals.tsv`` and ``signal_profiles.parquet`` of a folder; None if it has no ``signals.tsv``.

    `names` are those of the signals of the run.

    Raises
    ------
    SaeTracksError
        A table cannot be read or lacks a column, a number is infinite, or a verdict is unknown.
    """
    path, profiles = folder / SIGNALS, folder / SIGNAL_PROFILES
    if not path.exists():
        return None
    table = read_columns(path, (*TEXTS, *NUMBERS), TEXTS, (*NUMBERS, *OF_HALVES))
    if unknown := sorted(set(table["verdict"]) - set(SIGNAL_OUTCOMES)):
        raise SaeTracksError(f"{path}: {unknown[0]!r} is no verdict; expected {', '.join(SIGNAL_OUTCOMES)}")
    numbers = ("offset", "mean", "places")
    return Signals(
        table,
        read_columns(profiles, (*PAIR, *numbers), PAIR, numbers) if profiles.exists() else None,
        [name for name in names if name not in set(table["signal"])],
    )


def _row(row: Row, profiles: Mapping[tuple[str, str], Mapping[str, Line]]) -> str:
    own, low, high = (row[f"bin_spearman{end}"] for end in ("", "_low", "_high"))
    low, high = sorted(math.copysign(1, own) * end for end in (low, high))
    rivals = {f"letters {row['sequence']}": "sequence", f"dimension {row['dimension']}": "dimension"}
    others = [abs(row[f"{name}_spearman"]) for name in rivals.values()]
    verdict, meaning = row["verdict"], SIGNAL_OUTCOMES[row["verdict"]].removesuffix(" below")
    says = row["says"] or f"{meaning[:1].upper()}{meaning[1:]}."
    cells = [
        f"{escape(feature_label(row['feature']))}<br>read {escape(row['read_strand'])}",
        f'<span class="badge {verdict}">{verdict}</span><p>{escape(says)}</p>',
        f"{_between(row, 'bin_spearman')}<br>{strip(abs(own), low, high, others)}",
        _list((name, written(row[f"{column}_spearman"], "z.2f")) for name, column in rivals.items()),
        _list((name, _between(row, column)) for column, name in DESIGNS.items()),
        _list(
            (
                ("mean", written(row["active_mean"], "z.3g")),
                ("expected", written(row["matched_mean"], "z.3g")),
                ("difference", _between(row, "difference", "z.3g")),
                ("q", written(row["q"], ".2g")),
            )
        ),
    ]
    if profiles:
        lines = profiles.get((row["signal"], row["read_strand"]), {})
        cells.append(_drawing(row, lines) if row["feature"] in lines else "")
    rest = "".join(f'<td data-head="{head}">{cell}</td>' for head, cell in zip(HEADS, cells))
    return f'<tr><th scope="row">{escape(row["signal"])}</th>{rest}</tr>'


def _between(row: Row, name: str, form: str = "z.2f") -> str:
    """``0.43 (0.39 to 0.46)``; "" if it was not measured."""
    value, low, high = (written(row.get(f"{name}{end}", math.nan), form) for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})" if low else value


def _list(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and numbers; those without a number are left out."""
    return f"<dl>{definitions((name, value) for name, value in pairs if value)}</dl>"


def _profiles(table: pd.DataFrame) -> dict[tuple[str, str], dict[str, Line]]:
    """The lines to draw by signal and read strand, and by feature in the order of the table."""
    found: dict[tuple[str, str], dict[str, Line]] = {}
    within = cast(pd.DataFrame, table[table["offset"].abs() <= REACH])
    for key, rows in within.groupby(list(PAIR), sort=False, observed=True):
        signal, feature, strand = cast(tuple[str, str, str], key)
        point = (rows["offset"].to_numpy(np.int64) + REACH) // BASES
        known = rows["mean"].notna().to_numpy()
        places = rows["places"].to_numpy(np.float64)[known]
        with np.errstate(over="ignore"):  # what is infinite is not drawn
            sums = places * rows["mean"].to_numpy(np.float64)[known]
            count, total = (np.bincount(point[known], one, (2 * REACH + 1) // BASES) for one in (places, sums))
        offsets = BASES * np.arange(len(count), dtype=np.float64) + BASES // 2 - REACH
        found.setdefault((signal, strand), {})[feature] = offsets, ratio(total, count)
    return found


def _drawing(row: Row, lines: Mapping[str, Line]) -> str:
    """The profiles of a signal as an SVG, that of the row's feature in front; "" if it has no value."""
    means = np.concatenate([line[1] for line in lines.values()])
    low, high = float(np.nanmin([0, *means])), float(np.nanmax([0, *means]))
    if not 0 < high - low < math.inf:
        return ""
    right, bottom, middle = WIDTH - RIGHT, HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) / 2

    def across(offset: float) -> float:
        return LEFT + (right - LEFT) * (offset + REACH) / (2 * REACH)

    def down(mean: float) -> float:
        return bottom - (bottom - TOP) * (mean - low) / (high - low)

    def path(line: Line) -> str:
        points = [f"{across(x):.1f} {down(y):.1f}" if math.isfinite(y) else "" for x, y in zip(*line)]
        return "".join(f"{'L' if before else 'M'}{point}" for before, point in zip(["", *points], points) if point)

    own = row["feature"]
    pale = "".join(f'<path class="next" d="{path(line)}"/>' for name, line in lines.items() if name != own)
    ticks = "".join(
        f'<text x="{across(at):.1f}" y="{bottom + 13}" text-anchor="{anchor}">{f"{at:+}" if at else 0}</text>'
        for at, anchor in ((-REACH, "start"), (0, "middle"), (REACH, "end"))
    )
    levels = "".join(
        f'<text x="{LEFT - 5}" y="{down(at) + 4:.1f}" text-anchor="end">{at:.3g}</text>' for at in (low, high)
    )
    around = escape(f"Mean of {row['signal']} around the strongest places of {feature_label(own)}")
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{around}">'
        f'<path class="rule" d="M{LEFT} {down(0):.1f}H{right}"/><path class="grid" d="M{middle} {TOP}V{bottom}"/>'
        f'{pale}<path class="profile" d="{path(lines[own])}"/><g class="soft">{ticks}{levels}'
        f'<text x="{middle}" y="{bottom + 28}" text-anchor="middle">bases from the peak, as read \u2192</text>'
        "</g></svg>"
    )
