"""The spool: a stream of feature blocks as runs per feature, through temporary files, in bounded memory."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import unwritable
from sae_tracks.tracks.runs import (
    NO_RUNS,
    RUN,
    GenomeLine,
    block_runs,
    clip,
    fill_with_zeros,
    join_chunks,
    readable_runs,
)

if TYPE_CHECKING:
    from sae_tracks.features import FeatureBlock

HELD = 1 << 20  # runs held in memory before they go to the files: 28 MB, and twice that while they are sorted
CHUNK = 1 << 18  # runs read back at once
READABLE = -1  # the "feature" whose runs are the readable stretches


class TrackSpool:
    """Takes in feature blocks and gives back the runs of each feature.

    Only values above the cutoff are stored, and the readable stretches once a read strand, so the work and the disk go
    with the non-zeros. Runs are joined when they are read back: they do not depend on how the blocks were cut. Files
    are opened one at a time, so thousands of features need no more than one file handle.

    Parameters
    ----------
    lengths : mapping of str to int
        Contig lengths in bases, in the order of the FASTA.
    folder : path, optional
        Where the temporary folder is made; default the system's. Use as a context manager: leaving it removes them.
    cutoffs : (d_sae,) float32, optional
        Values at or below are dropped; default 0.
    held : int
        Runs held in memory.

    Examples
    --------
    >>> with TrackSpool(genome.lengths) as spool:
    ...     for block in source.blocks([357]):
    ...         spool.add(block)
    ...     runs = [run for runs in spool.value_runs(357, "+") for run in spool.line.split(runs)]
    """

    def __init__(
        self,
        lengths: Mapping[str, int],
        folder: Path | None = None,
        cutoffs: NDArray[np.float32] | None = None,
        held: int = HELD,
    ) -> None:
        self.line = GenomeLine(lengths)
        self.cutoffs = cutoffs
        self.held = held
        self._keys: list[NDArray[np.int64]] = []
        self._runs: list[NDArray] = []
        self._count = 0
        try:
            self._folder = tempfile.TemporaryDirectory(prefix=".spool-", dir=folder)
        except OSError as error:
            raise unwritable(folder or Path(tempfile.gettempdir()), error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def add(self, block: "FeatureBlock") -> None:
        """Take in a block; blocks ascend per read strand, contigs in FASTA order."""
        finite = np.isfinite(block.value)
        if not finite.all():
            feature = block.feature[~finite][0]
            raise SaeTracksError(f"feature {feature} is not finite in {block.region}: is the SAE sound?")
        offset = self.line.place(block.region)
        feature, runs = block_runs(block, offset, self.cutoffs)
        self._hold(_key(feature.astype(np.int64), block.read_strand), runs)
        readable = readable_runs(block.readable, offset)
        self._hold(np.full(len(readable), _key(READABLE, block.read_strand)), readable)
        if self._count >= self.held:
            self._flush()

    def stretches(self, read_strand: str) -> NDArray:
        """(k,) `RUN`: the maximal readable stretches, value 0."""
        chunks = join_chunks(self._chunks(READABLE, read_strand, CHUNK), same_value=True)
        return np.concatenate((NO_RUNS, *chunks))

    def value_runs(self, feature: int, read_strand: str, chunk: int = CHUNK) -> Iterator[NDArray]:
        """Maximal runs of readable bases with the same value, zeros included.

        Yields
        ------
        (k,) `RUN`
            On the genome line, ascending, tiling the readable stretches; `chunk` stored runs go into each.
        """
        stretches, done = self.stretches(read_strand), 0
        for runs in join_chunks(self._chunks(feature, read_strand, chunk), same_value=True):
            end = int(runs["end"][-1])
            yield fill_with_zeros(runs, clip(stretches, done, end))
            done = end
        rest = clip(stretches, done, int(self.line.offsets[-1]))
        if len(rest):
            yield rest

    def active_runs(self, feature: int, read_strand: str, chunk: int = CHUNK) -> Iterator[NDArray]:
        """Maximal runs of readable bases above the cutoff, with their largest value; otherwise as `value_runs`."""
        return join_chunks(self._chunks(feature, read_strand, chunk), same_value=False)

    def most_value_runs(self, feature: int, read_strand: str) -> int:
        """An upper bound for the number of runs that `value_runs` gives."""
        return 2 * self._stored(feature, read_strand) + self._stored(READABLE, read_strand)

    def _hold(self, keys: NDArray[np.int64], runs: NDArray) -> None:
        self._keys.append(keys)
        self._runs.append(runs)
        self._count += len(runs)

    def _flush(self) -> None:
        """Append what is held to the files, which are in the order of the stream."""
        if not self._count:
            return
        keys = np.concatenate(self._keys)
        order = np.argsort(keys, kind="stable")
        keys, runs = keys[order], np.concatenate(self._runs)[order]
        edges = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(keys)]
        try:
            for first, last in zip(edges, edges[1:]):
                with self._path(int(keys[first])).open("ab") as file:
                    file.write(runs[first:last].tobytes())
        except OSError as error:
            raise unwritable(Path(self._folder.name).parent, error) from error
        self._keys, self._runs, self._count = [], [], 0

    def _path(self, key: int) -> Path:
        return Path(self._folder.name) / f"{key}.runs"

    def _stored(self, feature: int, read_strand: str) -> int:
        self._flush()
        path = self._path(_key(feature, read_strand))
        return path.stat().st_size // RUN.itemsize if path.exists() else 0

    def _chunks(self, feature: int, read_strand: str, size: int) -> Iterator[NDArray]:
        """The runs of one file, `size` at a time; the file is open only while a chunk is read."""
        path = self._path(_key(feature, read_strand))
        for first in range(0, self._stored(feature, read_strand), size):
            yield np.fromfile(path, RUN, size, offset=first * RUN.itemsize)


def _key(feature, read_strand: str):
    """What a file is named by: the feature, an int or an array, and the read strand."""
    return 2 * feature + (read_strand == "-")
