"""The spool: a stream of feature blocks, stored as runs per feature in bounded memory, and read back per feature.

``runs.bin`` holds `RUN` records, those of one feature together. ``index.bin`` has one row per flush, which says where
these lie and how far the stream was read. A row counts once it is whole, so an export can be continued after a kill.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import make_folder, scratch_folder, unwritable, values_differ, write_json
from sae_tracks.genome_line import GenomeLine
from sae_tracks.json_file import At, read_json
from sae_tracks.records import MADE, READ_STRANDS
from sae_tracks.regions import ReadStrand, StreamPosition
from sae_tracks.tracks.bbi.runs import NO_RUNS, RUN, join_chunks, make_runs
from sae_tracks.tracks.runs import clip, collect, fill_with_zeros, group

if TYPE_CHECKING:
    from sae_tracks.features import FeatureBlock

FORMAT_VERSION = 1
HELD = 1 << 20  # runs held in memory before they go to the files: 24 MB, and three times that while they are sorted
CHUNK = 1 << 17  # runs read back at once
ROWS = 64  # of an index, checked at once
RECORD, RUNS, INDEX, LOCK = "spool.json", "runs.bin", "index.bin", "lock"
RECORDED = {
    **MADE,
    **{"format_version": int, "lengths": {str: At(1, 1 << 40)}, "features": [At(0, 1 << 30)]},
    **{"read_strands?": READ_STRANDS, "shard?": str},
}
STRANDS: tuple[ReadStrand, ...] = ("+", "-")
SEALED = -1  # "strand" of the last row of a spool that is whole


def index_row(features: int) -> np.dtype:
    """The dtype of a row of ``index.bin``.

    ``strand`` is 0 for ``+`` and 1 for ``-``; ``position`` on the genome line is where reading goes on. The other
    fields have an entry per feature and a last one for the readable stretches: ``offset`` is where its runs begin in
    ``runs.bin`` (one more entry: where the last ones end), ``bases`` their bases, ``total`` the sum of their values.
    """
    keys = features + 1
    place = [("strand", "<i8"), ("position", "<i8"), ("offset", "<i8", (keys + 1,))]
    return np.dtype([*place, ("bases", "<i8", (keys,)), ("total", "<f8", (keys,))])


class TrackSpool:
    """A sink that stores feature blocks; `StoredRuns` reads back the runs of each feature.

    Only values above the cutoff are stored, and the readable stretches once per read strand, so work and disk space
    grow with the number of non-zeros. Two files are open, whatever the number of features. When the context ends, the
    folder is removed, unless an interrupt, a full disk or a failure that is no `SaeTracksError` left a spool that can
    be continued. `sealed` says that the stream was stored to its end.

    Parameters
    ----------
    lengths : mapping of str to int
        Contig lengths in bases, in the order of the FASTA.
    features : sequence of int
        Feature ids, ascending; values of others are dropped.
    folder : path, optional
        Folder of the spool; default: a temporary one. If a killed process left a spool there, it is continued from
        `reached`. One process at a time can write a spool.
    cutoffs : (d_sae,) float32, optional
        Values at or below are dropped; default 0.
    facts : dict
        Further content of ``spool.json``. A spool whose facts describe other values is refused.
    keep : bool
        Keep the folder in any case.
    held : int, optional
        Runs held in memory; default `HELD`.

    Examples
    --------
    >>> with TrackSpool(genome.lengths, [357]) as spool:
    ...     for block in source.blocks([357]):
    ...         spool.add(block)
    ...     spool.seal()
    ...     runs = list(StoredRuns([spool.folder]).value_runs(357, "+"))
    """

    def __init__(
        self,
        lengths: Mapping[str, int],
        features: Sequence[int],
        folder: Path | None = None,
        cutoffs: NDArray[np.float32] | None = None,
        facts: Mapping | None = None,
        keep: bool = False,
        held: int | None = None,
    ) -> None:
        self.line = GenomeLine(lengths)
        k = len(features)
        self._cutoffs = np.zeros(k, np.float32) if cutoffs is None else cutoffs[list(features)]
        self._slots = np.full(max(features) + 1, -1, np.int32)
        self._slots[list(features)] = np.arange(k)
        self._last = np.full(k + 1, -1, np.int64)
        most = max(held or HELD, k + 1)
        self._held = np.empty(most, np.int32), np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, "f4")
        self._used = 0
        self._row = np.zeros(1, index_row(k))
        self.sealed, self._keep = False, keep
        self.position: tuple[ReadStrand, int] | None = None  # read strand, and the place on the line that was reached
        record = {"format_version": FORMAT_VERSION, "lengths": dict(lengths), "features": list(features)}
        # errors name what the user named: the folder kept, or the one in which the spool is hidden
        self._output = Path(tempfile.gettempdir()) if folder is None else folder if keep else folder.parent
        with ExitStack() as after_errors, self._writing():
            self.folder = after_errors.enter_context(scratch_folder("spool")) if folder is None else make_folder(folder)
            after_errors.enter_context(_locked(self.folder))
            _write_or_check_record(self.folder, record | dict(facts or {}))
            self._open()
            self._closing = after_errors.pop_all()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self._output, error) from error

    @property
    def reached(self) -> StreamPosition | None:
        """`position` as a contig and a base, from which a stream can go on; None if nothing was stored."""
        if self.position is None:
            return None
        strand, place = self.position
        return StreamPosition(strand, *self.line.locate(place))

    def _open(self) -> None:
        """Open the files and go back to the last row that is whole."""
        # without buffers: closing one would repeat a write that failed
        self._runs, self._index = ((self.folder / name).open("ab", buffering=0) for name in (RUNS, INDEX))
        row = self._row.dtype
        count, end = self._index.tell() // row.itemsize, 0
        with (self.folder / INDEX).open("rb") as index:  # the index of a whole genome may not fit into memory
            while count:
                index.seek((count - 1) * row.itemsize)
                self._row = np.fromfile(index, row, 1)
                end = int(self._row["offset"][0, -1]) * RUN.itemsize
                if _is_sound(self._row, len(self.line)) and end <= self._runs.tell():
                    break
                count -= 1
        if not count:
            self._row, end = np.zeros(1, row), 0
        self._index.truncate(count * row.itemsize)
        self._runs.truncate(end)
        if count:
            strand = int(self._row["strand"][0])
            self.sealed = strand == SEALED
            self.position = None if self.sealed else (STRANDS[strand], int(self._row["position"][0]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        empty = not self._index.tell()
        refused = isinstance(error, SaeTracksError) and not isinstance(error.__cause__, OSError)
        done = False
        try:
            with self._writing():  # some network disks say only here that they are full
                self._runs.close()
                self._index.close()
            done = error is None or refused
        finally:
            if not self._keep and (done or empty):
                shutil.rmtree(self.folder, ignore_errors=True)
            self._closing.close()  # the lock, and a temporary folder

    def add(self, block: "FeatureBlock") -> None:
        """Store a block; blocks ascend per read strand, contigs in FASTA order."""
        finite = np.isfinite(block.value)
        if not finite.all():
            feature = block.feature[~finite][0]
            raise SaeTracksError(f"feature {feature} is not finite in {block.region}: is the SAE sound?")
        place, first = self.line.place(block.region), 0
        if self.position and self.position[0] != block.read_strand:
            self._flush()
        while first < len(block.region):
            first, self._used = collect(
                block.indptr, block.feature, block.value, block.readable, first, place,
                self._slots, self._cutoffs, self._last, *self._held, self._used,
            )  # fmt: skip
            self.position = block.read_strand, place + first
            if first < len(block.region):
                self._flush()

    def seal(self) -> None:
        """Store what is held and mark the spool as complete."""
        self._flush()
        self._row["strand"] = SEALED
        self._row["offset"] = self._row["offset"][0, -1]
        self._row["bases"], self._row["total"] = 0, 0
        self._commit(b"")
        self.sealed = True

    def _flush(self) -> None:
        """Append the runs held in memory to the files."""
        if not self._used or self.position is None:
            return
        key, start, end, height = (column[: self._used] for column in self._held)
        edges, order, row = np.empty(len(self._last) + 1, np.int64), np.empty(self._used, np.int64), self._row[0]
        group(key, start, end, height, edges, order, row["bases"], row["total"])
        row["offset"] = row["offset"][-1] + edges
        row["strand"], row["position"] = STRANDS.index(self.position[0]), self.position[1]
        self._commit(make_runs(start[order], end[order], height[order]).tobytes())
        self._last[:], self._used = -1, 0

    def _commit(self, runs: bytes) -> None:
        with self._writing():
            for file, content in ((self._runs, runs), (self._index, self._row.tobytes())):
                written = 0
                while written < len(content):  # a disk that is almost full takes a part
                    written += file.write(memoryview(content)[written:])


def _locked(folder: Path) -> TextIO:
    """Lock a folder until the file returned is closed."""
    lock = (folder / LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise SaeTracksError(f"another process is writing {folder}: wait for it") from error
    return lock


def _write_or_check_record(folder: Path, record: dict) -> None:
    """Write ``spool.json``, or check that the one there describes the same values."""
    if not (folder / RECORD).exists():
        write_json(folder / RECORD, record)
    elif values_differ(read_json(folder / RECORD, remedy="delete the folder"), record):
        raise SaeTracksError(
            f"{folder} holds a shard of an export with other settings: name another folder, or delete it"
        )


def spool_record(folder: Path) -> dict:
    """Read ``spool.json``; a folder without one, or with one of another version, is an error."""
    if not (folder / RECORD).exists():
        raise SaeTracksError(f"{folder} was not written by export-bigwig --shard i/n: it has no {RECORD}")
    record = read_json(folder / RECORD, RECORDED, "run that shard again")
    if record["format_version"] != FORMAT_VERSION:
        raise SaeTracksError(f"{folder} was written by another version of sae-tracks: run that shard again")
    return record


class StoredRuns:
    """The runs of each feature and read strand of one spool, or of the spools of all shards of a run.

    Runs are joined as they are read, so they do not depend on how the stream was cut. Safe to use from several threads.
    The folders are sealed spools of the same features, in the order of the genome. A spool that is not complete is an
    error, and so are more spools than the process may open files.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        record = spool_record(folders[0])
        self.line = GenomeLine(record["lengths"])
        self.features: list[int] = record["features"]
        self._rows, self._files = [], []
        with ExitStack() as opened:
            for folder in folders:
                self._rows.append(self._index(folder))
                with _reading(folder / RUNS):
                    self._files.append(os.open(folder / RUNS, os.O_RDONLY))
                opened.callback(os.close, self._files[-1])
            self._opened = opened.pop_all()  # all are sound

    def _index(self, folder: Path) -> NDArray:
        with _reading(folder / INDEX):
            rows = _mapped(folder / INDEX, index_row(len(self.features)))
        if not all(_is_sound(rows[i : i + ROWS], len(self.line)) for i in range(0, len(rows), ROWS)):
            raise SaeTracksError(f"{folder / INDEX} is damaged: run that shard again")
        if not len(rows) or rows["strand"][-1] != SEALED:
            raise SaeTracksError(f"{folder} is not complete: run that shard again, it continues where it stopped")
        if (folder / RUNS).stat().st_size < int(rows["offset"][-1, -1]) * RUN.itemsize:
            raise SaeTracksError(f"{folder / RUNS} is cut short: copy it again, or run that shard again")
        return rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def stretches(self, read_strand: str) -> NDArray:
        """The maximal readable stretches, as (k,) `RUN` of value 0."""
        chunks = join_chunks(self._chunks(len(self.features), read_strand, CHUNK))
        return np.concatenate((NO_RUNS, *chunks))

    def value_runs(
        self, feature: int, read_strand: str, chunk: int = CHUNK, divisor: np.float32 | None = None
    ) -> Iterator[NDArray]:
        """Yield the maximal runs of readable bases with the same value, zeros included, divided by `divisor`.

        They come as (k,) `RUN` on the genome line, ascending, and tile the readable stretches. An array holds about
        `chunk` stored runs.
        """
        stretches, done = self.stretches(read_strand), 0
        stored = self._chunks(self._slot(feature), read_strand, chunk)
        if divisor is not None:
            stored = (make_runs(runs["start"], runs["end"], runs["value"] / divisor) for runs in stored)
        for runs in join_chunks(stored):
            end = int(runs["end"][-1])
            yield fill_with_zeros(runs, clip(stretches, done, end))
            done = end
        rest = clip(stretches, done, len(self.line))
        if len(rest):
            yield rest

    def stored_runs(self, feature: int, read_strand: str, chunk: int = CHUNK) -> Iterator[NDArray]:
        """Yield the maximal runs of bases with the same value above the cutoff, in arrays as `value_runs` does."""
        return join_chunks(self._chunks(self._slot(feature), read_strand, chunk))

    def bases(self, feature: int, read_strand: str) -> tuple[int, int, float]:
        """Count readable bases and bases above the cutoff, and sum the values of the latter."""
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
        """Yield the stored runs of one feature in arrays of at most `size`."""
        held, count = [], 0
        for file, first, last in self._spans(slot, read_strand):
            while first < last:
                taken = min(size - count, last - first)
                held.append(os.pread(file, taken * RUN.itemsize, first * RUN.itemsize))
                first, count = first + taken, count + taken
                if count == size:
                    yield self._checked(np.frombuffer(b"".join(held), RUN))
                    held, count = [], 0
        if count:
            yield self._checked(np.frombuffer(b"".join(held), RUN))

    def _checked(self, runs: NDArray) -> NDArray:
        """Refuse runs that are empty or reach outside of the genome, which numba would follow out of memory."""
        start, end = runs["start"], runs["end"]
        if (start < 0).any() or (start >= end).any() or (end > len(self.line)).any():
            raise SaeTracksError("the runs of a shard are damaged: run the shards again")
        return runs

    def _spans(self, slot: int, read_strand: str) -> Iterator[tuple[int, int, int]]:
        """Yield file, first and last of consecutive stored runs of one feature."""
        for file, rows in zip(self._files, self._rows):
            offsets = rows["offset"][:, slot : slot + 2][rows["strand"] == STRANDS.index(read_strand)]
            yield from ((file, first, last) for first, last in offsets.tolist() if first < last)


def _is_sound(rows: NDArray, end: int) -> bool:
    """Whether rows of an index name a strand, a place on the genome line, and offsets that ascend."""
    offset, strand = rows["offset"], rows["strand"]
    places = ((rows["position"] >= 0) & (rows["position"] <= end)).all()
    return bool(
        places and np.isin(strand, (0, 1, SEALED)).all() and (offset >= 0).all() and (np.diff(offset) >= 0).all()
    )


def _mapped(path: Path, row: np.dtype) -> NDArray:
    """The whole rows of an index, mapped: it takes gigabytes if all features of a genome were spooled."""
    count = path.stat().st_size // row.itemsize
    return np.memmap(path, row, "r", shape=(count,)) if count else np.empty(0, row)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "; a shard takes two file handles: raise ulimit -n" if error.errno == errno.EMFILE else ""
        raise SaeTracksError(f"cannot read {path}: {error.strerror}{hint}") from error
