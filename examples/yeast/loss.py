"""Where in genes a language model predicts the next base better than the best Markov model does.

    python examples/yeast/loss.py MODEL GENOME GENES [--alias ucsc] chrXIII chrXVI

MODEL must not have been trained on the contigs named. The Markov models are counted on all other contigs. Bases that
lie in a 32-mer of those are left out. Prints a table in Markdown, with 95 % intervals from draws of 10 kb blocks.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sae_tracks import Genome
from sae_tracks.annotations import read_annotation
from sae_tracks.bootstrap import draws_of, interval
from sae_tracks.intervals import cover, merge
from sae_tracks.lm import load_causal_lm
from sae_tracks.pretrain.held_out import overlap
from sae_tracks.pretrain.loss import BLOCK, NextBaseLM, cross_entropy_per_base
from sae_tracks.pretrain.markov import MarkovModels
from sae_tracks.pretrain.windows import stretches_outside
from sae_tracks.regions import GenomicRegion, spans_by_contig

CONCEPTS = ("CDS:1", "CDS:2", "CDS:3", "CDS", "five_prime_UTR", "intron", "tRNA", "promoter:-200", "intergenic")
LEAST = 1000  # bases of a row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("genome")
    parser.add_argument("genes")
    parser.add_argument("contigs", nargs="+")
    parser.add_argument("--alias")
    options = parser.parse_args()
    genome = Genome(options.genome)
    regions = [region for region in genome.whole if region.contig in options.contigs]
    training = stretches_outside(genome, regions)
    lm = np.concatenate(cross_entropy_per_base(NextBaseLM(load_causal_lm(options.model)), genome, regions))
    markov = np.concatenate(cross_entropy_per_base(MarkovModels.trained(genome, training), genome, regions), axis=1)
    scored = np.isfinite(lm) & ~covered(spans_by_contig(overlap(genome, regions, training)[1]), regions)
    order = int(markov[:, scored].mean(axis=1).argmin())
    block = np.concatenate([np.arange(len(r)) // BLOCK + 10_000 * i for i, r in enumerate(regions)])
    print(f"| bases of | strand | number | language model | Markov, order {order} | difference (95 %) |")
    print("|---|---|---|---|---|---|")
    for concept, strand, mask in concepts(options.genes, genome, regions, options.alias):
        if (kept := mask & scored).sum() >= LEAST:
            low, high = mean_interval(lm[kept] - markov[order, kept], block[kept])
            nats, baseline = lm[kept].mean(dtype=np.float64), markov[order, kept].mean(dtype=np.float64)
            difference = f"{nats - baseline:+.4f} ({low:+.4f} to {high:+.4f})"
            print(f"| {concept} | {strand} | {kept.sum():,} | {nats:.4f} | {baseline:.4f} | {difference} |")


def concepts(
    genes: str, genome: Genome, regions: list[GenomicRegion], alias: str | None
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Yield a concept, its strand and the bases that it covers in the regions, one after the other."""
    yield "all", ".", np.ones(sum(map(len, regions)), bool)
    sites = read_annotation(genes, genome, regions, alias=alias).sites
    for concept in CONCEPTS:
        for strand in "+-.":
            rows = sites[(sites["Name"] == concept) & (sites["Strand"] == strand)]
            by_contig = rows.groupby("Chromosome", observed=True)
            spans = {name: merge(of[["Start", "End"]].to_numpy()) for name, of in by_contig}
            yield concept, strand, covered(spans, regions)


def covered(spans, regions: list[GenomicRegion]) -> NDArray[np.bool_]:
    """(n,) bool: which bases of the regions lie in spans, given by contig."""
    none = np.empty((0, 2), np.int64)
    return np.concatenate([cover(merge(spans.get(r.contig, none)), r.start, r.end) for r in regions])


def mean_interval(values: NDArray[np.float32], block: NDArray[np.int64]) -> tuple[float, float]:
    """The 95 % interval of the mean, from draws of whole blocks."""
    number = np.unique(block, return_inverse=True)[1]
    sums, bases = np.bincount(number, values), np.bincount(number)
    draws = draws_of(len(bases), 0)
    return interval(draws @ sums / np.maximum(draws @ bases, 1))


if __name__ == "__main__":
    main()
