"""Lists of genes per feature, for programs that test gene sets."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csc_array

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, make_folder, write_provenance
from sae_tracks.names import counted
from sae_tracks.region_sets.read import StoredMatrix, read_matrix

GMT = "features.gmt"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GeneLists:
    """What `gene_lists` wrote."""

    features: int
    genes: int
    silent: int  # features that are active in no gene: they have no list


def gene_lists(
    matrix: str | Path, out: str | Path, *, features: Iterable[int] | None = None, top: int = 100
) -> GeneLists:
    """Rank genes by the mean activation of each feature.

    Writes ``f357.rnk`` per feature (GSEA's ranked list: name and score, from the highest to the lowest, without a
    header) and ``features.gmt`` with the top genes of every feature. Genes are called by ``gene_name``. If several
    genes have one name, the highest score counts. Genes without a readable base are left out.

    Parameters
    ----------
    matrix : path
        ``.h5ad`` that `region_matrix` wrote over a set of genes.
    out : path
        Folder.
    features : iterable of int, optional
        Feature ids; default all of the matrix.
    top : int
        Genes per feature in the GMT file, fewer if a feature is active in fewer.

    Returns
    -------
    GeneLists
        How much was written.

    Raises
    ------
    SaeTracksError
        The matrix is not of genes, lacks a feature, or no feature is active in any gene.
    """
    stored, out = read_matrix(matrix, features), Path(out)
    if "gene_name" not in stored.obs:
        raise SaeTracksError(
            f"{stored.source} has regions, not genes: make it with sae-tracks matrix --genes genes.gtf"
        )
    names, rows = _names(stored)
    columns = csc_array(stored.means[rows])
    about = _descriptions(stored.var)
    make_folder(out)
    sets, silent = list[str](), 0
    for i, feature in enumerate(stored.var.index.astype(str)):
        held = slice(columns.indptr[i], columns.indptr[i + 1])
        scores = np.zeros(len(rows), np.float32)
        scores[columns.indices[held]] = columns.data[held]
        ranked = _ranked(names, scores)
        best = [name for name, score in ranked[:top] if score > 0]
        if not best:
            silent += 1
            continue
        lines = [f"{name}\t{score:.6g}\n" for name, score in ranked]
        with atomic(out / f"{feature}.rnk") as temporary:
            temporary.write_text("".join(lines))
        sets.append("\t".join([feature, about[i], *best]) + "\n")
    if not sets:
        raise SaeTracksError(f"no feature of {stored.source} is active in a gene")
    with atomic(out / GMT) as temporary:
        temporary.write_text("".join(sets))
    write_provenance(out, matrix=stored.record, top=top, features=sorted(set(stored.var["feature"].tolist())))
    return GeneLists(len(sets), len(set(names)), silent)


def _ranked(names: NDArray[np.object_], scores: NDArray[np.float32]) -> list[tuple[str, float]]:
    """Every name once with its highest score, from the highest to the lowest, equal ones in the order of names."""
    best, place = np.unique(names, return_inverse=True)
    highest = np.full(len(best), -np.inf, np.float32)
    np.maximum.at(highest, place, scores)
    order = np.argsort(-highest, kind="stable")
    return list(zip(best[order].tolist(), highest[order].tolist()))


def _names(stored: StoredMatrix) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """The names of the genes that were read, and their rows."""
    rows = np.flatnonzero(stored.readable())
    if left := len(stored.obs) - len(rows):
        log.warning("%d of %d genes have no readable base and are left out", left, len(stored.obs))
    names = stored.obs["gene_name"].astype(str).to_numpy(object)[rows]
    if again := len(names) - len(set(names)):
        genes = counted(again, "gene shares its name", "genes share their name")
        log.info("%s with another one: the highest score of a name counts", genes)
    return names, rows


def _descriptions(var: pd.DataFrame) -> list[str]:
    """A description per feature for the GMT file: its line, else its best concept, else ``na``."""
    column = next((name for name in ("line", "concept") if name in var), None)
    texts = [""] * len(var) if column is None else var[column].astype(str)
    return [" ".join(text.split()) or "na" for text in texts]
