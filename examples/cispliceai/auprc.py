"""How well a splice network itself finds splice sites of coding transcripts: area under the precision-recall curve.

Every readable base of a region is an example on each strand. Sites are ranked by the network's probability of their
class among the bases of both strands, which gives one number for acceptors and one for donors.

    python auprc.py cispliceai:1 hg38.fa gencode.gtf.gz chr1:800,001-1,000,000
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sites import read_sites

from sae_tracks import Genome, load_lm
from sae_tracks.dna import readable_bases, reverse_complement
from sae_tracks.lm.outputs import OffersOutputs, read_outputs
from sae_tracks.reading import plan_windows, window_layout
from sae_tracks.regions import GenomicRegion, ReadStrand

CONTEXT = 10_000
CLASSES = ("acceptor", "donor")


def average_precision(score: NDArray[np.float64], label: NDArray[np.bool_]) -> float:
    """Sum of precision times the step of recall, over the scores in descending order; equal scores are one step."""
    order = np.argsort(-score, kind="stable")
    hits, ends = np.cumsum(label[order]), np.flatnonzero(np.diff(score[order], append=-np.inf))
    steps = np.diff(hits[ends], prepend=0) / label.sum()
    return float((steps * hits[ends] / (ends + 1)).sum())


def probabilities(lm: OffersOutputs, genome: Genome, region: GenomicRegion, strand: ReadStrand) -> NDArray[np.float64]:
    """(n, k) probabilities of every base of a region in forward order; NaN where it cannot be read."""
    out = np.full((len(region), len(lm.output_names)), np.nan)
    layout = window_layout(lm, None, CONTEXT)
    for window in plan_windows(genome, [region], layout=layout, read_strand=strand):
        sequence = genome.sequence(window.fed)
        found = read_outputs(lm, sequence if strand == "+" else reverse_complement(sequence)).exp().numpy()
        found = found if strand == "+" else found[::-1]
        kept = found[window.kept.start - window.fed.start : window.kept.end - window.fed.start]
        out[window.kept.start - region.start : window.kept.end - region.start] = kept
    out[~readable_bases(genome.sequence(region))] = np.nan
    return out


def main(model: str, fasta: str, gtf: str, where: str) -> None:
    lm, genome = load_lm(model, 1), Genome(fasta)
    if not isinstance(lm, OffersOutputs):
        sys.exit(f"{model} offers no outputs")
    region = genome.region(where)
    strands: tuple[ReadStrand, ...] = "+", "-"
    scores = np.concatenate([probabilities(lm, genome, region, strand) for strand in strands])
    labels: dict[str, NDArray[np.bool_]] = dict(
        zip(CLASSES, np.zeros((len(CLASSES), 2, len(region)), bool), strict=True)
    )
    for contig, position, kind, strand in read_sites(Path(gtf)):
        if contig == region.contig and region.start <= position < region.end:
            labels[kind]["+-".index(strand), position - region.start] = True
    known = ~np.isnan(scores[:, 0])
    for kind in CLASSES:
        value = average_precision(scores[known, lm.output_names.index(kind)], labels[kind].ravel()[known])
        sys.stdout.write(f"{model}\t{region}\t{kind}\t{labels[kind].sum()} sites\tAUPRC {value:.4f}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
