"""Sums of features and signals over bases, from which correlations, means and intervals follow; shards add up."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.arrays import ratio
from sae_tracks.jit import EXACT
from sae_tracks.signals.survey import STRATA

LEVELS = 128  # levels of a feature, of equal width in the root of its value, up to twice its maximum
PARTS = 256  # of a level
APART = 1000  # bases of a tile that has at most one of a feature's strongest places
PLACES = 128  # strongest places that are kept of each feature
PLACE = np.dtype([("value", np.float32), ("contig", np.int32), ("position", np.int64)])
X, XX, XY = range(3)  # of `Sums.moments`


def levels_of(relative: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The levels of activations, narrow for small ones, and where in their level they are.

    Activations may be up to twice the maximum, which other sequence than that of its measurement can exceed.

    Parameters
    ----------
    relative : (n,) float32
        Activation over the feature's maximum, > 0.

    Returns
    -------
    level : (n,) uint8
        0 to ``LEVELS - 1``.
    part : (n,) uint8
        0 to ``PARTS - 1``, from the lower end of the level to the upper.
    """
    key = np.minimum(np.sqrt(relative / 2) * (LEVELS * PARTS), LEVELS * PARTS - 1).astype(np.int64)
    level, part = np.divmod(key, PARTS)
    return level.astype(np.uint8), part.astype(np.uint8)


@dataclass(slots=True)
class Sums:
    """Sums over the readable bases of one read strand that have a value of the signal.

    H halves, F features, G signals, L levels of a feature, B blocks of the bootstrap on the last half, S strata.
    """

    moments: NDArray[np.float64]  # (H, F, G, 3): of x, x^2 and x (y - mean)
    levels: NDArray[
        np.float64
    ]  # (H, F, L, G, 5): bases at the level; sums of rank (`Levels.ranks`), part, part^2, both
    on: NDArray[np.uint32]  # (F, B, G): bases of the last half on which the feature is active
    above: NDArray[np.float64]  # (F, B, G): the sum of the signal there, less the mean of its stratum
    strata: NDArray[np.float64]  # (F, G, 2, S): the same bases by stratum, and the sum of the signal there
    places: NDArray  # (F, PLACES) `PLACE`: strongest places on the last half, by value; 0 is none

    @classmethod
    def zeros(cls, halves: int, features: int, signals: int, blocks: int) -> Self:
        """Sums of nothing."""
        return cls(
            np.zeros((halves, features, signals, 3)),
            np.zeros((halves, features, LEVELS, signals, 5)),
            np.zeros((features, blocks, signals), np.uint32),
            np.zeros((features, blocks, signals)),
            np.zeros((features, signals, 2, STRATA)),
            np.zeros((features, PLACES), PLACE),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def merge(self, other: "Sums") -> None:
        """Add the sums over other bases."""
        for field in fields(self):
            mine = getattr(self, field.name)
            if field.name != "places":
                mine += getattr(other, field.name)
        self.places = strongest(np.concatenate([self.places, other.places], axis=1), PLACES)


def strongest(places: NDArray, most: int) -> NDArray:
    """The strongest places of each feature, at most one per contig and tile of `APART` bases.

    Parameters
    ----------
    places : (F, n) `PLACE`
        In any order.
    most : int
        How many.

    Returns
    -------
    (F, most) `PLACE`
        The highest value first, then by contig and position; value 0 where there is none.
    """
    found = np.zeros((len(places), most), PLACE)
    for mine, row in zip(found, places):
        row = row[row["value"] > 0]
        row = row[np.lexsort((row["position"], row["contig"], -row["value"]))]
        tile = np.stack([row["contig"], row["position"] // APART], axis=1)
        first = np.sort(np.unique(tile, axis=0, return_index=True)[1])[:most]
        mine[: len(first)] = row[first]
    return found


def spearman(sums: Sums, half: int, bases: NDArray[np.int64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank correlations of all features with all signals on one half.

    The ranks of a feature within one of its levels are taken to rise linearly with the activation. Their slope is such
    that they vary as much as ranks without ties do; values that are all the same stay tied.

    Parameters
    ----------
    sums : Sums
        Of all shards.
    half : int
        Which half.
    bases : (G,) int64
        Bases with a value of each signal.
    squares : (G,) float64
        `Levels.squares` of each signal.

    Returns
    -------
    (F, G) float64
        Spearman's correlation, with mean ranks of ties. NaN if one of them has the same value on all bases.
    """
    found = np.empty(sums.on.shape[::2])
    for mine, level in zip(found, sums.levels[half]):
        count, rank, part, part_squared, part_rank = np.moveaxis(level, -1, 0)  # (L, G) each
        off = bases - count.sum(axis=0)
        own = 2 * (off + np.cumsum(count, axis=0)) - count - bases  # of the middle of the level
        mean = part / np.maximum(count, 1)
        spread = np.maximum(part_squared - part * mean, 0)
        slope = np.sqrt(np.divide(count * (count**2 - 1) / 3, spread, out=np.zeros_like(spread), where=spread > 0))
        lowest = off - bases  # of bases where the feature is 0; all ranks of a signal add up to 0
        together = (own * rank + slope * (part_rank - mean * rank)).sum(axis=0) - lowest * rank.sum(axis=0)
        alone = (count * own**2 + slope**2 * spread).sum(axis=0) + off * lowest**2
        mine[:] = ratio(together, np.sqrt(alone * squares))
    return found


def pearson(sums: Sums, half: int, bases: NDArray[np.int64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlations of all features with all signals on one half; as for `spearman`, of the activations themselves.

    `squares` are the sums of squared differences of each signal from its mean.
    """
    x, xx, xy = (sums.moments[half, :, :, i] for i in (X, XX, XY))
    own = np.maximum(xx - x**2 / np.maximum(bases, 1), 0)
    own[xx * 1e-12 > own] = 0  # a constant
    return ratio(xy, np.sqrt(own * squares))


@njit(**EXACT)
def add_features(
    first, last, indptr, row, value, level, part, cutoff, half, y, rank, mean, stratum, expected,
    block, contig, start, moments, levels, on, above, strata, places, tile
):  # fmt: skip
    """Add the non-zeros of features ``first`` to ``last`` of a buffer, whose columns are features.

    Parameters
    ----------
    first, last : int
        The features to add.
    indptr, row, value, level, part
        Columns, as in a CSC matrix; rows ascend.
    cutoff : (F,) float32
        A feature is active above it.
    half : (n,) int8
        Half of each base, -1 if it is not counted.
    y, rank : (n, G) float32, int64
        The signals, and their ranks.
    mean : (H, G) float64
        Of the signals.
    stratum : (n,) uint8
        Of each base.
    expected : (S, G) float64
        Mean of the signals in each stratum.
    block : (n,) int32
        Number of the block.
    contig, start : int
        Of the buffer.
    moments, levels, on, above, strata, places
        Those of `Sums`, added to.
    tile : (F,) `PLACE`
        The strongest place of the tile that each feature has reached.
    """
    signals, reported = y.shape[1], moments.shape[0] - 1
    for f in range(first, last):
        best = tile[f]
        for i in range(indptr[f], indptr[f + 1]):
            base, x = row[i], np.float64(value[i])
            h = half[base]
            if h < 0:
                continue
            active = value[i] > cutoff[f]
            for g in range(signals):
                v = y[base, g]
                if np.isnan(v):
                    continue
                sums = moments[h, f, g]
                sums[0] += x
                sums[1] += x * x
                sums[2] += x * (v - mean[h, g])
                at, place = levels[h, f, level[i], g], np.float64(part[i])
                at[0] += 1
                at[1] += rank[base, g]
                at[2] += place
                at[3] += place * place
                at[4] += place * rank[base, g]
                if active and h == reported:
                    on[f, block[base], g] += 1
                    above[f, block[base], g] += v - expected[stratum[base], g]
                    strata[f, g, 0, stratum[base]] += 1
                    strata[f, g, 1, stratum[base]] += v
            if active and h == reported:
                position = start + base
                if best.contig != contig or best.position // APART != position // APART:
                    keep_place(places[f], best)
                    best.value = 0
                if value[i] > best.value:
                    best.value, best.contig, best.position = value[i], contig, position


@njit(**EXACT)
def keep_place(places, one):
    """Put a place in the position of the weakest one, if it is stronger."""
    if one.value <= 0:
        return
    weakest = 0
    for i in range(len(places)):
        if places[i].value < places[weakest].value:
            weakest = i
    if one.value > places[weakest].value:
        places[weakest].value, places[weakest].contig, places[weakest].position = one.value, one.contig, one.position


def means_at_active(sums: Sums, strata: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Means of signals where features are active on the last half, and on matched bases where they are not.

    Parameters
    ----------
    sums : Sums
        Of all shards.
    strata : (G, 2, S) float64
        Bases of each stratum on this half, and the sum of the signal there: `Survey.strata`.

    Returns
    -------
    active, matched, difference, wider : (F, G) float64
        The mean on the active bases; that on the other bases of the same strata, weighted as the active bases are; the
        first less the second, over those active bases whose stratum has another base; and how many times as far a
        difference from the other bases varies as one from all bases of the strata does. NaN if there is none.
    """
    on, total = sums.strata[:, :, 0], sums.strata[:, :, 1]
    off = strata[:, 0] - on
    other = np.divide(strata[:, 1] - total, off, out=np.zeros_like(total), where=off > 0)
    matched = np.where(off > 0, on, 0)
    bases = matched.sum(axis=-1)
    elsewhere = ratio((matched * other).sum(axis=-1), bases)
    here = ratio(np.where(off > 0, total, 0).sum(axis=-1), bases)
    wider = ratio(bases, (matched * off / np.maximum(strata[:, 0], 1)).sum(axis=-1))
    return ratio(total.sum(axis=-1), on.sum(axis=-1)), elsewhere, here - elsewhere, wider
