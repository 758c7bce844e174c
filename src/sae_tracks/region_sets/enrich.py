"""Enrichment of features in sets of regions, beside a background."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations.sites import series
from sae_tracks.arrays import adjusted
from sae_tracks.bootstrap import FEW, INTERVAL, MOST_BLOCKS, block_size, draws_of
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, write_provenance, write_tsv
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


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """The readable regions of a design (N) in their strata; see `_in_strata`.

    Attributes
    ----------
    n, m : int
        Regions of the set and of its background.
    place : (regions,) int64
        The place of each region that was read among those of the design, or -1.
    share : (N,) float64
        One base as a share of the region.
    stratum : (N,) int64
    own : (N,) bool
        Whether the region is of the set; with strata, the first of each.
    weight : (N,) float64
        In the mean of its kind.
    block : (N,) int64
        Of the bootstrap.
    own_block : (n,) int64
        The same of the set's regions.
    size : (strata,) int64
    stratified : bool
    span : float
        Shares are multiples of it; 0 if there is no such number.
    own_blocks, other_blocks : (B,) float64
        Regions of each kind by block.
    """

    n: int
    m: int
    place: NDArray[np.int64]
    share: NDArray[np.float64]
    stratum: NDArray[np.int64]
    own: NDArray[np.bool_]
    weight: NDArray[np.float64]
    block: NDArray[np.int64]
    own_block: NDArray[np.int64]
    size: NDArray[np.int64]
    stratified: bool
    span: float
    own_blocks: NDArray[np.float64]
    other_blocks: NDArray[np.float64]


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
    sums = np.zeros((len(names), 2, int(block.max()) + 1))
    by_block = (_added(block, which, sums.shape[2]) for which in (own, ~own))
    layout = _Layout(n, m, place, share, stratum, own, weight, block, block[own], size, stratified, span, *by_block)

    def stage(some: slice) -> None:
        _measure(*read.of(names[some]), layout, numbers[some], sums[some])

    with in_threads() as each:
        each(stage, len(names), read.features_at_once)
    found = pd.DataFrame(numbers, columns=[*FIELDS])
    whole = np.stack([layout.own_blocks, layout.own_blocks if stratified else layout.other_blocks])
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
    sums: NDArray[np.float64], whole: NDArray[np.float64], seed: int
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


def _measure(
    indptr: NDArray[np.int64],
    entries: NDArray,
    layout: _Layout,
    numbers: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """Fill ``numbers``, (K, FIELDS), and ``sums``, (K, 2, B), the sums of shares by block, of some features.

    The first two arrays are those of `Activity.of`.
    """
    n, blocks = layout.n, sums.shape[2]
    others = n if layout.stratified else layout.m  # the weights of the background add up to this
    for k in range(len(numbers)):
        mine = entries[indptr[k] : indptr[k + 1]]
        rows = layout.place[mine["row"]]
        order = np.argsort(rows)[np.count_nonzero(rows < 0) :]
        rows, value = rows[order], mine["mean"][order]
        x = mine["active"][order] * layout.share[rows]
        own, weight = layout.own[rows], layout.weight[rows]
        side, w = np.where(own, 0, 1), weight / np.where(own, n, others)
        for field, values in enumerate((w * x, w * (x > 0), w * value, x > 0)):
            numbers[k, 2 * field : 2 * field + 2] = _added(side, values, 2)
        sums[k] = _added(side * blocks + layout.block[rows], weight * x, 2 * blocks).reshape(2, blocks)
        on = x > 0
        if layout.stratified:
            strata = layout.stratum[rows]
            numbers[k, 8:10] = stratified_tails(strata[on], x[on], own[on], layout.size, layout.span)
            numbers[k, 10:12] = _auroc_of_strata(value, strata, own, layout)
        else:
            numbers[k, 8:10] = pooled_tails(x[on], own[on], n, n + layout.m, layout.span)
            numbers[k, 10:12] = _auroc(value, rows, own, layout)


def _added(place: NDArray[np.int64], values: NDArray, n: int) -> NDArray[np.float64]:
    """(n,) float64: the sum of the values at each place."""
    return np.bincount(place, values, n).astype(np.float64, copy=False)


def _auroc(
    value: NDArray[np.float32], rows: NDArray[np.int64], own: NDArray[np.bool_], layout: _Layout
) -> tuple[float, float]:
    """AUROC of the set's rows against the others, and its standard error by blocks (Obuchowski 1997).

    ``value`` are those that are not 0, at `rows`; `own` are the set's.
    """
    n, m = layout.n, layout.m
    mine, others = np.sort(value[own]), np.sort(value[~own])
    left, others_left = n - len(mine), m - len(others)  # that are 0
    zero, others_zero = 0.5 * others_left / m, (len(mine) + 0.5 * left) / n
    wins = np.empty(len(rows))
    wins[own] = (others_left + _below(others, value[own])) / m
    wins[~own] = (len(mine) - _below(mine, value[~own])) / n
    auroc = (wins[own].sum() + left * zero) / n
    of_zero = layout.own_blocks * ((zero - auroc) / n) + layout.other_blocks * ((others_zero - auroc) / m)
    more = np.where(own, (wins - zero) / n, (wins - others_zero) / m)
    return auroc, _error(of_zero + _added(layout.block[rows], more, len(of_zero)))


def _below(ascending: NDArray[np.float32], value: NDArray[np.float32]) -> NDArray[np.float64]:
    """How many of some ascending values are below each of others; equal ones count half."""
    both = np.searchsorted(ascending, value) + np.searchsorted(ascending, value, side="right")
    return both.astype(np.float64) / 2


def _auroc_of_strata(
    value: NDArray[np.float32], strata: NDArray[np.int64], own: NDArray[np.bool_], layout: _Layout
) -> tuple[float, float]:
    """The mean over strata of the share of the others that are below the set's region, and its standard error.

    ``value`` are those that are not 0, with their strata; `own` are the set's.
    """
    n, size = layout.n, layout.size
    highest = np.zeros(n, np.float32)
    highest[strata[own]] = value[own]
    strata, others = strata[~own], value[~own]
    below = _added(strata, others < highest[strata], n)
    equal = _added(strata, others == highest[strata], n)
    zeros = size - 1 - np.bincount(strata, minlength=n)
    wins = (below + 0.5 * equal + np.where(highest > 0, 1, 0.5) * zeros) / (size - 1)
    auroc = wins.mean()
    moved = _added(layout.own_block, (wins - auroc) / n, len(layout.own_blocks))
    return auroc, _error(moved)


def _error(moved: NDArray[np.float64]) -> float:
    """The standard error from what each block adds to a mean; NaN with fewer than five blocks."""
    blocks = len(moved)
    return float(np.sqrt((moved * moved).sum() * blocks / (blocks - 1))) if blocks >= FEW else np.nan
