"""Reads the folder of `metrics` for the page: every column exists, and is empty if a control was not run."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.controls import verdict
from sae_tracks.controls.verdict import OUTCOMES, RIVALS, explain
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.errors import SaeTracksError
from sae_tracks.metrics import read_table
from sae_tracks.metrics.scores import BEST_SCORES, OFFSETS
from sae_tracks.report.figures import read_offsets

NEEDED = ("concept", "site_strand", "feature", "f1", "verdict")
TEXTS = (
    *("concept", "tf", "site_strand", "feature", "read_strand", "verdict"),
    *(name for name in verdict.TEXTS if name not in verdict.FLAGS),
)
NUMBERS = (
    *("threshold", "instances", "instances_hit", "tp", "fp", "fn", "precision", "recall", "f1", "select_f1"),
    *("domain_recall", "domain_f1", "enrichment", "f1_low", "f1_high", "bins", "items", "regions", "feature_kmer_f1"),
    *("site_average_precision", "site_ap_low", "site_ap_high", "site_share", "recall_at_half", "spearman", "lag"),
    *("decoys", "decoy_q", "least_q", "regions_p", "shift_p", "regions_q", "repeat_class_share", "repeat_share"),
    *("items_outside_repeats", "ap_inside_repeats", "ap_outside_repeats", "ap_outside_high"),
    *("word_auroc", "word_auroc_low", "word_auroc_high", "effect", "effect_low", "effect_high", "margin"),
    *("seeds_f1_min", "seeds_f1_max", "seeds_ap_min", "seeds_ap_max"),
    *("insertion_auroc", "insertion_low", "insertion_high"),
    *verdict.FLAGS,
    "replicates",
    *(column for rival in RIVALS for column in (rival.ap, rival.f1)),
)
UNSCORED = "f/{} has a track but no score in this table: what it matches best, if anything, is not known here."
DIGITS = 4
SHARES = 1000  # P(active) is written as whole thousandths


def load_scores(folder: Path, compared: pd.DataFrame | None = None) -> pd.DataFrame:
    """Read ``metrics.tsv`` with all the columns of `TEXTS` and `NUMBERS`, and three columns of the page.

    Rows keep the order of the file. A missing text is "", a missing number NaN; ``memorised`` is 1 or 0. The added
    columns are ``nucleotide`` and ``motif`` (bool), and ``meaning`` (a few sentences). ``replicates`` (1 or 0) of
    each feature is that of `compared`; see `Explained`.

    Raises
    ------
    SaeTracksError
        There is no such table, it lacks a column that every table has, it has no row, or a verdict is unknown.
    """
    table = read_table(folder / BEST_SCORES, verdict.TEXTS)
    missing = [name for name in NEEDED if name not in table]
    if missing:
        raise SaeTracksError(
            f"{folder / BEST_SCORES} is no table of `sae-tracks metrics`: it has no column {missing[0]!r}"
        )
    if table.empty:
        raise SaeTracksError(f"{folder / BEST_SCORES} has no row: nothing was scored, so there is nothing to report")
    unknown = sorted(set(table["verdict"]) - set(OUTCOMES))
    if unknown:
        raise SaeTracksError(f"{folder / BEST_SCORES}: {unknown[0]!r} is no verdict; expected {', '.join(OUTCOMES)}")
    table = table if compared is None else table.join(compared["replicates"], on="feature")
    table = pd.DataFrame({**{name: _text(table, name) for name in TEXTS}, **{n: _number(table, n) for n in NUMBERS}})
    nucleotide = table["concept"].isin(list(NUCLEOTIDES)) & (table["tf"] == "")
    table = table.assign(nucleotide=nucleotide, motif=verdict.is_motif(table))
    return table.assign(meaning=[explain(row) for row in table.to_dict("records")])


def read_columns(path: Path, columns: Sequence[str], texts: Sequence[str], numbers: Sequence[str] = ()) -> pd.DataFrame:
    """A table with some columns; empty `texts` are "", and those of `numbers` that it has are finite or NaN."""
    table = read_table(path, texts)
    if table.empty:  # columns of no rows have no type, and not all were written
        return table.reindex(columns=list(dict.fromkeys((*table, *columns))))
    if missing := [name for name in columns if name not in table]:
        raise SaeTracksError(f"{path} has no column {missing[0]!r}: write it again with this version of sae-tracks")
    for name in numbers:
        if name in table and (table[name].dtype.kind not in "fiu" or np.isinf(table[name]).any()):
            raise SaeTracksError(f"{path}: column {name!r} holds something that is no number: write it again")
    return table


def with_unscored(table: pd.DataFrame | None, features: Mapping[str, Iterable[str]]) -> pd.DataFrame:
    """Return the table of `load_scores` and, below it, a row for each track that has no row in it.

    `features` has the read strands of each feature with a track. The added rows have no concept, verdict or number.
    """
    scored = set() if table is None else set(zip(table["feature"], table["read_strand"].replace("", "+")))
    pairs = [(f, strand) for f, strands in features.items() for strand in strands if (f, strand) not in scored]
    blank = pd.DataFrame(
        {**dict.fromkeys(TEXTS, ""), **dict.fromkeys(NUMBERS, np.nan)}, index=range(len(pairs))
    ).assign(
        feature=[feature for feature, _ in pairs],
        read_strand=[strand for _, strand in pairs],
        nucleotide=False,
        motif=False,
        meaning=[UNSCORED.format(feature.removeprefix("f")) for feature, _ in pairs],
    )
    return blank if table is None else pd.concat([table, blank], ignore_index=True) if pairs else table


def _text(table: pd.DataFrame, name: str) -> pd.Series:
    return cast(pd.Series, table[name]).fillna("").astype(str) if name in table else pd.Series("", table.index)


def _number(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table:
        return pd.Series(np.nan, table.index)
    values = table[name].replace({"True": 1, "False": 0}) if table[name].dtype != bool else table[name]
    return cast(pd.Series, pd.to_numeric(values, errors="coerce")).astype(float)


def columns_of(table: pd.DataFrame) -> dict[str, list]:
    """Return a list per column for JSON: numbers have four digits or are None; columns without a value are left out."""
    found = {}
    for name in table:
        values = table[name].tolist()
        if table[name].dtype == float:
            values = [
                None if not np.isfinite(v) else int(v) if v == int(v) else float(f"{v:.{DIGITS}g}") for v in values
            ]
        if any(value not in (None, "") for value in values):
            found[str(name)] = values
    return found


def profiles_of(folder: Path | None, table: pd.DataFrame) -> list[dict[str, Any] | None]:
    """Return the lag profile per row of a table; None if a row has none.

    Returns
    -------
    list of dict or None
        ``start`` and ``end``: P(active) in thousandths at each offset from the site's first and last base, None
        without a site there; ``first``: the first offset; ``sites``: the largest number counted at an offset;
        ``background``: P(active) on all bases, in thousandths, or None; ``reading``: ``along``, ``against`` or "".
    """
    if folder is None or not (folder / OFFSETS).exists():
        return [None] * len(table)
    offsets = read_offsets(folder / OFFSETS)
    key = ["concept", "site_strand", "feature", "read_strand"]
    groups = offsets.groupby(key, sort=False).indices
    offset = cast(pd.Series, offsets["offset"])
    first, last = int(offset.min()), int(offset.max())
    at = (offsets["anchor"] == "end") * (last - first + 1) + offset - first
    columns = {name: offsets[name].to_numpy() for name in ("active_share", "sites", "background", "reading")}

    def profile(rows: NDArray[np.int64]) -> dict[str, Any]:
        shares = np.full((2, last - first + 1), np.nan)
        shares.flat[at.to_numpy()[rows]] = columns["active_share"][rows]
        start, end = ([_thousandths(share) for share in anchor] for anchor in shares)
        return {
            "start": start,
            "end": end,
            "first": first,
            "background": _thousandths(cast(float, columns["background"][rows[0]])),
            "sites": int(columns["sites"][rows].max()),
            "reading": columns["reading"][rows[0]],
        }

    return [profile(groups[pair]) if pair in groups else None for pair in table[key].itertuples(index=False, name=None)]


def _thousandths(share: float) -> int | None:
    return None if np.isnan(share) else round(SHARES * share)


def embedded(value: Any) -> str:
    """Return JSON for a script element of HTML; nothing in it can end the element or begin another."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
