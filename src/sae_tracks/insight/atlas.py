"""The atlas: all features of an SAE as points in a plane, near each other if they are alike.

Alike in two ways: their decoder rows point the same way, or they are active at the same bases. No plane keeps all the
neighbours that features have, so the share that it keeps is measured.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh
from scipy.spatial import KDTree

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, make_folder, write_json, write_provenance, write_tsv
from sae_tracks.insight.partners import Coactivation, coactivation, jaccard_index
from sae_tracks.names import ATLAS, PLANES, feature_name
from sae_tracks.progress import track
from sae_tracks.source import Source

NEAREST = 5  # neighbours that the table names
KEPT = 10  # neighbours by which a plane is judged
LEAST, MOST = KEPT + 2, 1 << 14  # features in a plane
SAME = 1e-5  # similarities that differ by less are equal but for rounding
BLOCK = 1 << 10  # rows of similarities that are sorted at once

Similarity = NDArray[np.float32]  # (k, k) symmetric, 1 on the diagonal


@dataclass(frozen=True, slots=True, repr=False)
class Plane:
    """Features by one kind of likeness.

    Attributes
    ----------
    name : "decoder" or "activity"
        By the ``cosine`` of decoder rows, or by the ``jaccard`` index of the bases at which features are active.
    features : (k,) int64
        Feature ids, ascending.
    position : (k, 2) float32
        Places in the plane, without unit.
    nearest : (k, 5) int64
        The most similar features, the most similar one first; -1 where there is none with a similarity above 0.
    similarity : (k, 5) float32
        Of these.
    kept : float
        How well it preserves neighbourhoods: of the ten most similar features (of those with a similarity above 0), the
        share that is among the ten nearest in the plane, on average.
    """

    name: str
    features: NDArray[np.int64]
    position: NDArray[np.float32]
    nearest: NDArray[np.int64]
    similarity: NDArray[np.float32]
    kept: float

    def __repr__(self) -> str:
        return f"Plane({self.name}, {len(self.features):,} features, {self.kept:.0%} of the neighbours kept)"

    @property
    def chance(self) -> float:
        """What `kept` would be if the places were random."""
        return KEPT / (len(self.features) - 1)


@dataclass(frozen=True, slots=True)
class Atlas:
    """Two planes of the features of an SAE.

    Attributes
    ----------
    table : DataFrame
        One row per feature; see docs/formats.md.
    planes : list of Plane
        By decoder rows, and by activity.
    facts : dict
        How it was made.
    """

    table: pd.DataFrame
    planes: list[Plane]
    facts: dict[str, Any]

    def write(self, out: str | Path) -> None:
        """Write ``atlas.tsv``, ``atlas.json`` and ``atlas.provenance.json`` into a folder."""
        folder, name = make_folder(Path(out)), Path(ATLAS).stem
        write_tsv(self.table, folder / ATLAS)
        planes = {
            plane.name: {"measure": PLANES[plane.name], "features": len(plane.features), "kept": plane.kept}
            | {"chance": plane.chance}
            for plane in self.planes
        }
        write_json(folder / f"{name}.json", planes)
        write_provenance(folder, file_name=f"{name}.{PROVENANCE}", **self.facts)


def atlas(
    source: Source,
    features: Iterable[int] | None = None,
    *,
    layout: str = "pca",
    threshold: float = 0.15,
    scale: str = "max",
    seed: int = 0,
) -> Atlas:
    """Place features in a plane by their decoder rows, and in another by the bases at which they are active.

    The model reads the regions once. k features take about 20 k^2 bytes.

    Parameters
    ----------
    source : Source
        Model, SAE, genome, regions and read strands.
    features : iterable of int, optional
        Feature ids; default: all that the SAE does not call dead.
    layout : "pca" or "umap"
        The first two principal components of the similarities (kernel PCA; the Jaccard index is a kernel too), or UMAP
        (McInnes et al. 2018), which shows more groups and needs the package umap-learn.
    threshold, scale
        Where a feature counts as active; see `SAE.cutoffs`.
    seed : int
        Of UMAP.

    Returns
    -------
    Atlas
        A feature that is active at no base of the regions has no place by activity.

    Raises
    ------
    SaeTracksError
        A feature is not in the SAE, fewer than 12 or more than 16,384 features are to be placed, or umap-learn is not
        installed.

    Examples
    --------
    >>> atlas(source).write("scores/")
    """
    place = _layout(layout, seed)
    sae = source.sae
    ids = sae.check_features(sae.alive() if features is None else features).numpy()
    if len(ids) > MOST:
        raise SaeTracksError(f"{len(ids):,} features are too many for an atlas, at most {MOST:,}: name some (-f)")
    rows = sae.W_dec.detach().float().numpy()[ids]
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = (rows / np.where(norm > 0, norm, 1)).astype(np.float32)
    planes = [_plane("decoder", ids, rows @ rows.T, place)]
    together = coactivation(source, ids.tolist(), threshold=threshold, scale=scale)
    seen = np.flatnonzero(np.diagonal(together.counts))
    planes.append(_plane("activity", ids[seen], _jaccard(together, seen), place))
    density = np.diagonal(together.counts) / max(together.bases, 1)
    facts = source.provenance() | {"layout": layout, "threshold": threshold, "scale": scale, "seed": seed}
    return Atlas(_table(ids, density, planes), planes, facts)


def _jaccard(together: Coactivation, seen: NDArray[np.int64]) -> Similarity:
    """(k, k) Jaccard indices of the features that are active somewhere, made in parts to save memory."""
    alone, found = np.diagonal(together.counts)[seen], np.empty((len(seen), len(seen)), np.float32)
    for first in range(0, len(seen), BLOCK):
        rows = slice(first, first + BLOCK)
        found[rows] = jaccard_index(together.counts[np.ix_(seen[rows], seen)], alone[rows, None], alone)
    return found


def _layout(name: str, seed: int) -> Callable[[Similarity], NDArray[np.float32]]:
    if name == "pca":
        return _principal
    if name != "umap":
        raise SaeTracksError(f"layout {name!r} is not known: pca or umap")
    try:
        from umap import UMAP
    except ImportError as error:
        raise SaeTracksError("--layout umap needs umap-learn: pip install 'sae-tracks[umap]'") from error

    def place(similarity: Similarity) -> NDArray[np.float32]:
        distance = np.clip(1 - similarity, 0, None)  # rounding can make it negative
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # that nothing can be inverted
            return UMAP(metric="precomputed", random_state=seed, n_jobs=1).fit_transform(distance)

    return place


def _principal(similarity: Similarity) -> NDArray[np.float32]:
    """(k, 2) the first two principal components in the space of which (k, k) similarities are the inner products."""
    mean = similarity.mean(axis=0)
    centred = similarity - mean[:, None] - mean + mean.mean()
    if np.abs(centred).max() < SAME:
        return np.zeros((len(mean), 2), np.float32)
    start = np.random.default_rng(0).standard_normal(len(mean))  # else ARPACK draws one
    values, vectors = eigsh(centred, k=2, v0=start)
    order = np.argsort(-values)
    vectors = vectors[:, order] * np.sqrt(np.maximum(values[order], 0))
    highest = vectors[np.abs(vectors).argmax(axis=0), [0, 1]]
    return (vectors * np.where(highest < 0, -1, 1)).astype(np.float32)


def _plane(name: str, features: NDArray[np.int64], similarity: Similarity, place) -> Plane:
    if len(features) < LEAST:
        raise SaeTracksError(f"{len(features)} features can be placed by {name}: an atlas needs at least {LEAST}")
    position = place(similarity)
    number, value = _nearest(similarity)
    there = np.asarray(KDTree(position).query(position, KEPT + 1)[1])
    kept = [np.isin(row[alike], seen).mean() for row, alike, seen in zip(number, value > 0, there) if alike.any()]
    number = np.where(value > 0, features[number], -1)[:, :NEAREST]
    return Plane(name, features, position, number, value[:, :NEAREST], float(np.mean(kept or [np.nan])))


def _nearest(similarity: Similarity) -> tuple[NDArray[np.int64], Similarity]:
    """(k, 10) the most similar others of each row, and how similar they are; of equals the first."""
    number, value = np.empty((len(similarity), KEPT), np.int64), np.empty((len(similarity), KEPT), np.float32)
    for first in track(range(0, len(similarity), BLOCK), "neighbours", -(-len(similarity) // BLOCK)):
        rows = similarity[first : first + BLOCK].copy()
        rows[np.arange(len(rows)), first + np.arange(len(rows))] = -np.inf
        best = np.argsort(-rows, axis=1, kind="stable")[:, :KEPT]
        number[first : first + BLOCK], value[first : first + BLOCK] = best, np.take_along_axis(rows, best, axis=1)
    return number, value


def _table(ids: NDArray[np.int64], density: NDArray[np.float64], planes: list[Plane]) -> pd.DataFrame:
    table = pd.DataFrame({"feature": [feature_name(i) for i in ids.tolist()], "density": density})
    for plane in planes:
        near = [[feature_name(i) for i in row if i >= 0] for row in plane.nearest.tolist()]
        columns = {
            f"{plane.name}_x": plane.position[:, 0],
            f"{plane.name}_y": plane.position[:, 1],
            f"{plane.name}_near": [",".join(names) for names in near],
            f"{plane.name}_{PLANES[plane.name]}": [
                ",".join(f"{one:.3f}" for one in row[: len(names)]) for row, names in zip(plane.similarity, near)
            ],
        }
        here = pd.DataFrame(columns, index=np.searchsorted(ids, plane.features))
        table = table.join(here)
    return table
