"""Cells x features: how much the accessibility of a cell follows a feature, beyond GC and the peaks' own accessibility.

The deviations are chromVAR's (Schep et al. 2017), with the activation of a feature in a peak as the weight of the peak.
A draw of background peaks permutes peaks among those that are like them. So every draw is also a shuffle of the rows of
the matrix, and what the draws reach is the null of what the features reach.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array
from scipy.stats import rankdata

from sae_tracks.annotations.sites import only
from sae_tracks.arrays import adjusted
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, provenance_record, without_folders, write_tsv
from sae_tracks.names import NO_NAME
from sae_tracks.progress import track
from sae_tracks.region_sets.background import background_peaks
from sae_tracks.region_sets.counts import CellCounts, read_counts
from sae_tracks.region_sets.read import StoredMatrix, read_matrix
from sae_tracks.region_sets.stores import RECORD, import_anndata, with_plain_text

MOST_Q = 0.05  # of a marker
LEAST_DRAWS = 10
LEAST_PEAKS = 50  # with fewer, a peak has hardly any of like GC and accessibility
_HELD = 1 << 26  # values of the draws that are held at once
log = logging.getLogger(__name__)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, repr=False)
class CellDeviations:
    """How much c cells follow m features.

    Attributes
    ----------
    z, deviations : (c, m) float32
        Bias-corrected deviations, in standard deviations of the background and as they are.
    obs : DataFrame
        The cells, and ``counts``, the counts of each in the peaks that were used.
    var : DataFrame
        The features, with ``variability`` (standard deviation of z over cells), ``null_mean`` and ``null_95`` of the
        same in the draws, ``p`` and ``q``.
    markers : DataFrame, optional
        One row per cluster and feature: ``cluster``, ``cells``, ``feature``, ``difference`` of the mean z in the
        cluster and elsewhere, ``auroc``, ``p``, ``q``. Cells without a label are neither inside nor elsewhere.
    record : dict
        The provenance.
    """

    z: NDArray[np.float32]
    deviations: NDArray[np.float32]
    obs: pd.DataFrame
    var: pd.DataFrame
    markers: pd.DataFrame | None
    record: dict[str, Any]

    def names(self) -> pd.DataFrame:
        """Name the clusters by features.

        Returns
        -------
        DataFrame
            One row per cluster: ``cluster``, ``cells``, ``name`` (of the marker with the largest difference among those
            with q of at most 0.05; ``no name`` without one), and its row of `markers`.
        """
        assert self.markers is not None
        label = self.var["name"].astype(str) if "name" in self.var else pd.Series(NO_NAME, self.var.index)
        rows = []
        for cluster, found in self.markers.groupby("cluster", sort=False):
            sure = only(found, found["q"].to_numpy() <= MOST_Q)
            sure = sure.sort_values("difference", ascending=False, kind="stable")
            best = sure.iloc[0].to_dict() if len(sure) else {}
            own = str(label.get(best.get("feature"), NO_NAME))
            name = best.get("feature", NO_NAME) if own == NO_NAME else f"{best['feature']} ({own})"
            rows.append({**best, "cluster": cluster, "cells": found["cells"].iloc[0], "name": name})
        columns = ["cluster", "cells", "name", "feature", "difference", "auroc", "p", "q"]
        return pd.DataFrame(rows).reindex(columns=columns)

    def write(self, out: Path) -> None:
        """Write an ``.h5ad`` and, of markers, ``NAME.markers.tsv`` and ``NAME.clusters.tsv`` beside it."""
        anndata, h5py = import_anndata()
        check_name(out)
        uns: dict[str, Any] = {RECORD: json.dumps(self.record)}
        if self.markers is not None:
            uns["markers"] = with_plain_text(self.markers)
            write_tsv(self.markers, out.with_suffix(".markers.tsv"))
            write_tsv(self.names(), out.with_suffix(".clusters.tsv"))
        parts = {"X": self.z, "layers": {"deviations": self.deviations}, "uns": uns}
        parts |= {"obs": with_plain_text(self.obs), "var": with_plain_text(self.var)}
        with atomic(out) as temporary, h5py.File(temporary, "w") as file:
            file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            for name, part in (parts | {name: {} for name in ("obsm", "varm", "obsp", "varp")}).items():
                anndata.io.write_elem(file, name, part)


def check_name(out: Path) -> None:
    """Refuse a name that does not end in ``.h5ad``."""
    if out.suffix != ".h5ad":
        raise SaeTracksError(f"cannot write {out}: name a file that ends in .h5ad")


def cell_deviations(
    matrix: str | Path,
    cells: str | Path,
    *,
    features: Iterable[int] | None = None,
    clusters: str | None = None,
    draws: int = 100,
    seed: int = 0,
) -> CellDeviations:
    """Measure how much the accessibility of each cell follows each feature (chromVAR, Schep et al. 2017).

    The deviation of a cell is (observed - expected) / expected, where observed is the sum of its counts times the
    feature's mean activation over peaks, and expected is the same for the cell's total spread as in all cells. The mean
    over draws of background peaks is subtracted; z is this over their standard deviation.

    Parameters
    ----------
    matrix : path
        ``.h5ad`` that `region_matrix` wrote over the peaks that were counted.
    cells : path
        Counts; see `read_counts`. Cells without counts in peaks of the matrix are left out.
    features : iterable of int, optional
        Feature ids; default all of the matrix. Time grows with their number times the draws.
    clusters : str, optional
        Column of the cells' table: markers of each of its values are tested too, among the cells that have one.
    draws : int
        Draws of background peaks, 10 or more.
    seed : int
        Of the draws.

    Returns
    -------
    CellDeviations
        Each p-value is the share of the draws of all features that reach as high as the feature does (one-sided). Each
        counts in units of the mean and standard deviation of the feature's own draws. q is p after Benjamini and
        Hochberg.

    Raises
    ------
    SaeTracksError
        A file cannot be read, no peak is a region of the matrix, fewer than 50 peaks can be used, peaks do not differ
        in GC and accessibility, no feature is active in a peak, or the cells have no such column or fewer than two
        values in it.

    Examples
    --------
    >>> found = cell_deviations("peaks.h5ad", "filtered_peak_bc_matrix.h5", features=[357, 12])
    >>> found.var.sort_values("variability", ascending=False)[["variability", "null_95", "q"]]
    """
    if draws < LEAST_DRAWS:
        raise SaeTracksError(f"{draws} draws of background peaks are too few: at least {LEAST_DRAWS}")
    stored, counted = read_matrix(matrix, features), read_counts(cells)
    counts, rows, kept = _matched(stored, counted)
    obs = counted.obs.iloc[kept].assign(counts=_sums(counts, 1))
    groups = _groups(obs, clusters, counted.source) if clusters is not None else None
    weights = csc_array(stored.means[rows])
    active = np.diff(weights.indptr) > 0
    if not active.any():
        raise SaeTracksError(f"no feature of {stored.source} is active in a peak of {counted.source}")
    if not active.all():
        log.info("features left out, because they are active in no peak: %d", (~active).sum())
    weights, var = csc_array(weights[:, np.flatnonzero(active)]), stored.var[active].copy()
    accessibility, gc = _sums(counts, 0) / len(obs), stored.obs["gc"].to_numpy(np.float64)[rows]
    partners = background_peaks(accessibility, gc, draws, seed)
    found = _Found.of(len(obs), len(var), draws, 0 if groups is None else len(groups.names))
    size = max(_HELD // max(draws * len(obs), len(rows)), 1)  # of raw deviations, and of weights
    chunks = [slice(first, min(first + size, len(var))) for first in range(0, len(var), size)]
    for chunk in track(chunks, "features", len(chunks)):
        found.add(chunk, _deviations(counts, weights[:, chunk].toarray().astype(np.float64), partners), groups)
    p = _pooled_p(found.variability, found.null_variability)
    var = var.assign(variability=found.variability, null_mean=found.null_variability.mean(axis=0),
                     null_95=np.quantile(found.null_variability, 0.95, axis=0), p=p, q=adjusted(p))  # fmt: skip
    facts = {"cells_from": counted.source, "peaks": len(rows), "draws": draws, "seed": seed, "clusters": clusters}
    record = without_folders(provenance_record(**facts, matrix=stored.record))
    markers = None if groups is None else _markers(found, groups, var)
    return CellDeviations(found.z, found.deviations, obs, var, markers, record)


def _matched(stored: StoredMatrix, counted: CellCounts) -> tuple[csr_array, NDArray[np.int64], NDArray[np.int64]]:
    """Counts in the peaks that are usable regions, the rows of these in the matrix, and the cells that have counts."""
    rows = counted.rows_in(stored.obs)
    usable = stored.readable() & np.isfinite(stored.obs["gc"].to_numpy(np.float64))
    partner = (rows >= 0) & usable[rows]
    counts = csr_array(counted.counts[:, np.flatnonzero(partner)])
    open_somewhere = _sums(counts, 0) > 0
    for left, why in ((~partner, "are no readable region of the matrix"), (~open_somewhere, "are open in no cell")):
        if left.any():
            log.warning("%d of %d peaks of %s %s and are left out", left.sum(), len(rows), counted.source, why)
    counts, rows = csr_array(counts[:, np.flatnonzero(open_somewhere)]), rows[partner][open_somewhere]
    total = _sums(counts, 1)
    cells = np.flatnonzero(total > 0)
    if left := len(total) - len(cells):
        log.warning("%d of %d cells have no counts in these peaks and are left out", left, len(total))
    if len(cells) < 2:
        raise SaeTracksError(f"{counted.source} has {len(cells)} cells with counts in these peaks")
    if len(rows) < LEAST_PEAKS:
        few = f"{len(rows)} of {len(partner)} peaks of {counted.source} can be used"
        raise SaeTracksError(
            f"{few}, at least {LEAST_PEAKS} are needed: make the matrix of all peaks that were counted"
        )
    return csr_array(counts[cells]), rows, cells


def _sums(counts: csr_array, axis: int) -> Floats:
    return np.asarray(counts.sum(axis=axis), np.float64)


def _deviations(counts: csr_array, weights: Floats, partners: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(c, k) and (draws, c, k) raw deviations of some features and of their draws."""
    total, share = _sums(counts, 1), _sums(counts, 0) / counts.sum()

    def of(weight: Floats) -> Floats:
        expected = total[:, None] * (share @ weight)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(expected > 0, (counts @ weight) / expected - 1, 0)

    drawn = np.empty((len(partners), len(total), weights.shape[1]))
    for i, partner in enumerate(partners):
        moved = np.empty_like(weights)
        moved[partner] = weights
        drawn[i] = of(moved)
    return of(weights), drawn


@dataclass(frozen=True, slots=True)
class _Groups:
    """Clusters: their names, which of the c cells have a label (n,), and which of these are in each, (g, n) bool."""

    names: list[str]
    labelled: NDArray[np.int64]
    inside: NDArray[np.bool_]

    def differences(self, z: Floats) -> Floats:
        """(g, k): mean of (c, k) values inside less that outside."""
        inside, outside = (part / part.sum(axis=1, keepdims=True) for part in (self.inside, ~self.inside))
        return (inside - outside) @ z[self.labelled]

    def aurocs(self, z: Floats) -> Floats:
        """(g, k): share of pairs of a cell inside and one outside in which the first is higher, ties one half."""
        n = self.inside.sum(axis=1, keepdims=True)
        return (self.inside @ rankdata(z[self.labelled], axis=0) - n * (n + 1) / 2) / (n * (self.inside.shape[1] - n))


def _groups(obs: pd.DataFrame, column: str, source: str) -> _Groups:
    if column not in obs:
        raise SaeTracksError(f"the cells of {source} have no column {column!r}; they have {', '.join(map(str, obs))}")
    labelled = np.flatnonzero(obs[column].notna())
    labels = obs[column].iloc[labelled].astype(str).to_numpy(object)
    if left := len(obs) - len(labelled):
        log.warning("%d of %d cells have no %s and are left out of its groups", left, len(obs), column)
    names = sorted(set(labels))
    if not names:
        raise SaeTracksError(f"no cell of {source} has a {column}")
    if len(names) < 2:
        raise SaeTracksError(f"all cells of {source} are of one {column}: {names[0]}")
    return _Groups(names, labelled, labels == np.array(names, object)[:, None])


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known of all features so far: c cells, m features, g clusters."""

    z: NDArray[np.float32]  # (c, m)
    deviations: NDArray[np.float32]  # (c, m)
    variability: Floats  # (m,)
    null_variability: Floats  # (draws, m)
    difference: Floats  # (g, m)
    null_difference: Floats  # (draws, g, m)
    auroc: Floats  # (g, m)

    @classmethod
    def of(cls, c: int, m: int, draws: int, g: int) -> "_Found":
        z, deviations = np.empty((2, c, m), np.float32)
        of_clusters = np.empty((g, m)), np.empty((draws, g, m)), np.empty((g, m))
        return cls(z, deviations, np.empty(m), np.empty((draws, m)), *of_clusters)

    def add(self, chunk: slice, found: tuple[Floats, Floats], groups: _Groups | None) -> None:
        """Fill in some features, from their raw deviations and those of the draws."""
        draws = _Draws(found[1])
        corrected, z = draws.of(found[0])
        self.deviations[:, chunk], self.z[:, chunk], self.variability[chunk] = corrected, z, z.std(axis=0, ddof=1)
        if groups:
            self.difference[:, chunk], self.auroc[:, chunk] = groups.differences(z), groups.aurocs(z)
        for i in range(len(self.null_variability)):
            other = draws.z_of_draw(i)
            self.null_variability[i, chunk] = other.std(axis=0, ddof=1)
            if groups:
                self.null_difference[i, :, chunk] = groups.differences(other)


class _Draws:
    """Values of the draws along the first axis, against which other values of the same shape are held."""

    def __init__(self, values: Floats) -> None:
        self._values, self._total = values, values.sum(axis=0)
        self._squares = np.einsum("i...,i...->...", values, values)  # without an array of all squares

    def of(self, value: Floats) -> tuple[Floats, Floats]:
        """A value less the mean of the draws, and this over their standard deviation (0 if there is none)."""
        return self._standardised(value, len(self._values), self._total, self._squares)

    def z_of_draw(self, i: int) -> Floats:
        """The same of one draw, against the others."""
        value = self._values[i]
        rest = len(self._values) - 1, self._total - value, self._squares - value**2
        return self._standardised(value, *rest)[1]

    @staticmethod
    def _standardised(value: Floats, n: int, total: Floats, squares: Floats) -> tuple[Floats, Floats]:
        less = value - total / n
        spread = np.sqrt(np.maximum(squares - total**2 / n, 0) / (n - 1))
        return less, np.divide(less, spread, out=np.zeros_like(less), where=spread > 1e-6)


def _pooled_p(value: Floats, drawn: Floats) -> Floats:
    """(m,) float64: p-values of m features from (draws, m) values, whose shape all features share.

    A value counts in units of the mean and standard deviation of its own draws, a draw in those of the other draws.
    """
    draws = _Draws(drawn)
    pool = np.sort(np.concatenate([draws.z_of_draw(i) for i in range(len(drawn))]))
    higher = len(pool) - np.searchsorted(pool, draws.of(value)[1])
    return (1 + higher) / (1 + len(pool))


def _markers(found: _Found, groups: _Groups, var: pd.DataFrame) -> pd.DataFrame:
    """One row per cluster and feature; q over all of them."""
    p = np.stack([_pooled_p(found.difference[i], found.null_difference[:, i]) for i in range(len(groups.names))])
    m = len(var)
    return pd.DataFrame({
        "cluster": np.repeat(np.array(groups.names, object), m),
        "cells": np.repeat(groups.inside.sum(axis=1), m),
        "feature": np.tile(var.index.to_numpy(object), len(groups.names)),
        "difference": found.difference.ravel(),
        "auroc": found.auroc.ravel(),
        "p": p.ravel(),
        "q": adjusted(p.ravel()),
    })  # fmt: skip
