"""Enrichment of features in sets of regions, beside a background."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from sae_tracks.annotations.sites import series
from sae_tracks.bootstrap import FEW, INTERVAL, MOST_BLOCKS, block_size, draws_of
from sae_tracks.controls.chance import adjusted
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, write_provenance, write_tsv
from sae_tracks.jit import EXACT
from sae_tracks.names import feature_name
from sae_tracks.region_sets.activity import Activity, read_activity
from sae_tracks.region_sets.comparison import Comparison, Design
from sae_tracks.region_sets.matched import MatchedRegions
from sae_tracks.region_sets.permutation import pooled_tails, stratified_tails
from sae_tracks.region_sets.regions import RegionSet
from sae_tracks.source import Source
from sae_tracks.threads import in_threads

NORMAL = 1.96
FIELDS = (
    *("share", "share_background", "hit", "hit_background", "mean", "mean_background", "support", "b"),
    *("upper", "lower", "auroc", "auroc_error"),
)


def enrich(
    source: Source,
    comparison: Comparison,
    *,
    features: Iterable[int] | None = None,
    threshold: float = 0.15,
    scale: str = "max",
    seed: int = 0,
) -> pd.DataFrame:
    """Compare what features do in sets of regions with what they do in the background.

    Parameters
    ----------
    source : Source
        Model, SAE, genome and read strands. Its regions hold every region of the comparison whole.
    comparison : Comparison
        From `with_matched`, `in_universe` or `with_other`.
    features : iterable of int, optional
        Feature ids; default all.
    threshold, scale
        Where a feature is active; see `SAE.cutoffs`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        One row per set, feature and read strand, sets as given and then by ``p``; the columns are those of
        ``enrichment.tsv`` in docs/formats.md.
        ``p`` is that of a two-sided permutation test of the share of active bases, and ``q`` is adjusted by Benjamini
        and Hochberg over all rows. A temporary file in ``$TMPDIR`` takes 12 bytes per region and feature that is above
        0 in it.

    Raises
    ------
    SaeTracksError
        A feature is not in the SAE, or no base is readable in a set or in its background.
    """
    ids = None if features is None else source.sae.check_features(features).tolist()
    names = np.arange(source.sae.d_sae) if ids is None else np.array(ids)
    cutoffs = source.sae.cutoffs(threshold, scale)
    blocks = _blocks_of(comparison.regions)
    parts = []
    for strand in source.read_strands:
        with read_activity(source, comparison.regions, cutoffs, ids, strand) as read:
            for design in comparison.designs:
                table = _table(read, design, blocks, names, seed)
                parts.append(table.assign(read_strand=strand))
    table = pd.concat(parts, ignore_index=True)
    table.insert(2, "read_strand", table.pop("read_strand"))
    table["q"] = adjusted(table["p"].to_numpy(np.float64))
    order = pd.Categorical(table["set"], [design.name for design in comparison.designs])
    key = table.assign(set=order).sort_values(["set", "p"], kind="stable").index
    return table.loc[key].reset_index(drop=True)


def write_enrichment(
    table: pd.DataFrame, out: str | Path, matched: Sequence[MatchedRegions] = (), **facts: Any
) -> None:
    """Write ``enrichment.tsv``, ``enrichment.parquet``, the matched regions as ``matched/SET.bed``, and provenance."""
    out = Path(out)
    with atomic(out / "enrichment.parquet") as temporary:
        table.to_parquet(temporary, index=False)
    write_tsv(table, out / "enrichment.tsv")
    for one in matched:
        one.write(out / "matched" / f"{one.regions.name}.bed", **facts)
    write_provenance(out, **facts)


def _table(
    read: Activity, design: Design, blocks: NDArray[np.int64], names: NDArray[np.int64], seed: int
) -> pd.DataFrame:
    """The rows of one set, without ``q``; see `_measure`."""
    rows, stratum, own = _in_strata(design, read.readable)
    if not own.any() or own.all():
        raise SaeTracksError(f"no readable base lies in {design.name} or in its background")
    n, m = int(own.sum()), int((~own).sum())
    stratified = design.stratum is not None
    size = np.bincount(stratum)
    weight = np.where(own, 1.0, 1 / (size[stratum] - 1) if stratified else 1.0)
    block = np.unique(blocks[rows[own]][stratum] if stratified else blocks[rows], return_inverse=True)[1]
    block = block * min(MOST_BLOCKS, int(block.max()) + 1) // (int(block.max()) + 1)  # of many short contigs, too
    share = 1 / read.readable[rows]
    span = share[0] if (share == share[0]).all() else 0.0  # shares of regions of one length are multiples of it
    place = np.full(len(read.readable), -1)
    place[rows] = np.arange(len(rows))
    numbers = np.zeros((len(names), len(FIELDS)))
    sums = np.zeros((len(names), 2, int(block.max()) + 1))  # a part of the features is contiguous: one compilation
    layout = place, share, stratum, own, weight, block, size, stratified, span

    def stage(some: slice) -> None:
        _measure(*read.of(names[some]), *layout, numbers[some], sums[some])

    with in_threads() as each:
        each(stage, len(names), read.features_at_once)
    found = pd.DataFrame(numbers, columns=[*FIELDS])
    whole = np.array([np.bincount(block[own], minlength=sums.shape[2])] * 2)
    if not stratified:
        whole[1] = np.bincount(block[~own], minlength=sums.shape[2])
    support, b = (found[name].astype(np.int64) for name in ("support", "b"))
    either = ((support > 0) & (b > 0)).to_numpy()  # else every draw has the same ratio, 0 or infinity
    low, high = (np.where(either, end, np.nan) for end in _fold_interval(sums.swapaxes(0, 1), whole, seed))
    c, d = n - support, m - b
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = {name: found[name] / found[f"{name}_background"] for name in ("share", "hit", "mean")}
        odds = (support * d).to_numpy(np.float64) / (b * c).to_numpy(np.float64)
    wide = NORMAL * found["auroc_error"]
    table = {
        "set": design.name,
        "feature": list(map(feature_name, names.tolist())),
        "regions": n,
        "background": m,
        "share": found["share"],
        "share_background": found["share_background"],
        "fold": ratio["share"],
        "fold_low": low,
        "fold_high": high,
        "support": support,
        "b": b,
        "c": c,
        "d": d,
        "odds_ratio": odds,
        "fold_regions": ratio["hit"],
        "mean": found["mean"],
        "mean_background": found["mean_background"],
        "fold_mean": ratio["mean"],
        "auroc": found["auroc"],
        "auroc_low": found["auroc"] - wide,
        "auroc_high": found["auroc"] + wide,
        "p": np.where(support + b > 0, np.minimum(2 * found[["upper", "lower"]].min(axis=1), 1), np.nan),
    }
    return pd.DataFrame(table)


def _in_strata(
    design: Design, readable: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The readable regions of a design, stratum by stratum with the set's first, their strata, and which are the set's.

    A stratum without a readable region of either kind is left out. Without strata all are of one.
    """
    rows = np.concatenate([design.own, design.background])
    own = np.arange(len(rows)) < len(design.own)
    if design.stratum is None:
        kept = readable[rows] > 0
        return rows[kept], np.zeros(int(kept.sum()), np.int64), own[kept]
    stratum = np.concatenate([np.arange(len(design.own)), design.stratum])
    order = np.argsort(stratum, kind="stable")
    rows, own, stratum = rows[order], own[order], stratum[order]
    seen = readable[rows] > 0
    counts = (np.bincount(stratum, seen & which, len(design.own)) for which in (own, ~own))
    kept = seen & np.logical_and.reduce([count > 0 for count in counts])[stratum]
    return rows[kept], np.unique(stratum[kept], return_inverse=True)[1], own[kept]


def _fold_interval(
    sums: NDArray[np.float64], whole: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(K,) each: ends of the 95 % interval of ratios of means, from draws of blocks; NaN with fewer than five blocks.

    ``sums`` is (2, K, B): sums over the set and the background by block; ``whole`` is (2, B): how many each has.
    """
    blocks = sums.shape[2]
    if blocks < FEW:
        nothing = np.full(sums.shape[1], np.nan)
        return nothing, nothing
    drawn = draws_of(blocks, seed).T
    with np.errstate(divide="ignore", invalid="ignore"):
        ours, theirs = ((one @ drawn) / (size @ drawn) for one, size in zip(sums, whole))
        ratios = np.sort(ours / theirs, axis=1)  # NaN is last
    known = np.count_nonzero(~np.isnan(ratios), axis=1)
    ends = []
    for percentile in INTERVAL:  # without interpolation, as one end may be infinite
        at = np.rint(percentile / 100 * np.maximum(known - 1, 0)).astype(np.int64)
        ends.append(ratios[np.arange(len(ratios)), at])
    return ends[0], ends[1]


def _blocks_of(regions: RegionSet) -> NDArray[np.int64]:
    """(n,) int64: the block of the genome in which the middle of each region lies."""
    table = regions.table
    start, end = (table[name].to_numpy(np.int64) for name in ("Start", "End"))
    contig = series(table, "Chromosome").cat.codes.to_numpy(np.int64)
    reach = sum(int(end[contig == one].max()) for one in np.unique(contig))
    middle = (start + end) // 2
    return np.unique(contig * (1 << 40) + middle // block_size(reach), return_inverse=True)[1]


@njit(**EXACT)
def _measure(
    indptr, entries, place, share, stratum, own, weight, block, size, stratified, span, numbers, sums
):  # fmt: skip
    """Fill ``numbers``, (K, FIELDS), and ``sums``, (K, 2, B), the sums of shares by block, of some features.

    The first two arrays are those of `Activity.of`. ``place`` is the place of each region among those of the design, or
    -1. Of each of these, ``share`` is one base as a share of it, ``weight`` that in the mean of its kind.
    """
    n = own.sum()
    m = len(own) - n
    others = n if stratified else m  # the weights of the background add up to this
    for k in range(len(numbers)):
        mine = entries[indptr[k] : indptr[k + 1]]
        at = np.flatnonzero(place[mine["row"]] >= 0)
        at = at[np.argsort(place[mine["row"][at]])]
        rows, value = place[mine["row"][at]], mine["mean"][at]
        x = mine["active"][at] * share[rows]
        for i in range(len(rows)):
            r = rows[i]
            side, w = 0 if own[r] else 1, weight[r] / (n if own[r] else others)
            numbers[k, side] += w * x[i]
            numbers[k, 2 + side] += w * (x[i] > 0)
            numbers[k, 4 + side] += w * value[i]
            numbers[k, 6 + side] += x[i] > 0
            sums[k, side, block[r]] += weight[r] * x[i]
        on = x > 0
        if stratified:
            tails = stratified_tails(stratum[rows[on]], x[on], own[rows[on]], size, span)
            auroc = _auroc_of_strata(value, stratum[rows], own[rows], size, stratum, own, block)
        else:
            tails = pooled_tails(x[on], own[rows[on]], n, n + m, span)
            auroc = _auroc(value, rows, own, block)
        numbers[k, 8:10] = tails
        numbers[k, 10:12] = auroc


@njit(**EXACT)
def _auroc(value, rows, own, block):
    """AUROC of the set's rows against the others, and its standard error by blocks (Obuchowski 1997).

    ``value`` are those that are not 0, at `rows`.
    """
    n, blocks = own.sum(), block.max() + 1
    m = len(own) - n
    mine = np.sort(value[own[rows]])
    others = np.sort(value[~own[rows]])
    left, others_left = n - len(mine), m - len(others)  # that are 0
    zero, others_zero = 0.5 * others_left / m, (len(mine) + 0.5 * left) / n
    wins, total = np.empty(len(rows)), left * zero
    for i in range(len(rows)):
        if own[rows[i]]:
            below, upto = np.searchsorted(others, value[i]), np.searchsorted(others, value[i], side="right")
            wins[i] = (others_left + 0.5 * (below + upto)) / m
            total += wins[i]
        else:
            below, upto = np.searchsorted(mine, value[i]), np.searchsorted(mine, value[i], side="right")
            wins[i] = (len(mine) - 0.5 * (below + upto)) / n
    auroc, moved = total / n, np.zeros(blocks)
    for r in range(len(own)):
        moved[block[r]] += (zero - auroc) / n if own[r] else (others_zero - auroc) / m
    for i in range(len(rows)):
        mine_too = own[rows[i]]
        moved[block[rows[i]]] += (wins[i] - zero) / n if mine_too else (wins[i] - others_zero) / m
    return auroc, _error(moved)


@njit(**EXACT)
def _auroc_of_strata(value, strata, mine, size, stratum, own, block):
    """The mean over strata of the share of the others that are below the set's region, and its standard error.

    ``value`` are those that are not 0, with their strata, ascending; `mine` are the set's.
    """
    n, blocks = len(size), block.max() + 1
    wins, i = np.full(n, 0.5), 0
    while i < len(value):
        s, last, highest = strata[i], i, np.float32(0)
        while last < len(value) and strata[last] == s:
            highest = value[last] if mine[last] else highest
            last += 1
        below, equal, known = 0, 0, 0
        for j in range(i, last):
            if not mine[j]:
                below += value[j] < highest
                equal += value[j] == highest
                known += 1
        zeros = size[s] - 1 - known
        if highest > 0:
            below += zeros
        else:
            equal += zeros
        wins[s] = (below + 0.5 * equal) / (size[s] - 1)
        i = last
    auroc, moved = wins.mean(), np.zeros(blocks)
    for r in range(len(own)):
        if own[r]:
            moved[block[r]] += (wins[stratum[r]] - auroc) / n
    return auroc, _error(moved)


@njit(**EXACT)
def _error(moved):
    """The standard error from what each block adds to a mean; NaN with fewer than five blocks."""
    blocks = len(moved)
    return np.sqrt((moved * moved).sum() * blocks / (blocks - 1)) if blocks >= FEW else np.nan
