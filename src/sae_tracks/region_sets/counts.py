"""Counts of single-cell ATAC-seq: AnnData and 10x's .h5, and which of their peaks are regions of a matrix."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, issparse

from sae_tracks.errors import SaeTracksError
from sae_tracks.region_sets.stores import import_anndata

PLACE = re.compile(r"(.+)[:_-](\d+)[_-](\d+)")
COLUMNS = {
    "chrom": ("chrom", "chr", "chromosome", "seqnames"),
    "start": ("start", "chromstart"),
    "end": ("end", "chromend"),
}
PEAKS = "Peaks"  # 10x's type of feature
log = logging.getLogger(__name__)
Place = tuple[str, int, int]


@dataclass(frozen=True, slots=True, repr=False)
class CellCounts:
    """Counts of cells in peaks.

    Attributes
    ----------
    counts : (c, p) csr_array of float64
    obs : DataFrame
        The c cells, their names as the index.
    places : list of (str, int, int)
        Contig, start and end of each peak, 0-based half-open.
    source : str
        Name of the file.
    """

    counts: csr_array
    obs: pd.DataFrame
    places: list[Place]
    source: str

    def rows_in(self, obs: pd.DataFrame) -> NDArray[np.int64]:
        """(p,) int64: the row of each peak in a table of regions, by its place; -1 if it is not there."""
        where = dict[Place, int]()
        for row, place in enumerate(zip(obs["chrom"].astype(str), obs["start"], obs["end"])):
            where.setdefault(place, row)
        found = np.array([where.get(place, -1) for place in self.places], np.int64)
        if (found < 0).all():
            theirs, ours = ("{}:{}-{}".format(*place) for place in (self.places[0], next(iter(where))))
            shifted = sum((contig, start - 1, end) in where for contig, start, end in self.places)
            why = "its starts count from 1" if shifted else "make the matrix of the peaks that were counted"
            raise SaeTracksError(f"no peak of {self.source}, such as {theirs}, is a region such as {ours}: {why}")
        return found


def read_counts(path: str | Path) -> CellCounts:
    """Read cells x peaks from an ``.h5ad`` (counts in X) or a ``.h5`` of 10x's Cell Ranger.

    Peaks are called ``chr1:100-200``, ``chr1_100_200`` or ``chr1-100-200``, or the table of an ``.h5ad`` has columns
    such as ``chrom``, ``start`` and ``end``. Of a multiome file only the peaks are read.

    Raises
    ------
    SaeTracksError
        The file cannot be read, holds no counts, or a peak has no place.
    """
    path = Path(path)
    _, h5py = import_anndata()
    if not path.is_file():
        raise SaeTracksError(f"no file {path}")
    try:
        with h5py.File(path, "r") as file:
            found = _of_10x(file["matrix"], path.name) if "matrix" in file else _of_anndata(file, path.name)
    except (OSError, KeyError) as error:
        raise SaeTracksError(f"cannot read {path} as cells x peaks, .h5ad or 10x's .h5: {error}") from error
    values = found.counts.data
    wrong = ~(np.isfinite(values) & (values >= 0) & (values == np.floor(values)))
    if wrong.any():
        raise SaeTracksError(f"{path.name} holds no counts, but values such as {values[wrong][0]:g}")
    return found


def _of_anndata(file: Any, name: str) -> CellCounts:
    anndata, _ = import_anndata()
    counts, obs, var = (anndata.io.read_elem(file[part]) for part in ("X", "obs", "var"))
    counts = csr_array(counts if issparse(counts) else np.asarray(counts), dtype=np.float64)
    lower = {str(column).lower(): column for column in var}
    columns = [next((lower[word] for word in words if word in lower), None) for words in COLUMNS.values()]
    if None in columns:
        places = _places(var.index.astype(str).tolist(), name)
    else:
        contig, start, end = (var[column] for column in columns)
        _check(contig.notna().to_numpy(), contig, "name of a contig", name)
        places = list(zip(contig.astype(str).tolist(), _whole(start, name), _whole(end, name)))
    return CellCounts(counts, obs, places, name)


def _whole(column: pd.Series, source: str) -> list[int]:
    found = cast(pd.Series, pd.to_numeric(column.astype(object), errors="coerce"))
    numbers = np.asarray(found.astype(np.float64))
    _check(np.isfinite(numbers) & (numbers == np.floor(numbers)), column, "whole number", source)
    return numbers.astype(np.int64).tolist()


def _check(good: NDArray[np.bool_], column: pd.Series, what: str, source: str) -> None:
    if not good.all():
        peak = column.index[~good][0]
        raise SaeTracksError(f"{source}: column {column.name!r} of var has no {what} for peak {peak!r}")


def _of_10x(group: Any, name: str) -> CellCounts:
    features, shape = group["features"], tuple(group["shape"][:])
    counts = csc_array((group["data"][:], group["indices"][:], group["indptr"][:]), shape=shape)
    kinds = features["feature_type"].asstr()[:] if "feature_type" in features else np.full(shape[0], PEAKS)
    if not (peaks := kinds == PEAKS).any():
        raise SaeTracksError(f"{name} has no peaks, but {', '.join(sorted(set(kinds)))}")
    places = _places(features["id"].asstr()[:][peaks].tolist(), name)
    obs = pd.DataFrame(index=pd.Index(group["barcodes"].asstr()[:]))
    return CellCounts(csr_array(counts.T.tocsr()[:, np.flatnonzero(peaks)], dtype=np.float64), obs, places, name)


def _places(names: list[str], source: str) -> list[Place]:
    found = list[Place]()
    for name in names:
        if not (match := PLACE.fullmatch(name)):
            raise SaeTracksError(f"{source}: peak {name!r} is no place such as chr1:100-200")
        found.append((match[1], int(match[2]), int(match[3])))
    return found
