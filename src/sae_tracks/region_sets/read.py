"""Reads the matrices that `region_matrix` wrote, of some features or all."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.region_sets.stores import FORMAT_VERSION, RECORD, import_anndata

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_READ = 1 << 22  # entries that are read at once


@dataclass(frozen=True, slots=True, repr=False)
class StoredMatrix:
    """Mean activations of features in regions.

    Attributes
    ----------
    obs, var : DataFrame
        What is known of the n regions and the m columns; see docs/formats.md.
    means : (n, m) csr_array of float32
    record : dict
        The provenance.
    source : str
        Name of the file, for messages.
    """

    obs: pd.DataFrame
    var: pd.DataFrame
    means: "csr_array"
    record: dict[str, Any]
    source: str

    def readable(self) -> NDArray[np.bool_]:
        """(n,) bool: which regions have a readable base in every read strand."""
        columns = [name for name in self.obs if str(name).split(".")[0] == "readable"]
        return np.all(self.obs[columns].to_numpy() > 0, axis=1)


def read_matrix(path: str | Path, features: Iterable[int] | None = None) -> StoredMatrix:
    """Read the means of an ``.h5ad`` that `region_matrix` wrote: the columns of some features, or all.

    Raises
    ------
    SaeTracksError
        The file is missing or of another kind, a feature is not in it, or anndata is not installed.
    """
    from scipy.sparse import csr_array

    path = Path(path)
    if not path.is_file():
        raise SaeTracksError(f"no file {path}")
    if path.suffix != ".h5ad":
        raise SaeTracksError(f"cannot read {path}: only an .h5ad is read again, so name one to sae-tracks matrix")
    anndata, h5py = import_anndata()
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise SaeTracksError(f"cannot read {path} as .h5ad: {error}") from error
    with file:
        if f"uns/{RECORD}" not in file:
            raise SaeTracksError(f"{path} is no matrix of features: sae-tracks matrix -o {path.name} writes one")
        obs, var = (anndata.io.read_elem(file[name]) for name in ("obs", "var"))
        record = json.loads(anndata.io.read_elem(file[f"uns/{RECORD}"]))
        if record.get("format_version") != FORMAT_VERSION:
            raise SaeTracksError(f"{path} is of another format: write it again with this version of sae-tracks matrix")
        ids = var["feature"].to_numpy()
        asked = np.unique(ids if features is None else np.array([*features]))
        if len(missing := np.setdiff1d(asked, ids)):
            raise SaeTracksError(f"{path.name} has no feature {missing[0]}")
        wanted = np.isin(ids, asked)
        stored, indptr = file["X"], file["X/indptr"][:]
        place, parts, count = np.cumsum(wanted) - 1, [], np.zeros(len(obs) + 1, np.int64)
        first = 0
        while first < len(obs):
            last = max(int(np.searchsorted(indptr, indptr[first] + _READ, side="right")) - 1, first + 1)
            here = slice(indptr[first], indptr[last])
            column, value = stored["indices"][here], stored["data"][here]
            kept = wanted[column]
            edges = np.concatenate(([0], np.cumsum(kept)))[indptr[first : last + 1] - indptr[first]]
            count[first + 1 : last + 1] = np.diff(edges)
            parts.append((place[column[kept]].astype(np.int32), value[kept]))
            first = last
    column, value = (np.concatenate(arrays) for arrays in zip(*parts))
    means = csr_array((value, column, np.cumsum(count)), shape=(len(obs), int(wanted.sum())))
    return StoredMatrix(obs, var[wanted], means, record, path.name)
