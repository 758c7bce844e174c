"""Draw a small single-cell ATAC layout in which half of the cells open the peaks of one feature.

The peaks are those of a matrix of `sae-tracks matrix`. Every cell has its own depth and its own bias for GC, as real
ones have. What `sae-tracks cells` should find is then known: docs/single-cell.md goes through it.

    python single_cell.py peaks.h5ad --feature 47 -o atac.h5ad
"""

import argparse
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix


def draw(feature: np.ndarray, gc: np.ndarray, cells: int, strength: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts (cells, peaks), and which cells follow the feature, of which (peaks,) are the mean activations."""
    rng = np.random.default_rng(seed)
    follows = np.arange(cells) % 2 == 1
    rate = rng.lognormal(-2, 0.7, len(gc)) * np.ones((cells, 1))
    rate *= np.exp(strength * (feature - feature.mean()) / feature.std() * follows[:, None])
    rate *= np.exp(rng.normal(0, 1, (cells, 1)) * (gc - gc.mean()) / gc.std() / 5)
    rate *= rng.lognormal(0, 0.4, (cells, 1))
    return rng.poisson(rate), follows


def text(words: list[str]) -> pd.Index:
    """Text as an index that every version of anndata writes."""
    return pd.Index(words, dtype=object)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrix", type=Path)
    parser.add_argument("--feature", type=int, required=True)
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--strength", type=float, default=0.3, help="0 draws cells that follow no feature")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    matrix = anndata.read_h5ad(args.matrix)
    column = np.asarray(matrix[:, f"f{args.feature}"].X.todense()).ravel()
    counts, follows = draw(column, matrix.obs["gc"].to_numpy(), args.cells, args.strength, args.seed)
    kind = pd.Categorical.from_codes(follows.astype(int), text(["others", "followers"]))
    obs = pd.DataFrame({"kind": kind}, index=text([f"cell-{i}" for i in range(args.cells)]))
    peaks = [f"{c}:{s}-{e}" for c, s, e in zip(matrix.obs["chrom"], matrix.obs["start"], matrix.obs["end"])]
    anndata.AnnData(csr_matrix(counts), obs=obs, var=pd.DataFrame(index=text(peaks))).write_h5ad(args.out)


if __name__ == "__main__":
    main()
