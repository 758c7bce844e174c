"""Activation shards: rows of activations in plain numpy files, each row with the genome base that it belongs to.

A folder holds, for every shard, ``shard-00000.npy`` (rows x d_model, float16) and ``shard-00000.loci.npy`` (rows x 2,
int32: a line of ``windows.bed``, counted from 0, and the offset of the base from that window's start); and
``manifest.json``, which is written last: a folder that has it is complete.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, read_json, sha256, write_json

FORMAT_VERSION = 1
MANIFEST, WINDOWS = "manifest.json", "windows.bed"
LOCUS_BYTES = 8  # two int32 a row
_REDO = "delete it and make it again"


@dataclass(frozen=True, slots=True)
class ShardFile:
    """What the manifest says of one shard.

    Attributes
    ----------
    name : str
        ``shard-00000``; its files are ``name.npy`` and ``name.loci.npy``.
    rows : int
        May be 0: a shard whose every base is unreadable.
    sha256, loci_sha256 : str
        Of the two files.
    """

    name: str
    rows: int
    sha256: str
    loci_sha256: str

    def paths(self, folder: Path) -> tuple[Path, Path]:
        """The files of the activations and of their loci."""
        return folder / f"{self.name}.npy", folder / f"{self.name}.loci.npy"


def shard_name(index: int) -> str:
    """``shard-00007``."""
    return f"shard-{index:05d}"


def write_shard(folder: Path, name: str, rows: NDArray[np.float16], loci: NDArray[np.int32]) -> ShardFile:
    """Write the two files of a shard, each whole or not at all.

    Parameters
    ----------
    rows : (n, d_model) float16
    loci : (n, 2) int32
        Window id; offset in bases from the forward start of the kept part of the window.
    """
    shard = ShardFile(name, len(rows), "", "")
    checksums = [_save(path, array) for path, array in zip(shard.paths(folder), (rows, loci), strict=True)]
    return ShardFile(name, len(rows), *checksums)


def _save(path: Path, array: NDArray) -> str:
    with atomic(path) as temporary:
        with temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        return sha256(temporary)


def write_manifest(folder: Path, facts: Mapping[str, Any], shards: list[ShardFile]) -> None:
    """Write ``manifest.json``: `facts`, the number of rows, and the shards in order."""
    record = {**facts, "rows": sum(shard.rows for shard in shards), "shards": [asdict(shard) for shard in shards]}
    write_json(folder / MANIFEST, record)


@dataclass(frozen=True, slots=True)
class ActivationShards:
    """A complete folder of activation shards.

    Attributes
    ----------
    folder : path
    manifest : dict
        As written; see ``docs/formats.md``.
    shards : list of ShardFile
        In the order of their rows.
    """

    folder: Path
    manifest: dict[str, Any]
    shards: list[ShardFile]
    _verified: set[int] = field(default_factory=set)

    @property
    def rows(self) -> int:
        """Number of rows in all shards."""
        return self.manifest["rows"]

    @property
    def d_model(self) -> int:
        """Width of a row: the channels of the language model's layer."""
        return self.manifest["lm"]["d_model"]

    @property
    def checksum(self) -> str:
        """SHA-256 of the manifest, which holds those of the shards."""
        return sha256(self.folder / MANIFEST)

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
        """Activations (rows, d_model) float16 and loci (rows, 2) int32 of a shard, memory-mapped.

        The first time, the files' checksums are compared with the manifest's.
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
        """Rows ``start:stop`` of all shards one after the other, going round at the end; (stop - start, d_model)."""
        out = np.empty((stop - start, self.d_model), np.float16)
        ends = list(accumulate(shard.rows for shard in self.shards))
        done = 0
        while done < len(out):
            at = (start + done) % self.rows
            index = int(np.searchsorted(ends, at, side="right"))
            offset = at - (ends[index] - self.shards[index].rows)
            part = self[index][0][offset : offset + len(out) - done]
            out[done : done + len(part)] = part
            done += len(part)
        return out


def open_shards(folder: str | Path) -> ActivationShards:
    """Open a complete folder of activation shards.

    Parameters
    ----------
    folder : path
        Written by `extract` or `shuffle`.

    Returns
    -------
    ActivationShards
        Its arrays are memory-mapped when they are read.

    Raises
    ------
    SaeTracksError
        There is no manifest, or a file is missing, truncated, of another width or row count than the manifest says.
        Checksums are compared when a shard is first read.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise SaeTracksError(f"{folder} has no {MANIFEST}: it is not a folder of activations, or not complete yet")
    manifest = read_json(folder / MANIFEST)
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise SaeTracksError(f"{folder / MANIFEST}: format_version {version!r}; this sae-tracks reads {FORMAT_VERSION}")
    try:
        opened = ActivationShards(folder, manifest, [ShardFile(**shard) for shard in manifest["shards"]])
        for shard in opened.shards:
            open_shard(folder, shard, opened.d_model)
    except (KeyError, TypeError) as error:
        raise SaeTracksError(f"{folder / MANIFEST} is not a manifest of activation shards: {error}") from error
    return opened


def open_shard(folder: Path, shard: ShardFile, d_model: int) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
    """Memory-map the files of a shard after a look at their headers and sizes."""
    rows, loci = shard.paths(folder)
    return _open(rows, (shard.rows, d_model), np.float16), _open(loci, (shard.rows, 2), np.int32)


def _open(path: Path, shape: tuple[int, int], dtype: type) -> NDArray:
    try:
        array = np.load(path, mmap_mode="r" if shape[0] else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise SaeTracksError(f"{path} is missing; run the command that made {path.parent} again") from error
    except (OSError, ValueError, EOFError) as error:
        raise SaeTracksError(f"{path} is truncated or not a .npy file; {_REDO}") from error
    if array.shape != shape or array.dtype != dtype:
        is_, expected = f"{array.shape} {array.dtype}", f"{shape} {np.dtype(dtype)}"
        raise SaeTracksError(f"{path} is {is_}; {MANIFEST} says {expected}; {_REDO}")
    return array
