"""Runs of a value along a contig: joined, cut into batches, and summed up in bins for zoom levels and coarser tracks.

Sums are taken in the order of the bases, so they do not depend on how a stream of runs was cut.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from operator import itemgetter

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.jit import EXACT

RUN = np.dtype([("start", np.int64), ("end", np.int64), ("value", np.float32)])  # 0-based half-open
NO_RUNS = np.empty(0, RUN)
STATS = ("max", "mean")
START, END, VALID, LOW, HIGH, TOTAL, SQUARES = range(7)  # columns of a bin


def make_runs(start: NDArray, end: NDArray, value: NDArray | float = 0) -> NDArray:
    """(k,) `RUN` of its three columns."""
    runs = np.empty(len(start), RUN)
    runs["start"], runs["end"], runs["value"] = start, end, value
    return runs


def columns_of(runs: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Starts, ends and values of runs, each contiguous in memory."""
    start, end, value = (np.ascontiguousarray(runs[name]) for name in ("start", "end", "value"))
    return start, end, value


def join_chunks(chunks: Iterable[NDArray]) -> Iterator[NDArray]:
    """Join ascending runs of equal value that touch, whatever the cuts of the stream; no chunk is empty."""
    carried = NO_RUNS
    for chunk in chunks:
        runs = np.concatenate((carried, chunk))
        new = (runs["start"][1:] != runs["end"][:-1]) | (runs["value"][1:] != runs["value"][:-1])
        first = np.concatenate(([0], np.flatnonzero(new) + 1))
        runs = make_runs(runs["start"][first], runs["end"][np.append(first[1:], len(runs)) - 1], runs["value"][first])
        carried = runs[-1:]  # the next chunk may go on with it
        if len(runs) > 1:
            yield runs[:-1]
    if len(carried):
        yield carried


def batches(by_contig: Iterable[tuple[str, NDArray]], size: int) -> Iterator[tuple[str, NDArray]]:
    """The same runs, `size` at a time but for the last of a contig, however they came."""
    for contig, group in groupby(by_contig, key=itemgetter(0)):
        held, count = [], 0
        for _, runs in group:
            held.append(runs)
            count += len(runs)
            if count >= size:
                joined = np.concatenate(held)
                whole = count // size * size
                yield from ((contig, joined[first : first + size]) for first in range(0, whole, size))
                held, count = [joined[whole:]], count - whole
        if count:
            yield contig, np.concatenate(held)


class Bins:
    """Sums up the runs of one contig after the other in bins of several sizes.

    Sizes are bases per bin, ascending, each a multiple of the one before. Bins lie at multiples of their size.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = np.array(sizes, np.int64)
        self._opened = np.zeros((len(sizes), 7))

    def add(self, runs: NDArray) -> list[NDArray[np.float64]]:
        """Add ascending runs (positions on the contig) and return the bins of each size that are over.

        Returns
        -------
        list of (k, 7) float64
            Start and end of the bin's bases that have a value, their number, smallest and largest value, sum, sum of
            squares.
        """
        span = int(runs["end"][-1] - runs["start"][0])
        return self._collected(span, lambda *out: _summarize(*columns_of(runs), *out))

    def close(self) -> list[NDArray[np.float64]]:
        """Return the bins that are open at the end of a contig."""
        return self._collected(0, _close)

    def _collected(self, span: int, kernel: Callable[..., None]) -> list[NDArray[np.float64]]:
        most = span // self.sizes + 3  # one may be open from before, and one ends at either end
        base = np.cumsum(most) - most
        used, out = np.zeros(len(most), np.int64), np.empty((int(most.sum()), 7))
        kernel(self.sizes, self._opened, out, base, used)
        return [out[first : first + count] for first, count in zip(base.tolist(), used.tolist())]


def binned(
    by_contig: Iterable[tuple[str, NDArray]], size: int, stat: str, lengths: Mapping[str, int]
) -> Iterator[tuple[str, NDArray]]:
    """Replace runs, contig after contig, by runs of whole bins of `size` bases.

    A bin has the largest value or the mean of its readable bases, those on which a run lies, and reaches to its end or
    that of the contig; a bin without a readable base is left out. Bins that touch and have the same value are joined.
    """
    for contig, group in groupby(by_contig, key=itemgetter(0)):
        bins = _each_bin(map(itemgetter(1), group), size, stat, lengths[contig])
        yield from ((contig, runs) for runs in join_chunks(bins))


def _each_bin(chunks: Iterable[NDArray], size: int, stat: str, length: int) -> Iterator[NDArray]:
    bins = Bins([size])
    for runs in chain(chunks, [None]):
        (found,) = bins.close() if runs is None else bins.add(runs)
        if len(found):
            start = found[:, START].astype(np.int64) // size * size
            value = found[:, HIGH] if stat == "max" else found[:, TOTAL] / found[:, VALID]
            yield make_runs(start, np.minimum(start + size, length), value.astype(np.float32))


@njit(**EXACT)
def _summarize(start, end, value, sizes, opened, out, base, used):
    """Sum up runs in bins of several sizes, each a multiple of the one before.

    Parameters
    ----------
    start, end, value : (n,) int64, int64, float32
        Ascending runs of one contig.
    sizes : (levels,) int64
        Bases per bin; bins lie at multiples of it.
    opened : (levels, 7) float64
        The latest bin of each level, which may go on; without one, 0 valid bases. Updated.
    out : (most, 7) float64
        Bins that are over: start and end of their valid bases, number, smallest and largest value, sum and sum of
        squares. Those of level l begin at ``base[l]``.
    base, used : (levels,) int64
        Where the bins of a level begin in `out`, and how many there are. The latter updated.
    """
    item, size = opened[0].copy(), sizes[0]  # the open bin of the first level
    edge = (np.int64(item[START]) // size + 1) * size if item[VALID] > 0 else 0
    n, low, high, total, squares = np.int64(item[VALID]), item[LOW], item[HIGH], item[TOTAL], item[SQUARES]
    for i in range(len(start)):
        at, v = start[i], np.float64(value[i])
        while at < end[i]:
            if at >= edge:
                if n:
                    item[VALID], item[LOW], item[HIGH], item[TOTAL], item[SQUARES] = n, low, high, total, squares
                    out[base[0] + used[0]] = item
                    used[0] += 1
                    _take(1, item, sizes, opened, out, base, used)
                edge = (at // size + 1) * size
                item[START], n, low, high, total, squares = at, 0, v, v, 0.0, 0.0
            stop = min(end[i], edge)
            bases = stop - at
            n += bases
            low, high = min(low, v), max(high, v)
            total += v * bases
            squares += v * v * bases
            item[END] = at = stop
    item[VALID], item[LOW], item[HIGH], item[TOTAL], item[SQUARES] = n, low, high, total, squares
    opened[0] = item


@njit(**EXACT)
def _close(sizes, opened, out, base, used):
    """End the bins that are open at the end of a contig."""
    for level in range(len(sizes)):
        if opened[level, VALID] > 0:
            item = opened[level].copy()
            opened[level, VALID] = 0
            out[base[level] + used[level]] = item
            used[level] += 1
            if level + 1 < len(sizes):
                _take(level + 1, item, sizes, opened, out, base, used)


@njit(**EXACT)
def _take(level, item, sizes, opened, out, base, used):
    """Add a bin or a part of one to the open bin of a level. Another one there is over, and goes one up."""
    while level < len(sizes):
        row = opened[level]
        if row[VALID] > 0 and row[START] // sizes[level] == item[START] // sizes[level]:
            row[END] = item[END]
            row[LOW], row[HIGH] = min(row[LOW], item[LOW]), max(row[HIGH], item[HIGH])
            for column in (VALID, TOTAL, SQUARES):
                row[column] += item[column]
            return
        if row[VALID] == 0:
            row[:] = item
            return
        for column in range(7):
            row[column], item[column] = item[column], row[column]
        out[base[level] + used[level]] = item
        used[level] += 1
        level += 1


@njit(**EXACT)
def sums(start, end, value):
    """Bases of runs, smallest and largest value, sum and sum of squares over the bases."""
    bases, low, high, total, squares = 0, np.inf, -np.inf, 0.0, 0.0
    for i in range(len(start)):
        width, v = end[i] - start[i], np.float64(value[i])
        bases += width
        low, high = min(low, v), max(high, v)
        total += v * width
        squares += v * v * width
    return bases, low, high, total, squares
