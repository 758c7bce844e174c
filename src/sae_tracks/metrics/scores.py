"""From counts to precision, recall and F1: which pairs are worth a row, and the rows."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.metrics.counts import Counts, at_thresholds

BEST = 10  # features a concept, and concepts a feature
PAIRS = 1 << 17  # scored at once
KeptPairs = tuple[NDArray[np.int64], NDArray[np.int64]]  # concepts and columns, ascending


def scores(counts: Counts, *, all_pairs: bool = False) -> pd.DataFrame:
    """Scores of the best pairs at every threshold.

    Parameters
    ----------
    counts : Counts
        From `Counter` or `score_bed`.
    all_pairs : bool
        Every pair with a true positive at any threshold, in either half, instead of the best.

    Returns
    -------
    DataFrame
        One row a (concept, site_strand, feature, read_strand, threshold): ``concept``, ``tf``, ``site_strand``,
        ``feature`` (``f357``), ``read_strand``, ``threshold``, ``instances``, ``instances_hit``, ``tp``, ``fp``,
        ``fn``, ``precision``, ``recall``, ``f1``, ``domain_recall`` (instances hit of all), ``domain_f1`` (InterPLM's:
        the harmonic mean of precision and domain recall) and ``enrichment`` (precision over the labelled share of all
        bases), all on the report half, NaN where there is nothing to divide by or instances were not followed;
        ``select_f1``, on the other half; ``chosen``, True on the pair's best threshold by select_f1, the lowest where
        several are; and ``verdict``. The pairs kept are the best 10 features of a concept and the best 10 concepts of
        a feature by select_f1, each read strand on its own; where pairs tie, the first concept or feature comes first.
        A pair without a true positive in the select half is never among the best. Open instances are closed.
    """
    return pd.concat(score_tables(counts, kept_pairs(counts, all_pairs=all_pairs)), ignore_index=True)


def kept_pairs(counts: Counts, *, all_pairs: bool = False) -> list[KeptPairs]:
    """Which pairs `scores` gives rows to, a read strand each."""
    choose = _pairs_with_tp if all_pairs else _best_pairs
    return [choose(counts, strand) for strand in range(len(counts.read_strands))]


def score_tables(counts: Counts, kept: Sequence[KeptPairs]) -> Iterator[pd.DataFrame]:
    """The rows of `scores` for the pairs of `kept_pairs`, in parts that fit in memory; at least one, perhaps empty."""
    counts.close()
    for strand, (concept, column) in enumerate(kept):
        for start in range(0, max(len(concept), 1), PAIRS):
            part = slice(start, start + PAIRS)
            yield _rows(counts, strand, concept[part], column[part])


def best_features(table: pd.DataFrame) -> pd.DataFrame:
    """The best feature of every concept and site strand by select_f1, at its chosen threshold.

    A, C, G and T come first, then the highest F1 on the report half.
    """
    key = ["concept", "site_strand"]
    best = table[table["chosen"]].sort_values("select_f1", ascending=False, kind="stable").drop_duplicates(key)
    nucleotide = best["concept"].isin(list(NUCLEOTIDES)) & (best["site_strand"] == "+")
    order = best.assign(other=~nucleotide, worst=-best["f1"]).sort_values(["other", "worst", *key], kind="stable")
    return order.drop(columns=["other", "worst"]).reset_index(drop=True)


def _select_f1(counts: Counts, strand: int) -> NDArray[np.float64]:
    """(C, K) float64: the best F1 of each pair over the thresholds, on the select half; 0 where nothing is active."""
    labelled, active = counts.labelled[strand, 0], at_thresholds(counts.active[strand, 0], 0)
    tp = np.zeros((len(labelled), len(counts.features)), np.uint32)
    best = np.zeros(tp.shape)
    for t in reversed(range(len(counts.thresholds))):
        tp += counts.tp[strand, 0, :, t]
        np.maximum(best, 2.0 * tp / np.maximum(labelled[:, None] + active[t], 1), out=best)
    return best


def _best_pairs(counts: Counts, strand: int) -> KeptPairs:
    """Concept and column of the pairs kept, ascending."""
    f1 = _select_f1(counts, strand)
    return np.nonzero(_best_of_rows(f1) | _best_of_rows(np.ascontiguousarray(f1.T)).T)


def _best_of_rows(f1: NDArray[np.float64]) -> NDArray[np.bool_]:
    """True on the 10 highest scores of every row that are not 0; the first ones where they tie."""
    if f1.shape[1] <= BEST:
        return f1 > 0
    tenth = np.partition(f1, -BEST, axis=1)[:, -BEST, None]
    above, tied = f1 > tenth, f1 == tenth
    room = BEST - above.sum(axis=1, keepdims=True)
    return (above | (tied & (np.cumsum(tied, axis=1, dtype=np.int32) <= room))) & (f1 > 0)


def _pairs_with_tp(counts: Counts, strand: int) -> KeptPairs:
    """Concept and column of every pair with a true positive, ascending."""
    return np.nonzero(counts.tp[strand].any(axis=(0, 2)))


def _rows(counts: Counts, strand: int, concept: NDArray[np.int64], column: NDArray[np.int64]) -> pd.DataFrame:
    """All thresholds of m pairs, ascending within a pair."""
    thresholds = len(counts.thresholds)
    tp = at_thresholds(counts.tp[strand][:, concept, :, column], 2).transpose(1, 0, 2)
    active = at_thresholds(counts.active[strand], 1)[:, :, column].transpose(0, 2, 1)
    labelled = counts.labelled[strand][:, concept, None]
    f1 = _ratio(2 * tp, active + labelled)
    chosen = np.nan_to_num(f1[0]).argmax(axis=1)
    each = np.repeat(np.arange(len(concept)), thresholds)
    names = counts.concepts.iloc[concept[each]]
    report = _report_half(counts, strand, concept, column, tp[-1], active[-1])
    return pd.DataFrame(
        {
            **{name: names[name].to_numpy() for name in ("concept", "tf", "site_strand")},
            "feature": counts.features.astype(object)[column[each]],
            "read_strand": counts.read_strands[strand],
            "threshold": np.tile(counts.thresholds, len(concept)),
            **{name: values.ravel() for name, values in report.items()},
            "select_f1": f1[0].ravel(),
            "chosen": (chosen[:, None] == np.arange(thresholds)).ravel(),
            "verdict": "not-tested",
        }
    )


def _report_half(
    counts: Counts,
    strand: int,
    concept: NDArray[np.int64],
    column: NDArray[np.int64],
    tp: NDArray[np.int64],
    active: NDArray[np.int64],
) -> dict[str, NDArray]:
    """Columns from ``instances`` to ``enrichment``, (m, T) each, from bases labelled and active, and active, (m, T)."""
    instances = np.broadcast_to(counts.instances[strand, -1, concept][:, None], tp.shape)
    labelled = np.broadcast_to(counts.labelled[strand, -1, concept][:, None], tp.shape)
    hit = np.full(tp.shape, np.nan)
    if counts.hits is not None:
        hit = at_thresholds(counts.hits[strand, -1][concept, :, column], 1)
    precision = _ratio(tp, active)
    # 2 P R / (P + R) with P = tp / active and R = hit / instances; 0, as F1 is, where nothing is hit
    domain_f1 = np.where((hit == 0) & (instances > 0), 0, _ratio(2 * tp * hit, tp * instances + hit * active))
    return {
        "instances": instances,
        "instances_hit": hit,
        "tp": tp,
        "fp": active - tp,
        "fn": labelled - tp,
        "precision": precision,
        "recall": _ratio(tp, labelled),
        "f1": _ratio(2 * tp, active + labelled),
        "domain_recall": _ratio(hit, instances),
        "domain_f1": domain_f1,
        "enrichment": _ratio(precision, labelled / max(int(counts.bases[strand, -1]), 1)),
    }


def _ratio(numerator: NDArray, denominator: NDArray) -> NDArray[np.float64]:
    """Quotient, NaN where the denominator is 0."""
    denominator = np.broadcast_to(denominator, numerator.shape)
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)
