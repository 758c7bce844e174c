"""Exact counts of bases and instances, from which every score is computed; the counts of shards add up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sae_tracks.bounded import read_arrays
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic


class Place(NamedTuple):
    """Which instance, and in which direction the model read."""

    strand: int
    contig: str
    start: int
    end: int
    concept: int


@dataclass(slots=True)
class OpenInstance:
    """An instance whose last base has not been read yet."""

    half: int  # of its first base
    copies: int  # how many instances lie exactly there
    counted: bool  # whether its first base was seen and is readable; without that it counts for nothing
    levels: NDArray[np.uint8]  # (K,): 1 + the highest bin of each feature on its bases seen, 0 if it was never active


class OpenInstances(dict[Place, OpenInstance]):
    """The instances of a counter that are open."""

    def join(self, other: "OpenInstances") -> None:
        """Add what was seen of the same and of other instances on other bases."""
        for place, theirs in other.items():
            mine = self.setdefault(place, OpenInstance(theirs.half, theirs.copies, False, np.zeros_like(theirs.levels)))
            mine.counted |= theirs.counted
            np.maximum(mine.levels, theirs.levels, out=mine.levels)

    def close(self, hits: NDArray[np.uint32], places: Iterable[Place]) -> None:
        """Remove the instances at some places, and add those that count to hits, (S, H, C, T, K)."""
        for place in list(places):
            instance = self.pop(place)
            if instance.counted:
                column = np.flatnonzero(instance.levels)
                where = hits[place.strand, instance.half, place.concept]
                where[instance.levels[column] - 1, column] += np.uint32(instance.copies)

    def arrays(self) -> dict[str, NDArray]:
        """Arrays with one row per instance, to be saved; see `Counts.save`."""
        places, instances = list(self), list(self.values())
        return {
            "open_contig": np.array([place.contig for place in places], str),
            "open_place": np.array([(p.strand, p.start, p.end, p.concept) for p in places], np.int64).reshape(-1, 4),
            "open_state": np.array([(i.half, i.copies, i.counted) for i in instances], np.int64).reshape(-1, 3),
            "open_levels": np.array([i.levels for i in instances], np.uint8),
        }

    @classmethod
    def of_arrays(cls, stored: dict[str, NDArray]) -> "OpenInstances":
        """The instances of saved `arrays`."""
        found = cls()
        rows = zip(*(stored[f"open_{name}"] for name in ("contig", "place", "state", "levels")), strict=True)
        for contig, (strand, start, end, concept), (half, copies, counted), levels in rows:
            place = Place(int(strand), str(contig), int(start), int(end), int(concept))
            found[place] = OpenInstance(int(half), int(copies), bool(counted), levels)
        return found


FORMAT_VERSION = 2
ROWS = 1024  # searched for non-zeros at once
TEXT_AXES = ("read_strand", "half", "concept", "site_strand", "tf", "feature")
DENSE = ("bases", "instances", "labelled", "active")


@dataclass(slots=True)
class Counts:
    """Readable bases by concept, feature, threshold, half and read strand; the axes are S, H, C, T, K.

    Along T everything is counted by *bin*: an activation belongs to the highest threshold that it exceeds, so the
    bases active at threshold t are the sum over bins t and above (`at_thresholds`).
    """

    read_strands: tuple[str, ...]  # in which the model read
    halves: tuple[str, ...]  # ("select", "report"), or ("all",) without a split
    concepts: pd.DataFrame  # concept, site_strand, tf
    thresholds: NDArray[np.float64]  # ascending; NaN if that of a BED file is not known
    features: NDArray[np.str_]  # their names: f357
    bases: NDArray[np.int64]  # (S, H): readable bases
    instances: NDArray[np.int64]  # (S, H, C): those whose first base is readable, by its half; of a nucleotide, bases
    labelled: NDArray[np.int64]  # (S, H, C): readable bases of the concept, TP + FN
    active: NDArray[np.int64]  # (S, H, T, K): readable bases on which the feature is active, TP + FP, by bin
    tp: NDArray[np.uint32]  # (S, H, C, T, K): readable bases of the concept on which the feature is active, by bin
    # (S, H, C, T, K): instances by the highest bin of the feature on their readable bases of that half. Those that are
    # not active anywhere are in none. None if instances were not followed
    hits: NDArray[np.uint32] | None
    open: OpenInstances = field(default_factory=OpenInstances)  # not all seen and not yet in `hits`; see `close`

    @classmethod
    def zeros(
        cls,
        read_strands: Sequence[str],
        halves: Sequence[str],
        concepts: pd.DataFrame,
        thresholds: ArrayLike,
        features: Sequence[str],
        *,
        hits: bool = True,
    ) -> Self:
        """Counts of nothing along some axes; memory is taken only when something is counted."""
        s, h, c, t, k = len(read_strands), len(halves), len(concepts), np.size(thresholds), np.size(features)
        return cls(
            read_strands=tuple(read_strands),
            halves=tuple(halves),
            concepts=concepts,
            thresholds=np.asarray(thresholds, np.float64),
            features=np.asarray(features, str),
            bases=np.zeros((s, h), np.int64),
            instances=np.zeros((s, h, c), np.int64),
            labelled=np.zeros((s, h, c), np.int64),
            active=np.zeros((s, h, t, k), np.int64),
            tp=np.zeros((s, h, c, t, k), np.uint32),
            hits=np.zeros((s, h, c, t, k), np.uint32) if hits else None,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of memory, at most: they depend only on strands, halves, concepts, thresholds and features."""
        return self.tp.nbytes + (0 if self.hits is None else self.hits.nbytes)

    def merge(self, other: "Counts") -> None:
        """Add the counts of other bases, which may contain the rest of open instances."""
        for name, mine in self._axes().items():
            if not np.array_equal(mine, other._axes()[name], equal_nan=mine.dtype.kind == "f"):
                raise SaeTracksError(f"these counts cannot be added: their {name.replace('_', ' ')}s differ")
        if (self.hits is None) != (other.hits is None):
            raise SaeTracksError("these counts cannot be added: only one of them followed instances")
        for name in (*DENSE, "tp"):
            getattr(self, name)[...] += getattr(other, name)
        if self.hits is not None and other.hits is not None:
            self.hits += other.hits
            self.open.join(other.open)

    def close(self) -> None:
        """Count open instances as they are, because no more bases will come."""
        if self.hits is not None:
            self.open.close(self.hits, self.open)

    def save(self, path: Path) -> None:
        """Write ``counts.npz``: the axes and counts under their names here, `tp` and `hits` sparse.

        They are rows of a CSR matrix, (S, H, C, T) flattened in C order by K: ``tp_indptr`` (rows + 1,) int64,
        ``tp_column`` (nnz,) int32, ``tp_count`` (nnz,) uint32, and, if instances were followed, ``hit_count`` (nnz,)
        uint32 at the same places, because an instance is hit only on a true positive. ``open_*`` are the
        `OpenInstances.arrays`; ``format_version`` is 2.
        """
        flat = [array.reshape(-1, len(self.features)) for array in (self.tp, self.hits) if array is not None]
        widths, entries = [np.zeros(1, np.int64)], []
        for start in range(0, len(flat[0]), ROWS):
            row, column = np.nonzero(flat[0][start : start + ROWS])
            widths.append(np.bincount(row, minlength=min(ROWS, len(flat[0]) - start)))
            entries.append((column.astype(np.int32), *(array[row + start, column] for array in flat)))
        column, *counted = (np.concatenate(arrays) for arrays in zip(*entries))
        sparse = {"tp_indptr": np.cumsum(np.concatenate(widths)), "tp_column": column}
        sparse |= dict(zip(("tp_count", "hit_count"), counted)) | self.open.arrays()
        dense = {name: getattr(self, name) for name in DENSE}
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez(file, format_version=FORMAT_VERSION, **self._axes(), **dense, **sparse)

    def _axes(self) -> dict[str, NDArray]:
        """The names along the axes."""
        return {
            "read_strand": np.array(self.read_strands),
            "half": np.array(self.halves),
            **{name: np.array(self.concepts[name].tolist(), str) for name in ("concept", "site_strand", "tf")},
            "threshold": self.thresholds,
            "feature": self.features,
        }


def load_counts(path: Path) -> Counts:
    """Read ``counts.npz``, which is never a pickle; counts that `Counts.save` would not write are an error."""
    stored = read_arrays(path)
    try:
        if stored["format_version"].item() != FORMAT_VERSION:
            raise ValueError(f"its format version is {stored['format_version']}, this release reads {FORMAT_VERSION}")
        _check_stored(stored)
        concepts = pd.DataFrame({name: stored[name].astype(object) for name in ("concept", "site_strand", "tf")})
        axes: Any = (stored["read_strand"].tolist(), stored["half"].tolist(), concepts)
        axes += (stored["threshold"], stored["feature"])
        counts = Counts.zeros(*axes, hits="hit_count" in stored)
        for name in DENSE:
            getattr(counts, name)[...] = stored[name]
        for array, name in ((counts.tp, "tp_count"), (counts.hits, "hit_count")):
            if array is not None:
                _fill(array.reshape(-1, len(counts.features)), stored, name)
        counts.open = OpenInstances.of_arrays(stored)
    except (KeyError, ValueError) as error:
        raise SaeTracksError(f"cannot read {path} as counts: {error}") from error
    return counts


def _check_stored(stored: dict[str, NDArray]) -> None:
    """Raise if the arrays of a file do not fit together, or if a count is negative or no whole number."""
    for name, kind in (*((name, "U") for name in TEXT_AXES), ("threshold", "f")):
        _expect(stored[name].ndim == 1 and stored[name].dtype.kind == kind, name)
    _expect(np.isin(stored["read_strand"], ("+", "-")).all(), "read_strand")
    s, h, c, t, k = (len(stored[name]) for name in ("read_strand", "half", "concept", "threshold", "feature"))
    _expect(len(stored["site_strand"]) == len(stored["tf"]) == c, "site_strand")
    shapes = {"bases": (s, h), "instances": (s, h, c), "labelled": (s, h, c), "active": (s, h, t, k)}
    for name, shape in shapes.items():
        _expect(stored[name].shape == shape and _are_counts(stored[name]), name)
    indptr, column = stored["tp_indptr"], stored["tp_column"]
    _expect(indptr.shape == (s * h * c * t + 1,) and _are_counts(indptr) and indptr[0] == 0, "tp_indptr")
    _expect((np.diff(indptr) >= 0).all() and indptr[-1] == len(column), "tp_indptr")
    _expect(column.ndim == 1 and _are_counts(column) and (column < k).all(), "tp_column")
    for name in {"tp_count", "hit_count"} & stored.keys():
        _expect(stored[name].shape == column.shape and _are_counts(stored[name]), name)
    contig, place, state, levels = (stored[f"open_{name}"] for name in ("contig", "place", "state", "levels"))
    _expect(contig.ndim == 1 and contig.dtype.kind == "U", "open_contig")
    most = np.iinfo(np.int64).max
    for name, array, limits in (("place", place, (s, most, most, c)), ("state", state, (h, most, 2))):
        _expect(array.shape == (len(contig), len(limits)) and _are_counts(array) and (array < limits).all(), name)
    _expect(levels.dtype == np.uint8 and (not len(contig) or levels.shape == (len(contig), k)), "open_levels")
    _expect(bool((levels <= t).all()), "open_levels")


def _are_counts(array: NDArray) -> bool:
    return array.dtype.kind in "iu" and bool((array >= 0).all())


def _expect(sound: bool | np.bool_, name: str) -> None:
    if not sound:
        raise ValueError(f"its {name} is not what sae-tracks writes: run that shard again")


def _fill(flat: NDArray[np.uint32], stored: dict[str, NDArray], name: str) -> None:
    """Copy saved counts to their places, some rows at a time."""
    indptr, column, count = stored["tp_indptr"], stored["tp_column"], stored[name]
    for start in range(0, len(flat), ROWS):
        edges = indptr[start : start + ROWS + 1]
        row, here = np.repeat(np.arange(len(edges) - 1), np.diff(edges)), slice(edges[0], edges[-1])
        flat[start + row, column[here]] = count[here]


def at_thresholds(bins: NDArray, axis: int) -> NDArray[np.int64]:
    """Counts per bin summed to counts at each threshold, along one axis."""
    return np.flip(np.cumsum(np.flip(bins, axis), axis, dtype=np.int64), axis)
