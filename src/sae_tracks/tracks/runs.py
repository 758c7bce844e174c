"""Runs of bases on one line: all contigs of a genome, one after the other.

A position on the line is the offset of the contig plus the 0-based position in it. One position is left free between
contigs, so runs of two contigs never touch, and everything here works without knowing about contigs.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sae_tracks.regions import GenomicRegion

if TYPE_CHECKING:
    from sae_tracks.features import FeatureBlock

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


def block_runs(
    block: "FeatureBlock", offset: int, cutoffs: NDArray[np.float32] | None
) -> tuple[NDArray[np.int32], NDArray]:
    """Runs of bases with the same value above the cutoff, of every feature of a block.

    Parameters
    ----------
    block : FeatureBlock
        n bases.
    offset : int
        Position of its first base on the line.
    cutoffs : (d_sae,) float32, optional
        Values at or below the feature's cutoff are left out; default 0.

    Returns
    -------
    feature : (k,) int32
        Ascending.
    runs : (k,) `RUN`
        Ascending within a feature.
    """
    feature, value = block.feature, block.value
    row = np.repeat(np.arange(offset, offset + len(block.region)), np.diff(block.indptr))
    if cutoffs is not None:
        kept = value > cutoffs[feature]
        feature, value, row = feature[kept], value[kept], row[kept]
    order = np.argsort(feature, kind="stable")
    feature, value, row = feature[order], value[order], row[order]
    new = (np.diff(feature) != 0) | (np.diff(row) != 1) | (value[1:] != value[:-1])
    first = np.concatenate(([0], np.flatnonzero(new) + 1)) if len(row) else np.empty(0, np.int64)
    last = np.append(first[1:], len(row))[: len(first)] - 1
    return feature[first], make_runs(row[first], row[last] + 1, value[first])


def readable_runs(readable: NDArray[np.bool_], offset: int) -> NDArray:
    """(k,) `RUN`: the maximal runs of readable bases, value 0, the first base at `offset`."""
    padded = np.concatenate(([False], readable, [False]))
    edges = np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2) + offset
    return make_runs(edges[:, 0], edges[:, 1])


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
    first = np.searchsorted(runs["end"], start, side="right")
    last = np.searchsorted(runs["start"], end, side="left")
    part = runs[first:last].copy()
    part["start"] = np.maximum(part["start"], start)
    part["end"] = np.minimum(part["end"], end)
    return part


def fill_with_zeros(runs: NDArray, stretches: NDArray) -> NDArray:
    """Tile stretches: the runs that lie in them, and runs of value 0 between.

    Both ascend, and every run lies in one stretch. The i-th gap then opens at the i-th position where a stretch opens
    or a run closes, and closes at the i-th position where a run opens or a stretch closes.
    """
    opens = np.sort(np.concatenate((stretches["start"], runs["end"])))
    closes = np.sort(np.concatenate((runs["start"], stretches["end"])))
    gap = opens < closes
    tiles = np.concatenate((make_runs(opens[gap], closes[gap]), runs))
    return tiles[np.argsort(tiles["start"], kind="stable")]
