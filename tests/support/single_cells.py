"""Matrices of features and counts of cells whose every number is drawn here."""

import h5py
import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from sae_tracks.region_sets.stores import FORMAT_VERSION, Entries, open_store, with_plain_text


def write_matrix(path, means, gc, places, **columns):
    """An ``.h5ad`` as `region_matrix` writes it."""
    means = csr_array(np.asarray(means, np.float32))
    chrom, start, end = zip(*places)
    obs = pd.DataFrame({"chrom": chrom, "start": start, "end": end, "readable": 100, "gc": gc, **columns})
    obs.index = [f"{c}:{s}-{e}" for c, s, e in places]
    ids = np.arange(means.shape[1])
    var = pd.DataFrame({"feature": ids, "read_strand": "+"}, index=[f"f{i}" for i in ids])
    with open_store(path, obs, var) as store:
        store.add(Entries(means.indptr.astype(np.int64), means.indices.astype(np.int32), *[means.data] * 3))
        store.finish(obs, var, {"format_version": FORMAT_VERSION})
    return path


def write_cells(path, counts, peaks, obs=None, var=None):
    """An ``.h5ad`` of counts (cells x peaks) with these names of peaks."""
    import anndata

    obs = pd.DataFrame(index=[f"cell{i}" for i in range(counts.shape[0])]) if obs is None else obs
    var = pd.DataFrame(index=peaks) if var is None else var
    parts = {"X": counts, "obs": with_plain_text(obs), "var": with_plain_text(var), "uns": {}}
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for name, part in parts.items():
            anndata.io.write_elem(file, name, part)
    return path


def write_10x(path, counts, peaks, kinds=None):
    """A ``.h5`` of 10x's Cell Ranger: features x barcodes, compressed by columns."""
    by_feature = csr_array(counts).T.tocsc()
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(by_feature, name)
        group["shape"] = by_feature.shape
        group["barcodes"] = np.array([f"AAAC-{i}" for i in range(counts.shape[0])], "S")
        group["features/id"] = np.array(peaks, "S")
        if kinds is not None:
            group["features/feature_type"] = np.array(kinds, "S")
    return path


def places(n):
    """n peaks of 100 bases."""
    return [("chr1", 200 * i, 200 * i + 100) for i in range(n)]


def names(found, form="{}:{}-{}"):
    return [form.format(*place) for place in found]
