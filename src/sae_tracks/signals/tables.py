"""From sums to the table of all pairs of feature and signal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations.signal import Signal
from sae_tracks.arrays import adjusted, ratio
from sae_tracks.bootstrap import FEW, INTERVAL, Blocks, draws_of
from sae_tracks.metrics import Halves
from sae_tracks.names import feature_name
from sae_tracks.regions import ReadStrand
from sae_tracks.signals.bins import BinMeans, Bins, BinSums, bin_correlations
from sae_tracks.signals.sums import Sums, means_at_active, pearson, spearman
from sae_tracks.signals.survey import Survey
from sae_tracks.source import ReadBases

PART = 1 << 24  # numbers drawn at once


@dataclass(frozen=True, slots=True)
class Totals:
    """What the numbers of pairs need of the signals, on each half: (H, G) each."""

    bases: NDArray[np.int64]  # with a value
    squares: NDArray[np.float64]  # the sums of squared differences from the mean
    rank_squares: NDArray[np.float64]  # of the ranks
    strata: NDArray[np.float64]  # (G, 2, S) of the last half: bases of each stratum with a value, and their sum

    @classmethod
    def of(cls, surveys: Sequence[Sequence[Survey]]) -> "Totals":
        """The totals of surveys, by half and signal."""
        rows = [[(one.bases, one.squares, one.levels.squares) for one in half] for half in surveys]
        bases, squares, ranks = np.moveaxis(np.array(rows, np.float64), 2, 0)
        return cls(bases.astype(np.int64), squares, ranks, np.stack([one.strata for one in surveys[-1]]))


@dataclass(slots=True)
class Pass:
    """What was summed on one read strand."""

    totals: Totals
    sums: Sums
    bins: BinSums


@dataclass(frozen=True, slots=True)
class SignalRun:
    """What was summed in all shards of a run, and what it was summed on."""

    read: ReadBases
    signals: list[Signal]
    halves: Halves
    bins: Bins
    features: NDArray[np.int64]  # ids of those that are scored
    passes: dict[ReadStrand, Pass]


def pair_table(strand: ReadStrand, gathered: SignalRun, means: BinMeans) -> pd.DataFrame:
    """One row per signal and feature of a read strand; the columns are those of docs/formats.md, but for ``q``."""
    one, ids = gathered.passes[strand], gathered.features
    found: dict[str, NDArray] = {}
    for prefix, half in (("", -1), ("select_", 0)):
        totals = one.totals.bases[half]
        found[f"{prefix}pearson"] = pearson(one.sums, half, totals, one.totals.squares[half])[ids]
        found[f"{prefix}spearman"] = spearman(one.sums, half, totals, one.totals.rank_squares[half])[ids]
        for name, ranks in (("bin_pearson", False), ("bin_spearman", True)):
            found[f"{prefix}{name}"] = _of_bins(means, half % len(gathered.halves.names), ids, ranks=ranks)
    active, matched, difference, wider = (values[ids] for values in means_at_active(one.sums, one.totals.strata))
    blocks = reported_blocks(gathered)
    found["active_mean"], found["matched_mean"], found["difference"] = active, matched, difference
    on = one.sums.on[ids][:, blocks]
    found |= intervals(one.sums.above[ids][:, blocks], on, difference, wider)
    found["active_bases"] = on.sum(axis=1, dtype=np.int64)
    signals, names = [s.name for s in gathered.signals], [feature_name(i) for i in ids.tolist()]
    head = {
        "signal": np.repeat(np.array(signals, object), len(ids)),
        "feature": np.tile(np.array(names, object), len(signals)),
        "read_strand": strand,
        "bases": np.repeat(one.totals.bases[-1], len(ids)),
    }
    return pd.DataFrame(head | {name: values.T.ravel() for name, values in found.items()})


def with_q(table: pd.DataFrame) -> pd.DataFrame:
    """The table of all pairs with ``q``, Benjamini and Hochberg's over all rows whose difference was tested."""
    table = table.assign(q=adjusted(table["p"].to_numpy(np.float64)))
    return cast(pd.DataFrame, table[[*COLUMNS]])


COLUMNS = (
    *("signal", "feature", "read_strand", "bases", "active_bases", "pearson", "spearman", "bin_pearson"),
    *("bin_spearman", "select_pearson", "select_spearman", "select_bin_pearson", "select_bin_spearman"),
    *("active_mean", "matched_mean", "difference", "difference_low", "difference_high", "p", "q"),
)


def _of_bins(means: BinMeans, half: int, ids: NDArray[np.int64], *, ranks: bool) -> NDArray[np.float64]:
    """(F, G) correlations over the bins of a half that have a value."""
    found = np.full((len(ids), means.y.shape[1]), np.nan)
    for g, y in enumerate(means.y.T):
        mine = np.flatnonzero((means.half == half) & ~np.isnan(y))
        found[:, g] = bin_correlations(means.x[mine][:, ids], y[mine], ranks=ranks)
    return found


def reported_blocks(gathered: SignalRun) -> NDArray[np.int64]:
    """The blocks of the bootstrap that have bases of the last half, ascending."""
    blocks, last = Blocks.of(gathered.read.regions), len(gathered.halves.names) - 1
    found = set[int]()
    for region in gathered.read.regions:
        for tile, half in gathered.halves.tiles(region):
            if half == last:
                places = range(tile.start // blocks.size, -(-tile.end // blocks.size))
                found |= {blocks.number[tile.contig, place] for place in places}
    return np.array(sorted(found), np.int64)


def intervals(
    above: NDArray[np.float64], on: NDArray[np.uint32], difference: NDArray[np.float64], wider: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Intervals and p-values of differences, from how the excess varies between blocks.

    The excess over all bases of a stratum varies as that over its inactive bases does, times the share of these. That
    the mean of few inactive bases is uncertain too is left out.

    Parameters
    ----------
    above : (F, B, G) float64
        Sums of the signal less the mean of its stratum, where a feature is active, by block.
    on : (F, B, G) uint32
        Bases.
    difference, wider : (F, G) float64
        See `means_at_active`.

    Returns
    -------
    dict of (F, G) float64
        ``difference_low`` and ``difference_high``, 95 % over draws of blocks; ``p``, two-sided, of Student's t with the
        error between blocks. NaN for a feature that is active in fewer than 5 blocks.
    """
    from scipy.stats import t as student

    features, blocks, signals = above.shape
    bases, total = on.sum(axis=1).astype(np.float64), above.sum(axis=1)
    mean = ratio(total, bases)
    reached = (on > 0).sum(axis=1)
    enough = (reached >= FEW) & np.isfinite(difference)
    low, high, p = (np.full(total.shape, np.nan) for _ in range(3))
    if blocks >= FEW:
        draws = draws_of(blocks, 0)
        step = max(PART // (len(draws) * signals), 1)
        for first in range(0, features, step):
            some = slice(first, first + step)
            drawn = np.einsum("db,fbg->dfg", draws, on[some].astype(np.float64), optimize=True)
            sums = np.einsum("db,fbg->dfg", draws, above[some], optimize=True)
            means = np.divide(sums, drawn, out=np.broadcast_to(mean[some], sums.shape).copy(), where=drawn > 0)
            low[some], high[some] = np.percentile(means, INTERVAL, axis=0)
        away = above - np.nan_to_num(mean)[:, None] * on
        error = np.sqrt(blocks / (blocks - 1) * (away**2).sum(axis=1)) / np.maximum(bases, 1)
        p = 2 * student.sf(ratio(np.abs(difference), error * wider), np.maximum(reached - 1, 1))
    return {
        "difference_low": np.where(enough, difference + wider * (low - mean), np.nan),
        "difference_high": np.where(enough, difference + wider * (high - mean), np.nan),
        "p": np.where(enough, p, np.nan),
    }
