"""Bins: runs summed up at multiples of a size, for coarser tracks and for the zoom levels of a bigWig."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from sae_tracks.tracks import kernels
from sae_tracks.tracks.runs import join_chunks, make_runs

STATS = ("max", "mean")


class Bins:
    """Sums up the runs of one contig after the other.

    Parameters
    ----------
    sizes : sequence of int
        Bases a bin, ascending, each a multiple of the one before; bins lie at multiples of their size.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = np.array(sizes, np.int64)
        self._opened = np.zeros((len(sizes), 7))

    def add(self, runs: NDArray) -> list[NDArray[np.float64]]:
        """Take in ascending runs (positions on the contig); the bins of each size that are over.

        Returns
        -------
        list of (k, 7) float64
            Start and end of the bin's bases that have a value, their number, smallest and largest value, sum, sum of
            squares.
        """
        span = int(runs["end"][-1] - runs["start"][0])
        columns = (np.ascontiguousarray(runs[name]) for name in ("start", "end", "value"))
        return self._collected(span, lambda *out: kernels.summarize(*columns, *out))

    def close(self) -> list[NDArray[np.float64]]:
        """The end of a contig: the rest."""
        return self._collected(0, kernels.close)

    def _collected(self, span: int, kernel: Callable[..., None]) -> list[NDArray[np.float64]]:
        most = span // self.sizes + 3  # one may be open from before, and one ends at either end
        base = np.cumsum(most) - most
        used, out = np.zeros(len(most), np.int64), np.empty((int(most.sum()), 7))
        kernel(self.sizes, self._opened, out, base, used)
        return [out[first : first + count] for first, count in zip(base.tolist(), used.tolist())]


def binned(
    pieces: Iterable[tuple[str, NDArray]], size: int, stat: str, lengths: Mapping[str, int]
) -> Iterator[tuple[str, NDArray]]:
    """Runs of whole bins in place of those given.

    A bin has the largest value or the mean of its readable bases, those on which a run lies, and reaches to its end or
    that of the contig; a bin without a readable base is left out. Bins that touch and have the same value are joined.

    Parameters
    ----------
    pieces : iterable of (str, (k,) RUN)
        Contig and ascending runs on it, contig after contig.
    size : int
        Bases a bin; bins lie at multiples of it.
    stat : "max" or "mean"
    lengths : mapping of str to int
    """
    for contig, group in groupby(pieces, key=itemgetter(0)):
        bins = _each_bin(map(itemgetter(1), group), size, stat, lengths[contig])
        yield from ((contig, runs) for runs in join_chunks(bins, same_value=True))


def _each_bin(chunks: Iterable[NDArray], size: int, stat: str, length: int) -> Iterator[NDArray]:
    bins = Bins([size])
    for (found,) in _over(bins, chunks):
        if len(found):
            start = found[:, kernels.START].astype(np.int64) // size * size
            value = found[:, kernels.HIGH] if stat == "max" else found[:, kernels.TOTAL] / found[:, kernels.VALID]
            yield make_runs(start, np.minimum(start + size, length), value.astype(np.float32))


def _over(bins: Bins, chunks: Iterable[NDArray]) -> Iterator[list[NDArray[np.float64]]]:
    for runs in chunks:
        yield bins.add(runs)
    yield bins.close()
