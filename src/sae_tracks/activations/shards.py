"""Activation shards: rows of activations in plain numpy files, each row with the genome base that it belongs to.

A folder holds for every shard ``shard-00000.npy`` (rows x d_model, float16) and ``shard-00000.loci.npy`` (rows x 2,
int32: a line of ``windows.bed``, counted from 0, and the offset of the base from that window's start); and
``manifest.json``, which is written last: a folder that has it is complete.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sae_tracks.bounded import header, opened
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, make_folder, scratch_folder, sha256, write_json
from sae_tracks.json_file import COUNT, SIZE, At, read_json
from sae_tracks.lm.protocol import GeneLM, describe
from sae_tracks.records import CONTIGS, LM, MAYBE_TEXT, READ_STRANDS

FORMAT_VERSION = 1
MANIFEST, WINDOWS, UNFINISHED = "manifest.json", "windows.bed", ".unfinished"
LOCUS_BYTES = 8  # two int32 per row
ROWS_PER_SHARD = 1 << 20
LARGEST = 65504.0  # of float16
_REDO = "delete it and make it again"
SHARD_SHAPE = {"name": str, "rows": At(0, 1 << 40), "sha256": str, "loci_sha256": str}
MANIFEST_SHAPE = {
    **{"format_version": FORMAT_VERSION, "shuffled?": bool, "rows": COUNT, "shards": [SHARD_SHAPE]},
    **{"lm": {**LM, "d_model": SIZE}, "read_strands?": READ_STRANDS, "windows_sha256?": MAYBE_TEXT, "windows?": COUNT},
    "genome?": CONTIGS,
}


@dataclass(frozen=True, slots=True)
class ShardFile:
    """The manifest's record of one shard."""

    name: str  # ``shard-00000``; its files are ``name.npy`` and ``name.loci.npy``
    rows: int  # 0 if no base of the shard is readable
    sha256: str
    loci_sha256: str

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """The shard of a record of `SHARD_SHAPE`; a name that could lie outside of the folder is an error."""
        if not re.fullmatch(r"shard-\d{5,}", record["name"]):
            raise SaeTracksError(f"{record['name'][:40]!r} is no name of an activation shard; {_REDO}")
        return cls(**{name: record[name] for name in SHARD_SHAPE})

    def paths(self, folder: Path) -> tuple[Path, Path]:
        """The file of activations and the file of their loci."""
        return folder / f"{self.name}.npy", folder / f"{self.name}.loci.npy"


def shard_name(index: int) -> str:
    """``shard-00007``."""
    return f"shard-{index:05d}"


def write_shard(folder: Path, name: str, rows: NDArray[np.float16], loci: NDArray[np.int32]) -> ShardFile:
    """Write (n, d_model) rows and the (n, 2) loci of `read_rows` as the two files of a shard, each whole or absent."""
    checksums = []
    for path, array in zip(ShardFile(name, len(rows), "", "").paths(folder), (rows, loci), strict=True):
        with atomic(path) as temporary:
            with temporary.open("wb") as file:
                np.save(file, array, allow_pickle=False)
            checksums.append(sha256(temporary))
    return ShardFile(name, len(rows), *checksums)


def write_manifest(folder: Path, facts: Mapping[str, Any], shards: list[ShardFile]) -> None:
    """Write ``manifest.json``: `facts`, the number of rows, and the shards in order."""
    record = {**facts, "rows": sum(shard.rows for shard in shards), "shards": [asdict(shard) for shard in shards]}
    write_json(folder / MANIFEST, record)


def fill(
    out: NDArray[np.float16], start: int, ends: NDArray[np.int64], chunk: Callable[[int], NDArray[np.float16]]
) -> NDArray[np.float16]:
    """Fill `out` with the rows from `start` on, beginning again after the last, and return it.

    `chunk` returns the rows of the chunk with an index, and ``ends[index]`` is the number of rows up to its end.
    """
    done = 0
    while done < len(out):
        at = (start + done) % ends[-1]
        index = int(np.searchsorted(ends, at, side="right"))
        rows = chunk(index)[at - ends[index] :][: len(out) - done]  # the first index counts from the chunk's end
        out[done : done + len(rows)] = rows
        done += len(rows)
    return out


def check_no_shards(folder: Path) -> None:
    """Refuse an output folder that holds shards, unless a run was interrupted in `publish`."""
    held = any(folder.glob("shard-*")) and not (folder / UNFINISHED).exists()
    if held or (folder / MANIFEST).exists():
        raise SaeTracksError(f"{folder} holds activation shards already: name another folder or delete it")


def publish(hidden: Path, folder: Path, facts: Mapping[str, Any], shards: list[ShardFile]) -> None:
    """Move all shards from a temporary folder to the folder above it, and write the manifest.

    Until that is done, ``.unfinished`` says that another run may replace what is there.
    """
    paths = [path for shard in shards for path in shard.paths(hidden)]
    (folder / UNFINISHED).touch()
    for other in {path.name for path in folder.glob("shard-*")} - {path.name for path in paths}:
        (folder / other).unlink(missing_ok=True)  # of an interrupted run
    for path in paths:
        path.replace(folder / path.name)
    write_manifest(folder, facts, shards)
    (folder / UNFINISHED).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class ActivationShards:
    """A complete folder of activation shards.

    Attributes
    ----------
    folder : path
        Folder with the shard files.
    manifest : dict
        See ``docs/formats.md``.
    shards : list of ShardFile
        In the order of their rows.
    """

    folder: Path
    manifest: dict[str, Any]
    shards: list[ShardFile]
    _verified: set[int] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The folder, as the source of the rows in messages and provenance."""
        return str(self.folder)

    @property
    def rows(self) -> int:
        """Number of rows in all shards."""
        return self.manifest["rows"]

    @property
    def rows_at_hand(self) -> int:
        """Number of rows at the beginning that can be read again without cost: all."""
        return self.rows

    @property
    def d_model(self) -> int:
        """Width of a row: the dimensions of the language model's layer."""
        return self.manifest["lm"]["d_model"]

    @property
    def checksum(self) -> str:
        """SHA-256 of the manifest, which holds the checksums of the shards."""
        return sha256(self.folder / MANIFEST)

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
        """Activations (rows, d_model) float16 and loci (rows, 2) int32 of a shard, memory-mapped.

        The first time that a shard is read, its checksums are compared with the manifest's.
        """
        shard = self.shards[index]
        if index not in self._verified:
            for path, expected in zip(shard.paths(self.folder), (shard.sha256, shard.loci_sha256), strict=True):
                if sha256(path) != expected:
                    raise SaeTracksError(f"{path}: its SHA-256 is not the manifest's, so it was changed; {_REDO}")
            self._verified.add(index)
        return open_shard(self.folder, shard, self.d_model)

    def __iter__(self) -> Iterator[tuple[NDArray[np.float16], NDArray[np.int32]]]:
        return (self[i] for i in range(len(self)))

    def read_rows(self, start: int, stop: int) -> NDArray[np.float16]:
        """Rows ``start:stop`` of all shards in order, beginning again after the last; (stop - start, d_model)."""
        ends = np.cumsum([shard.rows for shard in self.shards])
        return fill(np.empty((stop - start, self.d_model), np.float16), start, ends, lambda index: self[index][0])


def write_shards(
    folder: str | Path,
    rows: ArrayLike | Iterable[ArrayLike],
    *,
    lm: GeneLM | Mapping[str, Any] | None = None,
    read_strands: Sequence[str] = ("+",),
    shuffled: bool = False,
    rows_per_shard: int = ROWS_PER_SHARD,
) -> ActivationShards:
    """Write activations of your own as shards, for `shuffle` and `train_sae`.

    Parameters
    ----------
    folder : path
        Folder to write, without shards.
    rows : (n, d_model) array, or an iterable of (n_i, d_model) arrays
        Activations, one row per token, stored as float16. An iterable may be larger than memory.
    lm : GeneLM or mapping, optional
        The language model that the rows come from, or what you know about it: ``model``, ``revision``,
        ``weights_sha256``, ``architecture``, ``layer``, ``hook_name``. An SAE trained on the rows keeps these facts,
        and tracks and scores need them to load the model.
    read_strands : sequence of "+" and "-"
        Directions in which the model read.
    shuffled : bool
        Whether the rows are in random order already, which `plan_training` requires.
    rows_per_shard : int
        Rows per shard file.

    Returns
    -------
    ActivationShards
        Loci are (0, row number), and ``windows.bed`` is empty, because the rows belong to no base of a genome.

    Raises
    ------
    SaeTracksError
        The folder holds shards already, there are no rows, their widths differ, or a value is not finite or does not
        fit float16.
    """
    folder = make_folder(Path(folder))
    check_no_shards(folder)
    shards: list[ShardFile] = []
    d_model = done = 0
    with scratch_folder("shards", folder) as hidden:
        for block in _blocks(rows, rows_per_shard):
            d_model = block.shape[1]
            loci = np.stack([np.zeros(len(block), np.int32), np.arange(done, done + len(block), dtype=np.int32)], 1)
            shards.append(write_shard(hidden, shard_name(len(shards)), block, loci))
            done += len(block)
        if not done:
            raise SaeTracksError("there are no rows to write")
        known = {} if lm is None else dict(lm) if isinstance(lm, Mapping) else describe(lm)
        unknown = dict.fromkeys(("model", "revision", "weights_sha256", "architecture", "layer", "hook_name"))
        facts = {"format_version": FORMAT_VERSION, "shuffled": shuffled, "lm": {**unknown, **known, "d_model": d_model}}
        (folder / WINDOWS).write_text("")
        publish(hidden, folder, {**facts, "read_strands": list(read_strands), "genome": {}}, shards)
    return open_shards(folder)


def _blocks(rows: ArrayLike | Iterable[ArrayLike], size: int) -> Iterator[NDArray[np.float16]]:
    """The rows as float16 in arrays of `size` rows; the last may be shorter."""
    arrays = cast(Iterable[ArrayLike], [rows] if getattr(rows, "ndim", None) == 2 else rows)
    waiting: list[NDArray[np.float16]] = []
    for array in map(_as_rows, arrays):
        if waiting and waiting[0].shape[1] != array.shape[1]:
            raise SaeTracksError(f"rows of {array.shape[1]} dimensions follow rows of {waiting[0].shape[1]}")
        waiting.append(array)
        while sum(map(len, waiting)) >= size:
            joined = np.concatenate(waiting)
            yield joined[:size]
            waiting = [joined[size:]]
    if any(map(len, waiting)):
        yield np.concatenate(waiting)


def _as_rows(rows: ArrayLike) -> NDArray[np.float16]:
    array = np.asarray(rows)
    if array.ndim != 2 or not array.shape[1] or array.dtype.kind not in "fiu":
        raise SaeTracksError(f"rows of shape {array.shape} and type {array.dtype}; (n, d_model) numbers are needed")
    if not (np.abs(array) <= LARGEST).all():
        worst = array.flat[np.argmin(np.abs(array) <= LARGEST)]
        raise SaeTracksError(f"an activation is {worst:.6g}; float16 holds finite values up to {LARGEST:.0f}")
    return array.astype(np.float16)


def open_shards(folder: str | Path) -> ActivationShards:
    """Open a complete folder of activation shards.

    Parameters
    ----------
    folder : path
        Written by `extract`, `write_shards` or `shuffle`.

    Returns
    -------
    ActivationShards
        Arrays are memory-mapped and checksums compared when a shard is first read.

    Raises
    ------
    SaeTracksError
        There is no manifest, or a file is missing, truncated or of another shape than the manifest says.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise SaeTracksError(f"{folder} has no {MANIFEST}: it is not a folder of activations, or not complete yet")
    manifest = read_json(folder / MANIFEST, MANIFEST_SHAPE)
    shards = [ShardFile.of(record) for record in manifest["shards"]]
    if (rows := sum(shard.rows for shard in shards)) != manifest["rows"]:
        raise SaeTracksError(f"{folder / MANIFEST}: rows is {manifest['rows']:,}; its shards have {rows:,}")
    found = ActivationShards(folder, manifest, shards)
    for shard in shards:
        open_shard(folder, shard, found.d_model)
    _check_windows(folder, manifest.get("windows_sha256"))
    return found


def _check_windows(folder: Path, expected: str | None) -> None:
    """Refuse a ``windows.bed`` that is not the manifest's, because the loci of rows are places in its lines."""
    path = folder / WINDOWS
    if expected is None:  # rows of another program
        return
    if not path.is_file():
        raise SaeTracksError(f"{path} is missing; run the command that made {folder} again")
    if sha256(path) != expected:
        raise SaeTracksError(f"{path}: its SHA-256 is not the manifest's, so it was changed; {_REDO}")


def open_shard(folder: Path, shard: ShardFile, d_model: int) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
    """Memory-map the files of a shard; their headers and sizes are checked."""
    rows, loci = shard.paths(folder)
    return _open(rows, (shard.rows, d_model), np.float16), _open(loci, (shard.rows, 2), np.int32)


def _open(path: Path, shape: tuple[int, int], dtype: type) -> NDArray:
    if not path.exists():
        raise SaeTracksError(f"{path} is missing; run the command that made {path.parent} again")
    try:
        with opened(path) as file:
            found, fortran, kind = header(file)
            begin, size = file.tell(), path.stat().st_size
        if found != shape or kind != dtype or fortran:
            expected = f"{MANIFEST} says {shape} {np.dtype(dtype)}"
            raise SaeTracksError(f"{path} is {found} {kind}; {expected}; {_REDO}")
        if size != begin + math.prod(shape) * kind.itemsize:
            raise EOFError
        return np.memmap(path, kind, "r", begin, shape) if shape[0] else np.empty(shape, kind)
    except SaeTracksError:
        raise
    except (ValueError, EOFError) as error:
        raise SaeTracksError(f"{path} is truncated or not a .npy file; {_REDO}") from error
