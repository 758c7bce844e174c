"""CPU time and memory of the deviations of drawn cells in drawn peaks.

Example: python benchmarks/cells.py --peaks 50000 --cells 2000 --features 64
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, random_array

from sae_tracks import cell_deviations
from sae_tracks.region_sets.stores import FORMAT_VERSION, Entries, open_store
from sae_tracks.threads import peak_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peaks", type=int, default=50_000)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--share", type=float, default=0.05, help="of the peaks are open in a cell")
    parser.add_argument("--draws", type=int, default=100)
    args = parser.parse_args()
    from anndata import AnnData  # of the extra single-cell

    rng = np.random.default_rng(0)
    start = np.arange(args.peaks) * 1000
    names = pd.Index([f"chr1:{first}-{first + 500}" for first in start], dtype=object)
    obs = pd.DataFrame({"chrom": "chr1", "start": start, "end": start + 500, "readable": 500}, index=names)
    obs["gc"] = rng.beta(10, 10, args.peaks)
    var = pd.DataFrame({"feature": np.arange(args.features)}, index=[f"f{i}" for i in range(args.features)])
    means = random_array((args.peaks, args.features), density=0.3, format="csr", dtype=np.float32, rng=rng)
    shape = args.cells, args.peaks
    counts = random_array(shape, density=args.share, rng=rng, data_sampler=lambda size: rng.integers(1, 3, size))
    cells = pd.Index([f"cell-{i}" for i in range(args.cells)], dtype=object)
    with tempfile.TemporaryDirectory() as folder:
        matrix, atac = Path(folder, "m.h5ad"), Path(folder, "c.h5ad")
        with open_store(matrix, obs, var) as store:
            store.add(Entries(means.indptr.astype(np.int64), means.indices.astype(np.int32), *[means.data] * 3))
            store.finish(obs, var, {"format_version": FORMAT_VERSION})
        AnnData(csr_matrix(counts), pd.DataFrame(index=cells), pd.DataFrame(index=names)).write_h5ad(atac)
        begun, cpu = time.perf_counter(), time.process_time()
        cell_deviations(matrix, atac, draws=args.draws)
        wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    found = {"counts": counts.nnz, "wall_seconds": wall, "cpu_seconds": cpu, "peak_memory_GB": peak_memory() / 1e9}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
