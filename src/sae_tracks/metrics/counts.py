"""Exact counts of bases, from which every score is made; they add up over shards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic

FORMAT_VERSION = 1
ROWS = 1024  # searched for non-zeros at once


@dataclass(slots=True)
class Counts:
    """Readable bases by concept, feature, threshold, half and read strand; the axes are S, H, C, T, K.

    Along T everything is counted by *bin*: an activation belongs to the highest threshold that it exceeds, so the
    bases active at threshold t are the sum over bins t and above (`at_thresholds`).

    Attributes
    ----------
    read_strands : tuple of str
        S directions in which the model read.
    halves : tuple of str
        ``("select", "report")``, or ``("all",)`` where nothing is split.
    concepts : DataFrame
        C rows: ``concept``, ``site_strand``, ``tf``.
    thresholds : (T,) float64
        Ascending; NaN where a BED file does not tell.
    features : (K,) int64
        Feature ids, ascending.
    bases : (S, H) int64
        Readable bases.
    instances : (S, H, C) int64
        Instances whose first base is readable; of a nucleotide, its bases.
    labelled : (S, H, C) int64
        Readable bases of the concept: TP + FN.
    active : (S, H, T, K) int64
        Readable bases where the feature is active, by bin: TP + FP.
    tp : (S, H, C, T, K) uint32
        Readable bases of the concept where the feature is active, by bin.
    """

    read_strands: tuple[str, ...]
    halves: tuple[str, ...]
    concepts: pd.DataFrame
    thresholds: NDArray[np.float64]
    features: NDArray[np.int64]
    bases: NDArray[np.int64]
    instances: NDArray[np.int64]
    labelled: NDArray[np.int64]
    active: NDArray[np.int64]
    tp: NDArray[np.uint32]

    @classmethod
    def zeros(
        cls,
        read_strands: Sequence[str],
        halves: Sequence[str],
        concepts: pd.DataFrame,
        thresholds: ArrayLike,
        features: ArrayLike,
    ) -> Self:
        """Counts of nothing along the axes given."""
        s, h, c, t, k = len(read_strands), len(halves), len(concepts), np.size(thresholds), np.size(features)
        return cls(
            read_strands=tuple(read_strands),
            halves=tuple(halves),
            concepts=concepts,
            thresholds=np.asarray(thresholds, np.float64),
            features=np.asarray(features, np.int64),
            bases=np.zeros((s, h), np.int64),
            instances=np.zeros((s, h, c), np.int64),
            labelled=np.zeros((s, h, c), np.int64),
            active=np.zeros((s, h, t, k), np.int64),
            tp=np.zeros((s, h, c, t, k), np.uint32),
        )

    def merge(self, other: "Counts") -> None:
        """Add the counts of other bases."""
        for name, mine in self._axes().items():
            if not np.array_equal(mine, other._axes()[name], equal_nan=mine.dtype.kind == "f"):
                raise SaeTracksError(f"these counts cannot be added: their {name.replace('_', ' ')}s differ")
        for name in ("bases", "instances", "labelled", "active", "tp"):
            getattr(self, name)[...] += getattr(other, name)

    def save(self, path: Path) -> None:
        """Write ``counts.npz``: the axes and counts under their names here, `tp` sparse.

        ``tp_row`` (nnz,) int32 is the row of the non-zero in (S, H, C, T) flattened in C order, ``tp_column`` (nnz,)
        int32 its place among the features, ``tp_count`` (nnz,) uint32 its value; ``format_version`` is 1.
        """
        flat = self.tp.reshape(-1, len(self.features))
        parts = []
        for start in range(0, len(flat), ROWS):
            row, column = np.nonzero(flat[start : start + ROWS])
            parts.append(((row + start).astype(np.int32), column.astype(np.int32), flat[row + start, column]))
        row, column, count = (np.concatenate(arrays) for arrays in zip(*parts))
        dense = {name: getattr(self, name) for name in ("bases", "instances", "labelled", "active")}
        with atomic(path) as temporary, temporary.open("wb") as file:
            sparse = {"tp_row": row, "tp_column": column, "tp_count": count}
            np.savez(file, format_version=FORMAT_VERSION, **self._axes(), **dense, **sparse)

    def _axes(self) -> dict[str, NDArray]:
        """The names along the axes as arrays."""
        return {
            "read_strand": np.array(self.read_strands),
            "half": np.array(self.halves),
            **{name: self.concepts[name].to_numpy(str) for name in ("concept", "site_strand", "tf")},
            "threshold": self.thresholds,
            "feature": self.features,
        }


def load_counts(path: Path) -> Counts:
    """Read ``counts.npz``, which is never a pickle."""
    try:
        with np.load(path) as file:
            stored = dict(file)
        if stored["format_version"] != FORMAT_VERSION:
            raise ValueError(f"its format version is {stored['format_version']}, this release reads {FORMAT_VERSION}")
        concepts = pd.DataFrame({name: stored[name].astype(object) for name in ("concept", "site_strand", "tf")})
        axes = (stored["read_strand"].tolist(), stored["half"].tolist(), concepts)
        counts = Counts.zeros(*axes, stored["threshold"], stored["feature"])
        for name in ("bases", "instances", "labelled", "active"):
            getattr(counts, name)[...] = stored[name]
        flat = counts.tp.reshape(-1, len(counts.features))
        flat[stored["tp_row"], stored["tp_column"]] = stored["tp_count"]
    except (OSError, KeyError, ValueError, BadZipFile, EOFError) as error:
        raise SaeTracksError(f"cannot read {path} as counts: {error}") from error
    return counts


def at_thresholds(bins: NDArray, axis: int) -> NDArray[np.int64]:
    """Counts a bin summed to counts at each threshold, along one axis."""
    return np.flip(np.cumsum(np.flip(bins, axis), axis, dtype=np.int64), axis)
