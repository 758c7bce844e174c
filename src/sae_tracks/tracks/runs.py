"""Runs of bases on one line: all contigs of a genome, one after the other.

A position on the line is the offset of the contig plus the 0-based position in it. One position is left free between
contigs, so runs of two contigs never touch, and everything here works without knowing about contigs.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from sae_tracks.intervals import overlapping
from sae_tracks.regions import GenomicRegion
from sae_tracks.tracks import kernels

RUN = np.dtype([("start", np.int64), ("end", np.int64), ("value", np.float32)])  # 0-based half-open, on the line
NO_RUNS = np.empty(0, RUN)


class GenomeLine:
    """Where each contig lies on the line.

    Parameters
    ----------
    lengths : mapping of str to int
        Contig lengths in bases, in the order of the FASTA.
    """

    def __init__(self, lengths: Mapping[str, int]) -> None:
        self.names = list(lengths)
        self.offsets = np.cumsum([0, *(length + 1 for length in lengths.values())])
        self._offset = dict(zip(self.names, self.offsets.tolist()))

    def place(self, region: GenomicRegion) -> int:
        """The position of a region's first base."""
        return self._offset[region.contig] + region.start

    def locate(self, position: int) -> tuple[str, int]:
        """Contig and base of a position; the free position behind a contig is its length."""
        contig = int(np.searchsorted(self.offsets, position, side="right")) - 1
        return self.names[contig], position - int(self.offsets[contig])

    def split(self, runs: NDArray) -> Iterator[tuple[str, NDArray]]:
        """Ascending runs contig by contig, with positions from the contig's first base."""
        contig = np.searchsorted(self.offsets, runs["start"], side="right") - 1
        edges = [0, *(np.flatnonzero(np.diff(contig)) + 1).tolist(), len(runs)]
        for first, last in zip(edges, edges[1:]):
            if first < last:
                part, offset = runs[first:last].copy(), self.offsets[contig[first]]
                part["start"] -= offset
                part["end"] -= offset
                yield self.names[contig[first]], part


def make_runs(start: NDArray, end: NDArray, value: NDArray | float = 0) -> NDArray:
    """(k,) `RUN` of its three columns."""
    runs = np.empty(len(start), RUN)
    runs["start"], runs["end"], runs["value"] = start, end, value
    return runs


def join(runs: NDArray, *, same_value: bool) -> NDArray:
    """Join ascending runs that touch; the value of a joined run is its largest.

    Parameters
    ----------
    same_value : bool
        Join only runs of equal value.
    """
    if not len(runs):
        return runs
    new = runs["start"][1:] != runs["end"][:-1]
    if same_value:
        new |= runs["value"][1:] != runs["value"][:-1]
    first = np.concatenate(([0], np.flatnonzero(new) + 1))
    last = np.append(first[1:], len(runs)) - 1
    return make_runs(runs["start"][first], runs["end"][last], np.maximum.reduceat(runs["value"], first))


def join_chunks(chunks: Iterable[NDArray], *, same_value: bool) -> Iterator[NDArray]:
    """`join` over a stream of non-empty chunks; what is joined does not depend on how the stream is cut."""
    carried = NO_RUNS
    for chunk in chunks:
        runs = join(np.concatenate((carried, chunk)), same_value=same_value)
        carried = runs[-1:]  # the next chunk may go on with it
        if len(runs) > 1:
            yield runs[:-1]
    if len(carried):
        yield carried


def clip(runs: NDArray, start: int, end: int) -> NDArray:
    """The parts of ascending runs that lie in ``start:end``."""
    part = runs[overlapping(runs["start"], runs["end"], start, end)].copy()
    part["start"] = np.maximum(part["start"], start)
    part["end"] = np.minimum(part["end"], end)
    return part


def fill_with_zeros(runs: NDArray, stretches: NDArray) -> NDArray:
    """Tile stretches: the runs that lie in them, and runs of value 0 between; both ascend."""
    most = 2 * len(runs) + len(stretches)
    start, end, value = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.float32)
    columns = (np.ascontiguousarray(runs[name]) for name in RUN.names or ())
    fill = (np.ascontiguousarray(stretches[name]) for name in ("start", "end"))
    n = kernels.tile(*columns, *fill, start, end, value)
    return make_runs(start[:n], end[:n], value[:n])


def batches(pieces: Iterable[tuple[str, NDArray]], size: int) -> Iterator[tuple[str, NDArray]]:
    """The same runs, `size` at a time but for the last of a contig, however they came."""
    for contig, group in groupby(pieces, key=itemgetter(0)):
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
