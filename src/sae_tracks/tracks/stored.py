"""What spools hold, feature by feature: of one run, or of the shards of one."""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.tracks.runs import NO_RUNS, RUN, GenomeLine, clip, fill_with_zeros, join_chunks
from sae_tracks.tracks.spool import INDEX, RUNS, SEALED, STRANDS, index_row, spool_record

CHUNK = 1 << 17  # runs read back at once


class StoredRuns:
    """The runs of each feature and read strand of spools that follow one another on the genome.

    Runs are joined as they are read: they do not depend on how the stream was cut. Safe to use from several threads.

    Parameters
    ----------
    folders : sequence of Path
        Sealed spools of the same features, in the order of the genome.

    Raises
    ------
    SaeTracksError
        A folder is no spool, or one that is not whole, or there are more than may be open at once.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        record = spool_record(folders[0])
        self.line = GenomeLine(record["lengths"])
        self.features: list[int] = record["features"]
        self._rows, self._files = [], []
        for folder in folders:
            rows = _mapped(folder / INDEX, index_row(len(self.features)))
            if not len(rows) or rows["strand"][-1] != SEALED:
                raise SaeTracksError(f"{folder} is not finished: run its part again, it goes on where it was")
            if (folder / RUNS).stat().st_size < int(rows["offset"][-1, -1]) * RUN.itemsize:
                raise SaeTracksError(f"{folder / RUNS} is cut short: copy it again, or run its part again")
            self._rows.append(rows)
            self._files.append(_open(folder / RUNS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            os.close(file)

    def stretches(self, read_strand: str) -> NDArray:
        """(k,) `RUN`: the maximal readable stretches, value 0."""
        chunks = join_chunks(self._chunks(len(self.features), read_strand, CHUNK), same_value=True)
        return np.concatenate((NO_RUNS, *chunks))

    def value_runs(
        self, feature: int, read_strand: str, chunk: int = CHUNK, divisor: np.float32 | None = None
    ) -> Iterator[NDArray]:
        """Maximal runs of readable bases with the same value, zeros included.

        Parameters
        ----------
        divisor : float32, optional
            Values are divided by it.

        Yields
        ------
        (k,) `RUN`
            On the genome line, ascending, tiling the readable stretches; about `chunk` stored runs go into each.
        """
        stretches, done = self.stretches(read_strand), 0
        stored = self._chunks(self._slot(feature), read_strand, chunk)
        if divisor is not None:
            stored = (_divided(runs, divisor) for runs in stored)
        for runs in join_chunks(stored, same_value=True):
            end = int(runs["end"][-1])
            yield fill_with_zeros(runs, clip(stretches, done, end))
            done = end
        rest = clip(stretches, done, int(self.line.offsets[-1]))
        if len(rest):
            yield rest

    def stored_runs(self, feature: int, read_strand: str, chunk: int = CHUNK) -> Iterator[NDArray]:
        """Maximal runs of bases with the same value above the cutoff; otherwise as `value_runs`."""
        return join_chunks(self._chunks(self._slot(feature), read_strand, chunk), same_value=True)

    def bases(self, feature: int, read_strand: str) -> tuple[int, int, float]:
        """Readable bases, bases above the cutoff, and the sum of the values of these."""
        slot = self._slot(feature)
        readable, active, total = 0, 0, 0.0
        for rows in self._rows:
            strand = rows["strand"] == STRANDS.index(read_strand)
            readable, active = readable + rows["bases"][strand, -1].sum(), active + rows["bases"][strand, slot].sum()
            total += rows["total"][strand, slot].sum()
        return int(readable), int(active), float(total)

    def _slot(self, feature: int) -> int:
        return self.features.index(feature)

    def _chunks(self, slot: int, read_strand: str, size: int) -> Iterator[NDArray]:
        """The stored runs of one feature, in chunks of at most `size`."""
        held, count = [], 0
        for file, first, last in self._spans(slot, read_strand):
            while first < last:
                taken = min(size - count, last - first)
                held.append(os.pread(file, taken * RUN.itemsize, first * RUN.itemsize))
                first, count = first + taken, count + taken
                if count == size:
                    yield np.frombuffer(b"".join(held), RUN)
                    held, count = [], 0
        if count:
            yield np.frombuffer(b"".join(held), RUN)

    def _spans(self, slot: int, read_strand: str) -> Iterator[tuple[int, int, int]]:
        """File, first and last of the stored runs of one feature."""
        for file, rows in zip(self._files, self._rows):
            offsets = rows["offset"][:, slot : slot + 2][rows["strand"] == STRANDS.index(read_strand)]
            yield from ((file, first, last) for first, last in offsets.tolist() if first < last)


def _mapped(path: Path, row: np.dtype) -> NDArray:
    """The whole rows of an index, which takes gigabytes where all features of a genome were spooled."""
    count = path.stat().st_size // row.itemsize
    try:
        return np.memmap(path, row, "r", shape=(count,)) if count else np.empty(0, row)
    except OSError as error:
        raise _unreadable(path, error) from error


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> SaeTracksError:
    hint = "; a part takes two handles: raise ulimit -n" if error.errno == errno.EMFILE else ""
    return SaeTracksError(f"cannot read {path}: {error.strerror}{hint}")


def _divided(runs: NDArray, divisor: np.float32) -> NDArray:
    runs = runs.copy()
    runs["value"] /= divisor
    return runs
