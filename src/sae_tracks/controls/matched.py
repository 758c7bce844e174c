"""Do other regions match as well? Regions like those of an annotation, and the same regions shifted along the genome.

A pool of regions is spread over the report half. Each draw takes for every instance one of the 20 of the pool that are
most like it in length, GC, CpG, share of repeats and distance to the next instance. So what the composition of an
annotation explains, draws explain as well. An instance that is like fewer of them is left out. Regions of the pool may
touch other instances: a pool that avoids them lacks what is rare and lies, by chance, in the annotation.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import KDTree

from sae_tracks.controls.fit import Fit
from sae_tracks.controls.gather import FEATURES
from sae_tracks.controls.items import Items, average_precision, extended, highest, pieces_of
from sae_tracks.controls.view import Tiles, View
from sae_tracks.intervals import merge
from sae_tracks.jit import FAST

DRAWS = 200  # of matched regions, and of shifts
POOL = 20_000  # regions per concept, and the most instances that are compared
NEAREST, TRIED = 20, 100  # of the pool: taken for each instance, and looked at, of which some may overlap it
# the most by which regions that are alike differ, in GC, CpG, share of repeats, log distance and log length
LIKE = np.array([0.05, 0.02, 0.2, 1.0, 0.4])
# bases; instances that are closer are neighbours: what has a period, such as codons, would tell itself by the distance
NEAR = 30
FUZZ = 0.05  # of `LIKE`, at random, so that single bases, most of which are alike in everything, meet different ones
LEAST_SHIFT = 1000  # bases


class _Regions(NamedTuple):
    """Regions and the levels of their pieces."""

    span: NDArray[np.int64]  # (m, 2), on the line of all tiles
    like: NDArray[np.float32]  # (m, 5)
    levels: NDArray[np.uint16]  # (m, L + 1)


def _joined(parts: list[_Regions]) -> _Regions:
    return _Regions(*map(np.concatenate, zip(*parts)))


class RegionControl:
    """Levels of the instances of the pairs, of a pool of other regions, and of shifted instances, tile by tile.

    Only instances that lie whole on a tile are compared.
    """

    def __init__(self, fit: Fit, tiles: Tiles) -> None:
        self.pairs, self._fit = fit.pairs, fit
        self._bases, self._levels = max(sum(map(len, tiles.regions)), 1), fit.pairs.levels + 1
        some = np.flatnonzero(self.pairs.annotated).tolist()
        instances = tiles.evaluation.labels.instances
        self._widths = {pair: _widths(instances, int(self.pairs.concept[pair])) for pair in some}
        self._own: dict[int, list[_Regions]] = {pair: [] for pair in self._widths}
        self._pool: dict[int, list[_Regions]] = {pair: [] for pair in self._widths}
        self._shifted = np.zeros((len(self.pairs), DRAWS, self._levels), np.int64)
        self._moved = np.zeros((len(self.pairs), self._levels), np.int64)  # those that were shifted, where they are
        self._line = 0  # bases of the tiles before: all tiles lie on one line

    def wanted(self) -> Mapping[str, NDArray[np.int64]]:
        return {FEATURES: self.pairs.feature}

    def add(self, view: View) -> None:
        sums = _sums(view)
        for pair in self._widths:
            self._add(pair, view, sums)
        self._line += len(view.tile)

    def _add(self, pair: int, view: View, sums: Sequence[NDArray[np.int64]]) -> None:
        tile, concept = view.tile, int(self.pairs.concept[pair])
        rng = np.random.default_rng([self.pairs.seed, pair, crc32(tile.region.contig.encode()), tile.region.start])
        items, active = view.items(concept), view.active(FEATURES, int(self.pairs.feature[pair]))
        most = -(-POOL * len(tile) // self._bases)
        known = view.labels.merged(concept)  # instances that overlap are one: their activations are the same
        before, after = (0, items.lag) if tile.read_strand == "+" else (items.lag, 0)  # of each region, on the tile
        some = np.flatnonzero((known[:, 0] >= before) & (known[:, 1] + after <= len(tile)))
        if len(self._widths[pair]) > POOL:
            some = np.sort(rng.choice(some, -(-len(some) * POOL // len(self._widths[pair])), replace=False))
        start, end = known[some].T
        own = self._regions(view, sums, items, known, start, end, active)
        self._own[pair].append(own)
        width = rng.choice(self._widths[pair], most)
        first = before + (rng.random(most) * np.maximum(len(tile) - width - items.lag, 0)).astype(np.int64)
        last = first + width
        whole = last + after <= len(tile)
        whole[whole] = tile.covered[last[whole]] - tile.covered[first[whole]] == width[whole]
        first, width = first[whole], width[whole]
        self._pool[pair].append(self._regions(view, sums, items, known, first, first + width, active))
        if len(tile) > 2 * LEAST_SHIFT:
            _, first, last = pieces_of(start, end)
            low, high = extended(first, last, items.lag, tile)
            self._moved[pair] += own.levels.sum(axis=0, dtype=np.int64)
            offset = rng.integers(LEAST_SHIFT, len(tile) - LEAST_SHIFT, DRAWS)
            _shifted(low, high, offset, len(tile), *active, self._shifted[pair])

    def table(self) -> pd.DataFrame:
        """``regions`` (instances compared), ``regions_p`` and ``shift_p``; NaN for letters and motifs."""
        windows = self._fit.windows
        found = pd.DataFrame(np.nan, range(len(self.pairs)), ["regions", "regions_p", "shift_p"])
        for pair in self._widths:
            own, draws = self._draws(pair)
            p = [
                empirical_p(*(average_precision(items, windows[pair]) for items in both))
                for both in ((own.sum(axis=0, dtype=np.int64), draws), (self._moved[pair], self._shifted[pair]))
            ]
            found.loc[pair] = len(own), *p
        return found

    def _draws(self, pair: int) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        """Levels of the instances that are compared, (m, L + 1), and of each draw, (200, L + 1)."""
        levels = np.empty((0, self._levels), np.uint16)
        empty = _Regions(np.empty((0, 2), np.int64), np.empty((0, len(LIKE)), np.float32), levels)
        own, pool = (_joined([empty, *parts[pair]]) for parts in (self._own, self._pool))
        draws = np.zeros((DRAWS, self._levels), np.int64)
        if len(own.span) == 0 or len(pool.span) < TRIED:
            return empty.levels, draws
        rng = np.random.default_rng([self.pairs.seed, pair])
        theirs, ours = (of.like + rng.uniform(-FUZZ, FUZZ, of.like.shape) for of in (pool, own))
        near, which = KDTree(theirs).query(ours, TRIED, p=np.inf, distance_upper_bound=1)
        other = pool.span[np.where(np.isfinite(near), which, 0)]  # a region that shares bases is no other one
        near[(other[..., 0] < own.span[:, 1:]) & (other[..., 1] > own.span[:, :1])] = np.inf
        order = np.argsort(near, axis=1, kind="stable")[:, :NEAREST]
        enough = np.isfinite(np.take_along_axis(near, order, axis=1)).all(axis=1)
        which, row = np.take_along_axis(which, order, axis=1)[enough], np.arange(enough.sum())
        for draw in range(DRAWS):
            draws[draw] = pool.levels[which[row, rng.integers(0, NEAREST, len(row))]].sum(axis=0, dtype=np.int64)
        return own.levels[enough], draws

    def _regions(
        self,
        view: View,
        sums: Sequence[NDArray[np.int64]],
        items: Items,
        known: NDArray[np.int64],
        start: NDArray[np.int64],
        end: NDArray[np.int64],
        active: tuple[NDArray[np.int32], NDArray[np.uint8]],
    ) -> _Regions:
        """Regions of a tile; `sums` are from `_sums`, `known` are the instances."""
        each, first, last = pieces_of(start, end)
        levels = np.zeros((len(start), self._levels), np.uint16)
        np.add.at(levels, (each, highest(*extended(first, last, items.lag, view.tile), *active)), 1)
        return _Regions(self._line + np.stack([start, end], axis=1), _traits(sums, known, start, end), levels)


def _widths(instances: pd.DataFrame, concept: int) -> NDArray[np.int64]:
    """Of the instances of a concept, those that overlap as one."""
    mine = instances[instances["concept"] == concept]
    groups = mine.groupby("Chromosome", observed=True, sort=False)[["Start", "End"]]
    return np.concatenate([np.diff(merge(spans.to_numpy(np.int64)), axis=1).ravel() for _, spans in groups])


def _sums(view: View) -> list[NDArray[np.int64]]:
    """(n + 1,) each: letters C or G, CpGs, and bases in repeats before each base of a tile."""
    letters = view.letters
    gc, cpg = (letters == 1) | (letters == 2), np.zeros(len(letters), np.bool_)
    cpg[:-1] = (letters[:-1] == 1) & (letters[1:] == 2)
    return [*(np.concatenate(([0], np.cumsum(mask))) for mask in (gc, cpg)), view.tile.repeated]


def _traits(
    sums: Sequence[NDArray[np.int64]], known: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(m, 5): what regions of a tile are like, in units of `LIKE`."""
    width = np.maximum(end - start, 1)
    shares = [(total[end] - total[start]) / width for total in sums]
    gap = np.log1p(np.maximum(_gaps(known, start, end, len(sums[0]) - 1), NEAR))
    return (np.stack([*shares, gap, np.log(width)], axis=-1) / LIKE).astype(np.float32)


def _gaps(known: NDArray[np.int64], start: NDArray, end: NDArray, most: int) -> NDArray[np.int64]:
    """Bases between regions and the next other one of the known ones, disjoint and ascending."""
    before = np.searchsorted(known[:, 1], start, side="right")  # those that end at or before the start
    after = np.searchsorted(known[:, 0], end, side="left")
    left = np.where(before > 0, start - np.append(known[:, 1], 0)[before - 1], most)
    right = np.where(after < len(known), np.append(known[:, 0], most)[after] - end, most)
    return np.minimum(left, right)


@njit(**FAST)
def _shifted(start, end, offset, n, base, level, found):
    """Add the levels of items, moved along the circle of n bases by each offset, to (draws, L + 1)."""
    for draw in range(len(offset)):
        for i in range(len(start)):
            low = (start[i] + offset[draw]) % n
            high, top = low + end[i] - start[i], 0
            for part in range(2):
                first, last = (low, min(high, n)) if part == 0 else (0, high - n)
                at = np.searchsorted(base, first)
                while at < len(base) and base[at] < last:
                    top = max(top, level[at])
                    at += 1
            found[draw, top] += 1


def empirical_p(own: NDArray[np.float64], draws: NDArray[np.float64]) -> float:
    """(1 + draws that are not lower) / (1 + draws); NaN if an average precision is."""
    if np.isnan(own) or np.isnan(draws).any():
        return np.nan
    return float((1 + np.count_nonzero(draws >= own)) / (1 + len(draws)))
