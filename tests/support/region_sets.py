"""Region sets of drawn regions, without a file."""

import numpy as np
import pandas as pd

from sae_tracks.annotations.sites import constant
from sae_tracks.genome import ContigLengths
from sae_tracks.region_sets.regions import RegionSet, region_set


def as_set(regions, lengths, names=None) -> RegionSet:
    """The regions as rows of a file ``drawn.bed``."""
    rows = [(r.contig, r.start, r.end) for r in regions]
    table = pd.DataFrame(rows, columns=["Chromosome", "Start", "End"]).astype({"Chromosome": "category"})
    table = table.assign(Name=names or [""] * len(rows), Strand=constant(".", len(rows)), Row=np.arange(len(rows)))
    return region_set(table, ContigLengths("drawn.fa", lengths), "drawn.bed")
