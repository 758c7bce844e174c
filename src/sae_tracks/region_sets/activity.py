"""What the features do in many regions: read region by region, kept in a file, given back feature by feature."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import scratch_folder, writing
from sae_tracks.jit import EXACT
from sae_tracks.region_sets.regions import RegionSet
from sae_tracks.region_sets.sums import RegionRows, region_rows
from sae_tracks.regions import ReadStrand
from sae_tracks.source import Source

ENTRY = np.dtype([("row", np.int32), ("active", np.int32), ("mean", np.float32)])
HELD = 1 << 23  # entries that wait in memory until they are written together, sorted by feature: 300 MB
AT_ONCE = 1 << 22  # entries that a thread reads back
MOST_FEATURES = 64  # of these


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """What d_sae features do in n regions.

    Attributes
    ----------
    readable : (n,) int64
        Readable bases of each region.
    entries : (d_sae,) int64
        In how many regions each feature is above 0.
    """

    readable: NDArray[np.int64]
    entries: NDArray[np.int64]
    _file: BinaryIO
    _ends: NDArray[np.int64]  # (parts, d_sae + 1): where in the file the entries of a feature lie, in each part

    @property
    def features_at_once(self) -> int:
        """How many features a thread may read together, so that memory is bounded by the regions of one."""
        return int(np.clip(AT_ONCE // max(self.entries.max(initial=0), 1), 1, MOST_FEATURES))

    def of(self, features: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray]:
        """Read what some features do.

        Parameters
        ----------
        features : (K,) int64
            Feature ids.

        Returns
        -------
        indptr : (K + 1,) int64
            Feature k owns the entries ``indptr[k]:indptr[k + 1]``.
        entries : (nnz,) `ENTRY`
            ``row``: regions in which the feature is above 0, ascending; ``active``: bases at which it is active;
            ``mean``: mean activation over the readable bases.

        Raises
        ------
        SaeTracksError
            The file was cut short.
        """
        parts = [np.empty(0, ENTRY)]
        for feature in features.tolist():
            for start, end in self._ends[:, feature : feature + 2].tolist():
                size = (end - start) * ENTRY.itemsize
                found = os.pread(self._file.fileno(), size, start * ENTRY.itemsize)
                if len(found) < size:
                    raise SaeTracksError("a temporary file was cut short: is the disk of $TMPDIR in order?")
                parts.append(np.frombuffer(found, ENTRY))
        return np.concatenate(([0], np.cumsum(self.entries[features]))), np.concatenate(parts)


@contextmanager
def read_activity(
    source: Source,
    regions: RegionSet,
    cutoffs: NDArray[np.float32],
    features: Sequence[int] | None,
    strand: ReadStrand,
) -> Iterator[Activity]:
    """Read regions once; what was read lies in a temporary file (12 bytes per region and feature above 0 in it).

    Parameters
    ----------
    source, regions, cutoffs, features, strand
        As for `region_rows`.

    Yields
    ------
    Activity
        It can be used while the block runs.

    Raises
    ------
    SaeTracksError
        The folder for temporary files is full; and as `region_rows`.
    """
    with scratch_folder("activity") as folder, (folder / "entries.bin").open("w+b", buffering=0) as file:
        readable, ends, held = [], [], list[RegionRows]()
        waiting = 0
        for rows in region_rows(source, regions, cutoffs, features=features, read_strand=strand):
            readable.append(rows.readable)
            held.append(rows)
            waiting += len(rows.feature)
            if waiting >= HELD:
                ends.append(_write(held, source.sae.d_sae, file, folder))
                waiting, held = 0, []
        ends.append(_write(held, source.sae.d_sae, file, folder))
        ends = np.stack(ends)
        yield Activity(np.concatenate(readable), np.diff(ends, axis=1).sum(axis=0), file, ends)


def _write(held: Sequence[RegionRows], d_sae: int, file: BinaryIO, folder: Path) -> NDArray[np.int64]:
    """Write entries, those of one feature together; return where in the file each feature begins, and the end."""
    before = file.tell() // ENTRY.itemsize
    counts = sum((np.bincount(rows.feature, minlength=d_sae) for rows in held), np.zeros(d_sae, np.int64))
    ends = np.concatenate(([0], np.cumsum(counts)))
    found, following = np.empty(int(ends[-1]), ENTRY), ends[:-1].copy()
    for rows in held:
        row = np.repeat(np.arange(rows.first, rows.first + len(rows), dtype=np.int32), np.diff(rows.indptr))
        mean = rows.total / np.maximum(rows.readable, 1)[row - rows.first]
        _by_feature(row, rows.feature, rows.active.astype(np.int32), mean.astype(np.float32), following, found)
    with writing(folder.parent, folder):
        left = found.view(np.uint8).data
        while left:
            left = left[file.write(left) :]
    return before + ends


@njit(**EXACT)
def _by_feature(row, feature, active, mean, following, found):
    """Copy entries to the places that follow for their features."""
    for i in range(len(row)):
        at = following[feature[i]]
        following[feature[i]] += 1
        found[at].row, found[at].active, found[at].mean = row[i], active[i], mean[i]
