"""Active intervals: runs that lie close together, with their largest value and where it is."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from sae_tracks.tracks.runs import RUN

INTERVAL = np.dtype([*RUN.descr, ("peak", np.int64)])
NO_INTERVALS = np.empty(0, INTERVAL)


def as_intervals(runs: NDArray) -> NDArray:
    """(k,) `INTERVAL`: each run with its largest value at its first base."""
    found = np.empty(len(runs), INTERVAL)
    for name in RUN.names or ():
        found[name] = runs[name]
    found["peak"] = runs["start"]
    return found


def active_intervals(chunks: Iterable[NDArray], gap: int, offsets: NDArray[np.int64]) -> Iterator[NDArray]:
    """Intervals of runs of one contig that touch or lie closer than a number of bases.

    Parameters
    ----------
    chunks : iterable of (k,) RUN
        Ascending and disjoint, on the genome line. How they are cut changes nothing.
    gap : int
        Runs with fewer bases than this between them are joined, as are those that touch.
    offsets : (contigs + 1,) int64
        Where contigs begin on the line.

    Yields
    ------
    (k,) `INTERVAL`
        With the largest value, and the first base that has it, on the line.
    """
    carried = NO_INTERVALS
    for runs in chunks:
        found = _joined(np.concatenate((carried, as_intervals(runs))), gap, offsets)
        carried = found[-1:]  # the next chunk may go on with it
        if len(found) > 1:
            yield found[:-1]
    if len(carried):
        yield carried


def _joined(parts: NDArray, gap: int, offsets: NDArray[np.int64]) -> NDArray:
    new = parts["start"][1:] - parts["end"][:-1] >= max(gap, 1)
    if gap > 1:  # one position lies between contigs
        new |= np.diff(np.searchsorted(offsets, parts["start"], side="right")) > 0
    first = np.concatenate(([0], np.flatnonzero(new) + 1))
    found = parts[first]
    found["end"] = parts["end"][np.append(first[1:], len(parts)) - 1]
    found["value"] = np.maximum.reduceat(parts["value"], first)
    highest = parts["value"] == np.repeat(found["value"], np.diff(np.append(first, len(parts))))
    found["peak"] = np.minimum.reduceat(np.where(highest, parts["peak"], np.iinfo(np.int64).max), first)
    return found
