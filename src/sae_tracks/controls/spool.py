"""The levels of features on the report half, on disk while a genome is read, and read again tile by tile.

What is reported of a concept is chosen on the select half, so it is known only when all of the genome has been read.
The level of a value is 1 + the highest threshold that it exceeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.bounded import read_arrays
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock
from sae_tracks.files import atomic
from sae_tracks.jit import FAST
from sae_tracks.metrics import Halves
from sae_tracks.regions import GenomicRegion, ReadStrand

REPORT = 1
INDEX = "index.npz"
FILES = ("width", "readable", "feature", "level")


def dtypes_of(features: int) -> dict[str, np.dtype]:
    """The type of each file: a feature takes two bytes, if there are not too many."""
    feature = np.uint16 if features <= 1 << 16 else np.uint32
    types = np.uint16, np.bool_, feature, np.uint8
    return {name: np.dtype(dtype) for name, dtype in zip(FILES, types, strict=True)}


def bytes_of(bases: int, entries: int, features: int) -> int:
    """The size of a spool of some bases with some levels above 0."""
    width, readable, feature, level = (dtype.itemsize for dtype in dtypes_of(features).values())
    return bases * (width + readable) + entries * (feature + level)


@dataclass(frozen=True, slots=True)
class Levels:
    """Features of a tile by column: column i owns the entries ``indptr[i]:indptr[i + 1]``, ascending by base."""

    indptr: NDArray[np.int64]
    base: NDArray[np.int32]  # 0 is the first base of the tile
    level: NDArray[np.uint8]  # 1 + the highest threshold exceeded

    def __getitem__(self, column: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Bases and levels of one column."""
        inside = slice(self.indptr[column], self.indptr[column + 1])
        return self.base[inside], self.level[inside]


class Spool:
    """A sink that writes the levels of blocks on the report half to a folder.

    Parameters
    ----------
    folder : path
        Made if it is missing; what another run left there is overwritten.
    halves : Halves
        Only the report half is kept.
    cutoffs : (T, d_sae) float32
        What values exceed at each threshold, ascending along T; T < 255.
    """

    def __init__(self, folder: Path, halves: Halves, cutoffs: NDArray[np.float32]) -> None:
        self.folder = folder
        self._halves, self._cutoffs = halves, np.ascontiguousarray(cutoffs.T)
        self._dtypes = dtypes_of(len(self._cutoffs))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INDEX).unlink(missing_ok=True)
        self._files = {name: (folder / f"{name}.bin").open("wb") for name in FILES}
        self._pieces: list[tuple[str, str, int, int, int]] = []  # read strand, contig, start, end, non-zeros

    def add(self, block: FeatureBlock) -> None:
        """Write the bases of a block that lie in the report half."""
        for tile, half in self._halves.tiles(block.region):
            if half == REPORT:
                self._add(block, tile)

    def _add(self, block: FeatureBlock, tile: GenomicRegion) -> None:
        first, last = tile.start - block.region.start, tile.end - block.region.start
        inside = slice(block.indptr[first], block.indptr[last])
        level = levels_of(block.feature[inside], block.value[inside], self._cutoffs)
        kept = np.concatenate(([0], np.cumsum(level > 0)))
        width = np.diff(kept[block.indptr[first : last + 1] - block.indptr[first]])
        columns = {
            "width": width,
            "readable": block.readable[first:last],
            "feature": block.feature[inside][level > 0],
            "level": level[level > 0],
        }
        for name, values in columns.items():
            self._files[name].write(np.ascontiguousarray(values, self._dtypes[name]).tobytes())
        self._pieces.append((block.read_strand, tile.contig, tile.start, tile.end, int(kept[-1])))

    def close(self) -> None:
        """Finish the folder; without this, `Spooled` does not take it."""
        for file in self._files.values():
            file.close()
        strand, contig, *numbers = (
            np.array(column) for column in zip(*self._pieces or [("", "", 0, 0, 0)], strict=True)
        )
        arrays = {"read_strand": strand, "contig": contig, "place": np.stack(numbers, axis=1).astype(np.int64)}
        arrays["features"] = np.array(len(self._cutoffs))
        with atomic(self.folder / INDEX) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)


@njit(**FAST)
def levels_of(feature, value, cutoffs):
    """(nnz,) uint8: the levels of values; ``cutoffs`` is (d, T), ascending along T."""
    level = np.zeros(len(value), np.uint8)
    for e in range(len(value)):
        for t in range(cutoffs.shape[1]):
            level[e] += value[e] > cutoffs[feature[e], t]
    return level


@dataclass(frozen=True, slots=True)
class _Piece:
    region: GenomicRegion
    folder: int
    base: int  # of its first base in the files of the folder
    entry: int  # its first non-zero there


class Spooled:
    """What `Spool` has written to the folders of one run, or of its shards."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._files: list[dict[str, NDArray]] = []
        self._pieces: dict[tuple[str, str], list[_Piece]] = {}
        for number, folder in enumerate(folders):
            self._open(number, folder)
        for pieces in self._pieces.values():
            pieces.sort(key=lambda piece: piece.region.start)
        self._starts = {key: np.array([p.region.start for p in pieces]) for key, pieces in self._pieces.items()}

    def _open(self, number: int, folder: Path) -> None:
        try:
            index = read_arrays(folder / INDEX)
            strands, contigs, place = index["read_strand"], index["contig"], index["place"]
            dtypes = dtypes_of(index["features"].item())
            if (
                place.shape != (len(strands), 3)
                or len(contigs) != len(strands)
                or (np.diff(place[:, :2]) < 0).any()
                or (place[:, 2] < 0).any()
            ):
                raise ValueError("its index is damaged")
            sizes = {name: (folder / f"{name}.bin").stat().st_size for name in FILES}
            self._files.append(
                {
                    name: np.memmap(folder / f"{name}.bin", dtype, "r") if sizes[name] else np.empty(0, dtype)
                    for name, dtype in dtypes.items()
                }
            )
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise SaeTracksError(f"cannot read {folder}, which metrics --shard writes beside its counts") from error
        length, entries = place[:, 1] - place[:, 0], place[:, 2]
        base, entry = np.cumsum(length) - length, np.cumsum(entries) - entries
        sizes = {"width": length.sum(), "readable": length.sum(), "feature": entries.sum(), "level": entries.sum()}
        if any(len(self._files[-1][name]) != size for name, size in sizes.items()):
            raise SaeTracksError(f"{folder} is damaged: its files have other lengths than its index says")
        for i, (strand, contig) in enumerate(zip(strands.tolist(), contigs.tolist())):
            if length[i]:
                region = GenomicRegion(contig, int(place[i, 0]), int(place[i, 1]))
                piece = _Piece(region, number, int(base[i]), int(entry[i]))
                self._pieces.setdefault((strand, contig), []).append(piece)

    def columns(
        self, tile: GenomicRegion, read_strand: ReadStrand, features: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], Levels]:
        """Read some features, ascending, on a tile.

        Returns
        -------
        readable : (n,) bool
            False also on bases that were not read.
        levels : Levels
            Column i is ``features[i]``.
        """
        readable = np.zeros(len(tile), np.bool_)
        features = features if len(features) else np.array([-1])  # none
        place, column, level = [np.empty(0, np.int32)], [np.empty(0, np.int32)], [np.empty(0, np.uint8)]
        for piece in self._overlapping(tile, read_strand):
            both = piece.region.overlap(tile)
            assert both is not None
            files, first = self._files[piece.folder], both.start - piece.region.start
            inside = slice(piece.base + first, piece.base + first + len(both))
            shift = both.start - tile.start
            readable[shift : shift + len(both)] = files["readable"][inside]
            width = files["width"][inside].astype(np.int64)
            entry = piece.entry + int(files["width"][piece.base : piece.base + first].sum(dtype=np.int64))
            some = slice(entry, entry + int(width.sum()))
            feature = np.asarray(files["feature"][some])
            slot = np.minimum(np.searchsorted(features, feature), len(features) - 1)
            wanted = features[slot] == feature
            base = np.repeat(np.arange(shift, shift + len(both), dtype=np.int32), width)
            place.append(base[wanted])
            column.append(slot[wanted].astype(np.int32))
            level.append(np.asarray(files["level"][some])[wanted])
        at, base, value = np.concatenate(column), np.concatenate(place), np.concatenate(level)
        order = np.argsort(at, kind="stable")  # pieces ascend, so bases do within a column
        indptr = np.searchsorted(at[order], np.arange(len(features) + 1))
        return readable, Levels(indptr, base[order], value[order])

    def _overlapping(self, tile: GenomicRegion, read_strand: ReadStrand) -> list[_Piece]:
        key = read_strand, tile.contig
        if key not in self._pieces:
            return []
        last = int(np.searchsorted(self._starts[key], tile.end))
        first = max(int(np.searchsorted(self._starts[key], tile.start, side="right")) - 1, 0)
        return [piece for piece in self._pieces[key][first:last] if piece.region.end > tile.start]
