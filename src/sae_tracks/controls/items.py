"""Items against windows: how well a feature tells the sites of a concept from the rest of the sequence.

An *item* is an instance of a concept, extended in the direction of reading, because a model that reads from left to
right knows a site only at its end. A long instance is several items. *Windows* of the same width lie on a fixed grid
and touch no item. Each has the feature's highest level on its bases. So it does not matter how wide a feature fires.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from sae_tracks.arrays import ratio
from sae_tracks.intervals import merge
from sae_tracks.jit import FAST
from sae_tracks.metrics import Evaluation
from sae_tracks.regions import GenomicRegion, ReadStrand

PIECE = 64  # bases: a longer instance is cut into equal pieces, so that its items are not all hit by chance
LAG = 10  # bases at most by which an item is extended; at most half of its width
BIN = 32_768  # bases at least of a block of the bootstrap, unless its tile is shorter
BLOCKS = 256  # at most
PRECISION = 0.5  # at which recall is given


@dataclass(frozen=True, slots=True)
class Shape:
    """The width of the items of C concepts, (C,) int64 each."""

    width: NDArray[np.int64]  # the median width of the pieces of its instances; 1 without instances
    lag: NDArray[np.int64]  # bases by which they are extended

    @classmethod
    def of(cls, instances: pd.DataFrame, concepts: int, *, causal: bool) -> Self:
        """From the ``Start``, ``End`` and ``concept`` of all instances."""
        width = (instances["End"] - instances["Start"]).to_numpy(np.int64)
        width = -(-width // _number(width))
        median = pd.Series(width).groupby(instances["concept"].to_numpy(np.int64)).median()
        found = median.reindex(range(concepts)).fillna(1).to_numpy().astype(np.int64)
        return cls(found, np.array([lag_of(width, causal) for width in found.tolist()], np.int64))


def lag_of(width: int, causal: bool) -> int:
    """By how many bases items of a width are extended."""
    return min(LAG, width // 2) if causal else 0


def _number(width: NDArray[np.int64]) -> NDArray[np.int64]:
    """(m,) int64: into how many pieces instances are cut."""
    return np.maximum(-(-width // PIECE), 1)


def pieces_of(
    start: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cut instances into equal pieces: for each piece the number of its instance, its first base and its end."""
    number = _number(end - start)
    each = np.repeat(np.arange(len(start)), number)
    rank = np.arange(len(each)) - np.repeat(np.cumsum(number) - number, number)
    length = (end - start)[each]
    return each, start[each] + rank * length // number[each], start[each] + (rank + 1) * length // number[each]


@dataclass(frozen=True, slots=True)
class Tile:
    """Consecutive bases of the report half, as the model read them in one direction, and their blocks."""

    region: GenomicRegion
    read_strand: ReadStrand
    readable: NDArray[np.bool_]  # (n,)
    block: NDArray[np.int64]  # (n,): the block of each base, over all tiles
    inside: NDArray[np.bool_]  # (n,): bases in repeats
    covered: NDArray[np.int64]  # (n + 1,): readable bases before each base
    repeated: NDArray[np.int64]  # (n + 1,): bases in repeats before each base

    @classmethod
    def of(
        cls,
        region: GenomicRegion,
        read_strand: ReadStrand,
        readable: NDArray[np.bool_],
        block: NDArray[np.int64],
        inside: NDArray[np.bool_],
    ) -> Self:
        covered, repeated = (np.concatenate(([0], np.cumsum(mask))) for mask in (readable, inside))
        return cls(region, read_strand, readable, block, inside, covered, repeated)

    def __len__(self) -> int:
        return len(self.readable)


def extended(
    first: NDArray[np.int64], last: NDArray[np.int64], lag: int, tile: Tile
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Extend pieces in the direction of reading, within the tile."""
    low, high = (first, last + lag) if tile.read_strand == "+" else (first - lag, last)
    return np.clip(low, 0, len(tile)), np.clip(high, 0, len(tile))


@dataclass(frozen=True, slots=True)
class Items:
    """The items of one concept on a tile, by start; all (m,) but the last three."""

    first: NDArray[np.int64]  # of the piece, before it was extended; tile coordinates
    last: NDArray[np.int64]  # its end, half-open
    start: NDArray[np.int64]  # extended
    end: NDArray[np.int64]
    copies: NDArray[np.int64]
    inside: NDArray[np.bool_]  # has a base in a repeat
    width: int  # of windows
    lag: int
    touched: NDArray[np.int64]  # (t, 2): what windows may not touch, disjoint and ascending

    def __len__(self) -> int:
        return len(self.start)


def items_of(
    tile: Tile, start: NDArray[np.int64], end: NDArray[np.int64], copies: NDArray[np.int64], width: int, lag: int
) -> Items:
    """Cut instances that overlap a tile, ascending by start and in its coordinates, into items.

    An item counts if its first base lies on the tile and is readable; it ends with the tile. One of 0 `copies` is no
    item, but windows may not touch it.
    """
    n = len(tile)
    each, first, last = pieces_of(start, end)
    order = np.argsort(first, kind="stable")
    first, last, copies = first[order], last[order], copies[each][order]
    low, high = extended(first, last, lag, tile)
    seen = high > low
    touched = merge(np.stack([low[seen], high[seen]], axis=1))
    begins = first if tile.read_strand == "+" else last - 1
    kept = (begins >= 0) & (begins < n) & (copies > 0)
    kept[kept] = tile.readable[begins[kept]]
    first, last = np.clip(first[kept], 0, n), np.clip(last[kept], 0, n)
    low, high, copies = low[kept], high[kept], copies[kept]
    inside = tile.repeated[last] > tile.repeated[first]
    return Items(first, last, low, high, copies, inside, width + lag, lag, touched)


class Histogram:
    """Items and windows by level, of p pairs, over blocks; 0 is the level of those that are not active.

    Attributes
    ----------
    items, windows : (p, 2, B, L + 1) int64
        Along the second axis: outside of repeats, inside.
    """

    def __init__(self, pairs: int, blocks: int, levels: int) -> None:
        self.items, self.windows = (np.zeros((pairs, 2, blocks, levels + 1), np.int64) for _ in range(2))

    def add(self, pair: int, tile: Tile, items: Items, base: NDArray[np.int32], level: NDArray[np.uint8]) -> None:
        """Add a tile: the items of the pair's concept, and the active bases of its feature with their levels."""
        one = self.items.shape[2] == 1
        reached = highest(items.start, items.end, base, level)
        block = np.zeros(len(items), np.int64) if one else tile.block[items.first]
        np.add.at(self.items[pair], (items.inside.astype(np.int64), block, reached), items.copies)
        grid = (items.width, tile.region.start, tile.covered, tile.repeated, tile.block, one)
        _count_windows(*grid, items.touched, base, level, self.windows[pair])


@njit(**FAST)
def highest(start, end, base, level):
    """(m,) uint8: the highest level in each interval, 0 if it has none."""
    found = np.zeros(len(start), np.uint8)
    for i in range(len(start)):
        at = np.searchsorted(base, start[i])
        while at < len(base) and base[at] < end[i]:
            found[i] = max(found[i], level[at])
            at += 1
    return found


@njit(**FAST)
def _count_windows(width, origin, covered, repeated, block, one, touched, base, level, windows):
    """Add the windows of a tile to (2, B, L + 1). Window j holds the bases j * width to (j + 1) * width of the contig.

    A window counts if all its bases are readable and no touched interval overlaps it.
    """
    n = len(covered) - 1
    at, entry = 0, 0
    start = -(origin % -width) if origin % width else 0
    while start + width <= n:
        end, top = start + width, 0
        while entry < len(base) and base[entry] < end:
            if base[entry] >= start:
                top = max(top, level[entry])
            entry += 1
        while at < len(touched) and touched[at, 1] <= start:
            at += 1
        free = at == len(touched) or touched[at, 0] >= end
        if free and covered[end] - covered[start] == width:
            inside = 1 if repeated[end] > repeated[start] else 0
            windows[inside, 0 if one else block[start], top] += 1
        start = end


def average_precision(items: NDArray, windows: NDArray) -> NDArray[np.float64]:
    """Average precision of items among windows, from their numbers by level along the last axis; NaN without items.

    Those of one level are taken together, as in `docs/methods.md`. It is rounded to 12 decimals, because a tie of two
    numbers must not be decided by the order in which their parts were summed.
    """
    hit = np.flip(items, -1).astype(np.float64)
    found = np.cumsum(hit, -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(found / (found + np.cumsum(np.flip(windows, -1), -1)))
        return np.round((hit * precision).sum(-1) / hit.sum(-1), 12)


def recall_at(items: NDArray, windows: NDArray) -> NDArray[np.float64]:
    """The highest recall of items at a level of a precision of at least `PRECISION`; 0 if none, NaN without items."""
    found, others = (np.cumsum(np.flip(counts, -1)[..., :-1], -1) for counts in (items, windows))
    total = items.sum(-1)
    good = (found > 0) & (found >= PRECISION * (found + others))
    best = np.where(good, found, 0).max(-1, initial=0)
    return ratio(best, total)


def auroc(positive: NDArray, negative: NDArray) -> NDArray[np.float64]:
    """The chance that a positive has the higher level (ties: half), along the last axis; NaN without one of both."""
    p, q = np.asarray(positive, np.float64), np.asarray(negative, np.float64)
    below = np.cumsum(q, -1) - q
    with np.errstate(invalid="ignore", divide="ignore"):
        return (p * (below + q / 2)).sum(-1) / (p.sum(-1) * q.sum(-1))


def report_tiles(evaluation: Evaluation) -> list[GenomicRegion]:
    """The report half, in ascending tiles of at most 1 Mb."""
    return [tile for region in evaluation.regions for tile, half in evaluation.halves.tiles(region) if half == 1]


def blocks_of(tiles: list[GenomicRegion]) -> list[NDArray[np.int64]]:
    """(n,) int64 of every tile: the block of each base.

    Tiles are cut into bins of equal length, 32 kb or a little more (a shorter tile is one bin). If these are more than
    256, neighbours are one block.
    """
    bins = [max(1, len(tile) // BIN) for tile in tiles]
    total, blocks, first = sum(bins), [], 0
    for tile, n in zip(tiles, bins):
        edges = np.linspace(0, len(tile), n + 1).astype(np.int64)
        number = np.arange(first, first + n) * min(BLOCKS, total) // total if total else np.arange(0)
        blocks.append(np.repeat(number, np.diff(edges)))
        first += n
    return blocks
