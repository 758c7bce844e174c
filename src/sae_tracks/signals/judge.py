"""The best feature of each signal, and whether anything simpler follows the signal as well."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.arrays import adjusted, ratio
from sae_tracks.bootstrap import FEW, draws_of, interval
from sae_tracks.controls.verdict import first_failed
from sae_tracks.names import feature_number
from sae_tracks.signals.bins import BinMeans, bin_correlations, word_means, word_name
from sae_tracks.signals.ridge import Ridge
from sae_tracks.signals.tables import SignalRun
from sae_tracks.signals.verdict import LEAST_BINS, SIGNAL_TESTS

LEAST_SHIFT = 20  # a shift is at least this part of the bins
DESIGNS = ("", "kmer_", "gc_", "dimension_")  # of the regressions: all features, words, GC and CpG, dimensions


def best_table(pairs: pd.DataFrame, gathered: SignalRun, means: dict[str, BinMeans]) -> pd.DataFrame:
    """The feature of each signal with the highest |``select_bin_spearman``|, measured on the report half.

    Parameters
    ----------
    pairs : DataFrame
        All pairs of all read strands.
    gathered : SignalRun
        What they were computed from.
    means : dict of BinMeans
        By read strand.

    Returns
    -------
    DataFrame
        One row per signal that has a feature: the columns of the pair, and those of the tests; see docs/formats.md.
    """
    rows = []
    words = word_means(gathered.bins, gathered.read.genome, np.arange(len(gathered.bins)))
    for g, signal in enumerate(gathered.signals):
        mine = ranked(pairs, signal.name)
        if len(mine):
            pair = cast(dict, mine.iloc[0].to_dict())
            rows.append(pair | _tested(pair, g, means[pair["read_strand"]], gathered, words))
    if not rows:
        return pairs.head(0)
    best = pd.DataFrame(rows)
    if len(gathered.halves.names) == 1:
        return best.drop(columns="shift_p").assign(verdict="not-tested", untested="", says="")
    best = best.assign(shift_q=adjusted(best["shift_p"].to_numpy(np.float64)))
    best = best.join(explained(best, gathered, means, words)).join(first_failed(best, SIGNAL_TESTS))
    sentences = {test.name: test.sentence for test in SIGNAL_TESTS}
    says = [sentences.get(row["verdict"], lambda row: "")(row) for row in best.to_dict("records")]
    return best.assign(says=says)


def ranked(pairs: pd.DataFrame, signal: str) -> pd.DataFrame:
    """The pairs of a signal by |``select_bin_spearman|``, the highest first; the first ones if they tie."""
    mine = pairs[pairs["signal"] == signal]
    strength = np.asarray(mine["select_bin_spearman"], np.float64)
    order = np.argsort(-np.abs(strength), kind="stable")
    return cast(pd.DataFrame, mine.iloc[order[np.isfinite(strength[order])]])


def _tested(pair: dict, g: int, means: BinMeans, gathered: SignalRun, words: NDArray[np.float32]) -> dict[str, object]:
    """What the tests of one signal look at."""
    y, feature = means.y[:, g], feature_number(pair["feature"])
    known, last = ~np.isnan(y), len(gathered.halves.names) - 1
    select, report = (np.flatnonzero(known & (means.half == half)) for half in (0, last))
    block = gathered.bins.blocks(gathered.read.regions)[means.row]
    x = means.x[report][:, [feature]].toarray()[:, 0]
    low, high = correlation_interval(x, y[report], block[report])
    found: dict[str, object] = {"bins": len(report), "blocks": len(np.unique(block[report]))}
    found |= {"bin_spearman_low": low, "bin_spearman_high": high}
    found["shift_p"] = shift_p(x, y[report], float(np.sign(pair["select_bin_spearman"])))
    rivals = (("sequence", words[means.row], word_name), ("dimension", means.dimensions, str))
    for name, columns, called in rivals:
        chosen = bin_correlations(columns[select], y[select])
        column = int(np.nanargmax(np.abs(chosen))) if np.isfinite(chosen).any() else -1
        found[name] = called(column) if column >= 0 else ""
        value = bin_correlations(columns[report][:, [column]], y[report])[0] if column >= 0 else np.nan
        found[f"{name}_spearman"] = value
    return found


def correlation_interval(
    x: NDArray[np.float32], y: NDArray[np.float64], block: NDArray[np.int64]
) -> tuple[float, float]:
    """The 95 % interval of Spearman's correlation over draws of blocks; ranks are those of all bins.

    Parameters
    ----------
    x, y : (n,) float
        A feature and a signal in bins.
    block : (n,) int64
        Block of each bin.

    Returns
    -------
    float, float
        NaN if there are fewer than 5 blocks.
    """
    from scipy.stats import rankdata

    place = np.unique(block, return_inverse=True)[1].ravel()
    if not len(place) or place.max() + 1 < FEW:
        return np.nan, np.nan
    a, b = (rankdata(values) - (len(values) + 1) / 2 for values in (x, y))
    sums = np.array([np.bincount(place, values) for values in (np.ones(len(a)), a, b, a * a, b * b, a * b)])
    n, ax, bx, aa, bb, ab = sums @ draws_of(sums.shape[1], 0).T
    whole = np.sqrt(np.maximum(aa - ax**2 / n, 0) * np.maximum(bb - bx**2 / n, 0))
    return interval(ratio(ab - ax * bx / n, whole))


def shift_p(x: NDArray[np.float32], y: NDArray[np.float64], sign: float) -> float:
    """How often the correlation is as high after the signal is shifted along the bins, which form a circle.

    Parameters
    ----------
    x, y : (n,) float
        A feature and a signal in bins.
    sign : float
        1 or -1: the direction that counts.

    Returns
    -------
    float
        (1 + shifts whose correlation is not lower) / (1 + shifts), over all shifts by n / 20 bins or more. NaN if
        there are fewer than 200 bins, or x or y is constant.
    """
    from scipy.stats import rankdata

    n = len(x)
    least = -(-n // LEAST_SHIFT)
    if n < LEAST_BINS or np.ptp(x) <= 0 or np.ptp(y) <= 0:
        return np.nan
    a, b = (rankdata(values) - (n + 1) / 2 for values in (x, y))
    cross = sign * np.fft.irfft(np.fft.rfft(a) * np.conj(np.fft.rfft(b)), n)
    moved = cross[least : n - least + 1]
    return float((1 + np.count_nonzero(moved >= cross[0] * (1 - 1e-12))) / (1 + len(moved)))


def explained(
    best: pd.DataFrame, gathered: SignalRun, means: dict[str, BinMeans], words: NDArray[np.float32]
) -> pd.DataFrame:
    """R2 of ridge regressions of each signal on all features, and on what is simpler, in the report half.

    The features and dimensions are those of the read strand of the signal's best feature.

    Returns
    -------
    DataFrame
        ``r2``, ``kmer_r2``, ``gc_r2`` and ``dimension_r2``, each with ``_low`` and ``_high``.
    """
    columns = [f"{design}r2{end}" for design in DESIGNS for end in ("", "_low", "_high")]
    found = pd.DataFrame(np.nan, best.index, columns)
    place = {signal.name: g for g, signal in enumerate(gathered.signals)}
    for strand, same in best.groupby("read_strand"):
        one = means[str(strand)]
        rows, which = same.index.to_numpy(), [place[name] for name in same["signal"]]
        for mine in _alike(~np.isnan(one.y[:, which])):
            known = np.flatnonzero(~np.isnan(one.y[:, which[mine[0]]]))
            y = one.y[known][:, [which[i] for i in mine]]
            fitted = one.half[known] == 0
            block = gathered.bins.blocks(gathered.read.regions)[one.row[known]]
            inputs = (
                one.x[known][:, gathered.features],
                *(words[one.row[known]][:, s] for s in (slice(0, -2), slice(-2, None))),
            )
            for design, x in zip(DESIGNS, (*inputs, one.dimensions[known])):
                values = Ridge(x, fitted, block).r2(y)
                found.loc[rows[mine], [f"{design}r2{end}" for end in ("", "_low", "_high")]] = values
    return found


def _alike(masks: NDArray[np.bool_]) -> Sequence[NDArray[np.int64]]:
    """Columns of masks in groups of equal ones."""
    group = np.unique(masks, axis=1, return_inverse=True)[1].ravel()
    return [np.flatnonzero(group == i) for i in range(group.max() + 1)]
