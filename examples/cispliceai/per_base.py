"""Average precision per base of the best channel and of the best feature, on exact values instead of levels.

All readable bases of one read strand are ranked by a channel, its negative, or a feature. The labels are the bases that
a concept covers on the same strand. The channel or feature is chosen on one region and scored on another. All SAEs are
of one model and one place.

    python per_base.py genome.fa.gz sites.bed chr1:800,001-1,000,000 chr9 sae/ another/
"""

import sys
from pathlib import Path

import numpy as np
import torch
from auprc import CONTEXT, average_precision
from numpy.typing import NDArray

from sae_tracks import SAE, Genome, GenomicRegion, load_sae, read
from sae_tracks.lm import GeneLM
from sae_tracks.regions import ReadStrand
from sae_tracks.source import sae_language_model

CONCEPTS = ("acceptor", "donor", "exon", "CDS")
ROWS = 100_000  # encoded at once
STRANDS: tuple[ReadStrand, ...] = ("+", "-")


class Bases:
    """Activations of the readable bases of a region on one read strand, and which of them each concept covers."""

    def __init__(self, lm: GeneLM, genome: Genome, sites: list[list[str]], region: GenomicRegion, strand: ReadStrand):
        parts, known = [], np.zeros(len(region), bool)
        for reading in read(lm, genome, [region], read_strand=strand, context=CONTEXT):
            parts.append(reading.activations[torch.from_numpy(reading.readable)])
            first = reading.region.start - region.start
            known[first : first + len(reading.readable)] = reading.readable
        self.rows = torch.cat(parts)
        self.labels = {concept: np.zeros(len(region), bool) for concept in CONCEPTS}
        for contig, start, end, concept, _, site_strand in sites:
            if contig == region.contig and site_strand == strand and int(end) > region.start:
                self.labels[concept][max(int(start) - region.start, 0) : int(end) - region.start] = True
        self.labels = {concept: covered[known] for concept, covered in self.labels.items()}

    def channels(self) -> NDArray[np.float32]:
        """(n, 2 d): the channels, and their negatives."""
        return torch.cat([self.rows, -self.rows], 1).numpy()

    def features(self, sae: SAE) -> NDArray[np.float32]:
        """(n, d_sae)."""
        return torch.cat([sae.encode(rows) for rows in self.rows.split(ROWS)]).numpy()


def best(select: NDArray, report: NDArray, chosen_by: NDArray[np.bool_], scored_by: NDArray[np.bool_]) -> str:
    """The column with the highest average precision on the select region, and its value on the report region."""
    values = [average_precision(column, chosen_by) for column in select.T]
    column = int(np.argmax(values))
    return f"{column}\t{values[column]:.3f}\t{average_precision(report[:, column], scored_by):.3f}"


@torch.inference_mode()
def main(fasta: str, bed: str, select: str, report: str, *folders: str) -> None:
    genome, saes = Genome(fasta), {folder: load_sae(folder) for folder in folders}
    sites = [line.split("\t") for line in Path(bed).read_text().splitlines()]
    sys.stdout.write("what\tconcept\tstrand\tcolumn\tAP select\tAP report\n")
    lm = sae_language_model(next(iter(saes.values())))
    for strand in STRANDS:
        two = [Bases(lm, genome, sites, genome.region(where), strand) for where in (select, report)]
        for name in ("channel", *saes):
            select_on, report_on = (b.channels() if name == "channel" else b.features(saes[name]) for b in two)
            for concept in CONCEPTS:
                found = best(select_on, report_on, two[0].labels[concept], two[1].labels[concept])
                sys.stdout.write(f"{name}\t{concept}\t{strand}\t{found}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
