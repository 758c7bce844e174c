"""The spool: a stream of feature blocks as runs per feature, in two files, in bounded memory.

``runs.bin`` holds `RUN` records, in stretches of one feature each; ``index.bin`` a row a flush, which says where they
lie and how far the reading was. A row counts once it is whole, so what a killed process leaves can be gone on with.
"""

import fcntl
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import make_folder, read_json, unwritable, values_differ, write_json
from sae_tracks.regions import StreamPosition
from sae_tracks.tracks import kernels
from sae_tracks.tracks.runs import RUN, GenomeLine, make_runs

if TYPE_CHECKING:
    from sae_tracks.features import FeatureBlock

FORMAT_VERSION = 1
HELD = 1 << 20  # runs held in memory before they go to the files: 24 MB, and three times that while they are sorted
RECORD, RUNS, INDEX, LOCK = "spool.json", "runs.bin", "index.bin", "lock"
STRANDS = "+-"
SEALED = -1  # "strand" of the last row of a spool that is whole


def index_row(features: int) -> np.dtype:
    """A row of ``index.bin``.

    0 for ``+`` and 1 for ``-``; the position on the genome line up to which all was read; and, of each feature and last
    of the readable stretches, where its runs begin in ``runs.bin`` (then where all end), its bases, the sum of its
    values.
    """
    keys = features + 1
    place = [("strand", "<i8"), ("position", "<i8"), ("offset", "<i8", (keys + 1,))]
    return np.dtype([*place, ("bases", "<i8", (keys,)), ("total", "<f8", (keys,))])


class TrackSpool:
    """Takes in feature blocks, for `StoredRuns` to give back the runs of each feature.

    Only values above the cutoff are stored, and the readable stretches once a read strand, so the work and the disk go
    with the non-zeros. Two files are open, however many features there are.

    Parameters
    ----------
    lengths : mapping of str to int
        Contig lengths in bases, in the order of the FASTA.
    features : sequence of int
        Feature ids, ascending; others are left out.
    folder : path, optional
        The folder of the spool, made where it is not there; where a killed process left one, it is gone on with, from
        `position`. Default: a temporary one. One process at a time writes a spool.
    cutoffs : (d_sae,) float32, optional
        Values at or below are dropped; default 0.
    facts : dict
        What ``spool.json`` says besides; a spool of other facts is not gone on with.
    keep : bool
        Leave the folder there; default: leaving the context removes it, unless it holds what can be gone on with after
        an interrupt, a full disk, or any failure that is not a `SaeTracksError`.
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
        self.sealed, self._keep, self._temporary = False, keep, folder is None
        self.position: tuple[str, int] | None = None
        record = {"format_version": FORMAT_VERSION, "lengths": dict(lengths), "features": list(features)}
        try:
            self.folder = make_folder(folder) if folder else Path(tempfile.mkdtemp(prefix="sae-tracks-"))
            self._lock = _locked(self.folder)
            _put_record(self.folder, record | dict(facts or {}))
            self._open()
        except OSError as error:
            raise unwritable(folder or Path(tempfile.gettempdir()), error) from error

    @property
    def reached(self) -> StreamPosition | None:
        """How far the stream was read; None if it was not begun."""
        if self.position is None:
            return None
        strand, place = self.position
        return StreamPosition(strand, *self.line.locate(place))

    def _open(self) -> None:
        """Open the files and go back to the last row that is whole."""
        self._runs, self._index = (self.folder / RUNS).open("ab"), (self.folder / INDEX).open("ab")
        rows = np.fromfile(self.folder / INDEX, self._row.dtype)
        rows = rows[rows["offset"][:, -1] * RUN.itemsize <= self._runs.tell()]
        self._index.truncate(rows.nbytes)
        self._runs.truncate(int(rows["offset"][-1, -1]) * RUN.itemsize if len(rows) else 0)
        if len(rows):
            self._row[0] = rows[-1]
            self.sealed = bool(rows["strand"][-1] == SEALED)
            self.position = (STRANDS[int(rows["strand"][-1])], int(rows["position"][-1])) if not self.sealed else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        empty = not self._index.tell()
        self._runs.close()
        self._index.close()
        refused = isinstance(error, SaeTracksError) and not isinstance(error.__cause__, OSError)
        if self._temporary or (not self._keep and (error is None or refused or empty)):
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def add(self, block: "FeatureBlock") -> None:
        """Take in a block; blocks ascend per read strand, contigs in FASTA order."""
        finite = np.isfinite(block.value)
        if not finite.all():
            feature = block.feature[~finite][0]
            raise SaeTracksError(f"feature {feature} is not finite in {block.region}: is the SAE sound?")
        place, first = self.line.place(block.region), 0
        if self.position and self.position[0] != block.read_strand:
            self._flush()
        while first < len(block.region):
            first, self._used = kernels.collect(
                block.indptr, block.feature, block.value, block.readable, first, place,
                self._slots, self._cutoffs, self._last, *self._held, self._used,
            )  # fmt: skip
            self.position = block.read_strand, place + first
            if first < len(block.region):
                self._flush()

    def seal(self) -> None:
        """All is in."""
        self._flush()
        self._row["strand"] = SEALED
        self._row["offset"] = self._row["offset"][0, -1]
        self._row["bases"], self._row["total"] = 0, 0
        self._commit(b"")
        self.sealed = True

    def _flush(self) -> None:
        """Append what is held to the files."""
        if not self._used or self.position is None:
            return
        key, start, end, height = (column[: self._used] for column in self._held)
        edges, order, row = np.empty(len(self._last) + 1, np.int64), np.empty(self._used, np.int64), self._row[0]
        kernels.group(key, start, end, height, edges, order, row["bases"], row["total"])
        row["offset"] = row["offset"][-1] + edges
        row["strand"], row["position"] = STRANDS.index(self.position[0]), self.position[1]
        self._commit(make_runs(start[order], end[order], height[order]).tobytes())
        self._last[:], self._used = -1, 0

    def _commit(self, runs: bytes) -> None:
        try:
            self._runs.write(runs)
            self._runs.flush()
            self._index.write(self._row.tobytes())
            self._index.flush()
        except OSError as error:
            raise unwritable(self.folder.parent, error) from error


def _locked(folder: Path) -> TextIO:
    """The lock of a folder, held until it is closed."""
    lock = (folder / LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SaeTracksError(f"another process is writing {folder}: wait for it") from error
    return lock


def _put_record(folder: Path, record: dict) -> None:
    """Write ``spool.json``; where it is there, it must say the same."""
    if not (folder / RECORD).exists():
        write_json(folder / RECORD, record)
    elif values_differ(read_json(folder / RECORD), record):
        raise SaeTracksError(
            f"{folder} holds a part of an export with other settings: name another folder, or delete it"
        )


def spool_record(folder: Path) -> dict:
    """What ``spool.json`` says; a folder that is no spool, or of another version, is an error."""
    if not (folder / RECORD).exists():
        raise SaeTracksError(f"{folder} is not of export-bigwig --shard i/n: it has no {RECORD}")
    record = read_json(folder / RECORD)
    if record.get("format_version") != FORMAT_VERSION:
        raise SaeTracksError(f"{folder} is of another version of sae-tracks: run its part again")
    return record
