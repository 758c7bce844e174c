"""Memory and CPU time of a region x feature matrix, or of enrichment, with drawn activations and no language model.

    python benchmarks/matrix.py --regions 200000 --features 8192 --out m.h5ad
    python benchmarks/matrix.py --regions 200000 --features 8192 --enrich

With ``--enrich`` every tenth region is of the set, and all of them are its universe.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sae_tracks import SAE, FeatureBlock, Genome, GenomicRegion, Source, load_lm, region_matrix
from sae_tracks.annotations.sites import constant
from sae_tracks.region_sets.comparison import in_universe
from sae_tracks.region_sets.enrich import enrich
from sae_tracks.region_sets.regions import RegionSet, region_set
from sae_tracks.threads import peak_memory

BASES = 16_384  # per block
RUN = 4  # bases that a feature stays active
DRAWN = 8  # different blocks


class DrawnSource(Source):
    """Blocks whose features are drawn, the more often the lower their number; every base has as many active ones."""

    active = 64

    def blocks(self, features=None, **_):
        rng = np.random.default_rng(0)
        share = (np.arange(self.sae.d_sae) + 10.0) ** -1
        draw = lambda n: rng.choice(self.sae.d_sae, (n, self.active), p=share / share.sum())  # noqa: E731
        drawn = [np.sort(np.repeat(draw(BASES // RUN), RUN, axis=0), axis=1).astype(np.int32) for _ in range(DRAWN)]
        values = rng.random((BASES, self.active), np.float32)
        for region in self.regions or ():
            for start in range(region.start, region.end, BASES):
                end = min(start + BASES, region.end)
                here, there = (slice(i, i + end - start) for i in rng.integers(0, BASES - (end - start) + 1, 2))
                feature, value = drawn[rng.integers(DRAWN)][here], values[there]
                first = np.ones(feature.shape, bool)  # a feature comes once per base
                first[:, 1:] = feature[:, 1:] > feature[:, :-1]
                indptr = np.concatenate(([0], np.cumsum(first.sum(1))))
                place, readable = GenomicRegion(region.contig, start, end), np.ones(end - start, bool)
                yield FeatureBlock(place, "+", readable, indptr, feature[first], value[first], self.sae.d_sae)


def written(source: Source, regions: RegionSet, out: Path) -> dict[str, float]:
    """Write the matrix."""
    report = region_matrix(source, regions, out, threshold=0.5, scale="raw")
    per_region = report.entries / report.regions
    file = out.stat().st_size / 1e9
    return {"columns": report.columns, "entries": report.entries, "entries_per_region": per_region, "file_GB": file}


def enriched(source: Source, regions: RegionSet) -> dict[str, float]:
    """Compare every tenth region with all."""
    own = replace(regions, table=regions.table.iloc[::10].reset_index(drop=True), source="own.bed")
    table = enrich(source, in_universe([own], regions), threshold=0.5, scale="raw")
    return {"rows": len(table), "q_below_0.05": int(np.count_nonzero(table["q"] < 0.05))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=200_000)
    parser.add_argument("--length", type=int, default=500, help="bases per region; as many lie between two")
    parser.add_argument("--features", type=int, default=8192)
    parser.add_argument("--active", type=int, default=64, help="active features per base")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--out", type=Path, default=Path("m.h5ad"), help="matrix to write")
    what.add_argument("--enrich", action="store_true", help="compare a set with its universe instead")
    args = parser.parse_args()
    DrawnSource.active = args.active
    step = 2 * args.length
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder, "g.fa")
        rng = np.random.default_rng(0)
        with fasta.open("wb") as file:
            file.write(b">chr1\n")
            for _ in range(args.regions):
                file.write(rng.choice(np.frombuffer(b"ACGT", np.uint8), step).tobytes())
            file.write(b"\n")
        lm = load_lm("demo")
        width = lm.d_model
        sae = SAE(torch.zeros(width, args.features), torch.zeros(args.features), torch.zeros(args.features, width),
                  torch.zeros(width))  # fmt: skip
        source = DrawnSource(lm, sae, Genome(fasta), allow_mismatch=True)
        start = np.arange(args.regions) * step
        table = pd.DataFrame({"Chromosome": constant("chr1", args.regions), "Start": start, "End": start + args.length})
        table = table.assign(Name="", Strand=constant(".", args.regions), Row=np.arange(args.regions))
        regions = region_set(table, source.genome, "drawn.bed")
        begun, cpu = time.perf_counter(), time.process_time()
        found = enriched(source, regions) if args.enrich else written(source, regions, args.out)
        wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
        reader = replace(source, regions=regions.regions())
        begun = time.process_time()
        for _ in reader.blocks():
            pass
        drawing = time.process_time() - begun
    took = {"wall_seconds": wall, "cpu_seconds": cpu, "of_them_drawing": drawing, "peak_memory_GB": peak_memory() / 1e9}
    print(json.dumps({"regions": len(regions), **found, **took}, indent=1))


if __name__ == "__main__":
    main()
