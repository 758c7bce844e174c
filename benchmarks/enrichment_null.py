"""How often `enrich` finds a difference where there is none.

Sets drawn at random, or real sets moved along their chromosomes as they are, are compared with matched regions.

    python benchmarks/enrichment_null.py SAE GENOME MODEL [--genes genes.gtf] [--sets a.bed b.bed ...] [--n 20]
"""

import argparse

import numpy as np
import pandas as pd

from sae_tracks import Genome, Source, load_lm, load_sae
from sae_tracks.region_sets.comparison import with_matched
from sae_tracks.region_sets.enrich import enrich
from sae_tracks.region_sets.matched import PLACE, landscape, match_regions
from sae_tracks.region_sets.regions import RegionSet, read_region_set, region_set

ACTIVE = 30  # regions, with which intervals are looked at


def drawn(genome: Genome, rng: np.random.Generator, number: int) -> RegionSet:
    """50 to 400 regions anywhere: of 100, 200 or 500 bases each, or of 50 to 1,000."""
    n = int(rng.integers(50, 400))
    width = rng.integers(50, 1000, n) if number % 4 == 3 else np.full(n, rng.choice([100, 200, 500]))
    lengths = np.array(list(genome.lengths.values()))
    contig = rng.choice(len(lengths), n, p=lengths / lengths.sum())
    start = (rng.random(n) * (lengths[contig] - width)).astype(np.int64)
    spans = zip(np.array(list(genome.lengths))[contig], start, start + width)
    return made(genome, list(spans), f"drawn-{number}")


def moved(genome: Genome, rng: np.random.Generator, number: int, regions: RegionSet) -> RegionSet:
    """The regions on the circle of their contig, each contig turned by an offset."""
    spans = []
    for contig, rows in regions.table.groupby("Chromosome", observed=True):
        length = genome.lengths[str(contig)]
        start = (rows["Start"] + int(rng.integers(5000, length - 5000))) % length
        end = start + rows["End"] - rows["Start"]
        spans += [(contig, s, e) for s, e in zip(start, end) if e <= length]
    return made(genome, spans, f"moved-{number}")


def made(genome: Genome, spans: list, name: str) -> RegionSet:
    table = pd.DataFrame(spans, columns=PLACE)
    return region_set(table.assign(Name="", Strand=".", Row=np.arange(len(table))), genome, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sae")
    parser.add_argument("genome")
    parser.add_argument("model")
    parser.add_argument("--genes")
    parser.add_argument("--sets", nargs="*", default=[])
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    genome, rng = Genome(given.genome), np.random.default_rng(given.seed)
    if given.sets:
        real = [read_region_set(path, genome, alias="ucsc") for path in given.sets]
        sets = [moved(genome, rng, i, real[i % len(real)]) for i in range(given.n)]
    else:
        sets = [drawn(genome, rng, i) for i in range(given.n)]
    land = landscape(genome, genes=given.genes)
    matched = [match_regions(one, land, seed=i) for i, one in enumerate(sets)]
    source = Source(load_lm(given.model), load_sae(given.sae), genome)
    table = enrich(source, with_matched(matched, genome))
    p, q = (table[name].dropna() for name in ("p", "q"))
    some = table[(table["support"] + table["b"] >= ACTIVE) & table["fold_low"].notna()]
    fold = ((some["fold_low"] <= 1) & (some["fold_high"] >= 1)).mean()
    auroc = ((some["auroc_low"] <= 0.5) & (some["auroc_high"] >= 0.5)).mean()
    print(f"{len(sets)} sets of {min(map(len, sets))} to {max(map(len, sets))} regions, {len(p):,} tests")
    print("p below", ", ".join(f"{cut}: {100 * (p < cut).mean():.2f} %" for cut in (0.05, 0.01, 0.001)))
    print(f"q below .05: {(q < 0.05).sum()}, in {table.loc[table['q'] < 0.05, 'set'].nunique()} sets")
    print(f"intervals hold no difference: fold {100 * fold:.1f} %, AUROC {100 * auroc:.1f} %")


if __name__ == "__main__":
    main()
