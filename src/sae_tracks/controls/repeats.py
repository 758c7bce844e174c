"""Repeats of a genome as spans: of a file, of the lower case of the FASTA, or Alu copies found by alignment."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sae_tracks.annotations import read_annotation
from sae_tracks.controls.alu import alu_sites
from sae_tracks.controls.opened import ALU
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.intervals import Spans, as_spans, merge
from sae_tracks.regions import GenomicRegion


def repeat_spans(
    genome: Genome, regions: Sequence[GenomicRegion], name: str, *, alias: str | Path | None = None
) -> dict[str, Spans]:
    """Merged repeats by contig; `name` is a file, ``softmask`` or ``alu``. An error if the regions have none."""
    found = alu_sites(genome, regions) if name == ALU else read_annotation(name, genome, regions, alias=alias).sites
    if not len(found):
        raise SaeTracksError(f"{name} has no repeat in the regions: leave --repeats out, or name another file")
    return {
        str(contig): merge(as_spans(rows[["Start", "End"]].to_numpy(np.int64)))
        for contig, rows in found.groupby("Chromosome", observed=True)
    }
