"""The strongest examples of a feature: the places of the genome where it is most active, with their sequence."""

from typing import TYPE_CHECKING

import numpy as np

from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import GenomicRegion
from sae_tracks.tracks.loci import HighestBases

if TYPE_CHECKING:
    import pandas as pd

    from sae_tracks.source import Source


def top_examples(source: "Source", feature: int, n: int = 20, *, flank: int = 50) -> "pd.DataFrame":
    """Find the highest non-overlapping places of a feature, in one pass over the genome.

    The first place is around the base with the largest activation; each further one is around the highest base whose
    place overlaps none before, on either read strand. Of equal activations the first in the stream comes first.
    Memory does not grow with the genome.

    Parameters
    ----------
    source : Source
        Model, SAE, genome and regions.
    feature : int
        Feature id.
    n : int
        Number of places, 1 or more; fewer are found if the feature is active in fewer.
    flank : int
        Bases on either side of the peak, 0 or more. Places are cut at the ends of contigs.

    Returns
    -------
    DataFrame
        One row per place, the highest first: ``contig``, ``start``, ``end`` (0-based half-open, forward strand),
        ``peak`` (0-based position of the highest base), ``read_strand``, ``value`` (the activation there, float32) and
        ``sequence`` (of the forward strand, upper case).

    Raises
    ------
    SaeTracksError
        The feature is not in the SAE, `n` is less than 1, or `flank` is negative.

    Examples
    --------
    >>> top_examples(source, 357, n=3)[["contig", "start", "end", "value"]]
    """
    import pandas as pd

    if n < 1 or flank < 0:
        raise SaeTracksError(f"n is at least 1 and flank at least 0, not {n} and {flank}")
    source.sae.check_features([feature])
    contigs, strands = list(source.genome.lengths), list(source.read_strands)
    number = {name: i for i, name in enumerate(contigs)}
    highest = HighestBases(n, 2 * flank + 1, len(strands))
    for block in source.blocks([feature]):
        mine = np.flatnonzero(block.feature == feature)
        position = block.region.start + np.searchsorted(block.indptr, mine, side="right") - 1
        highest.add(position, block.value[mine], number[block.region.contig], strands.index(block.read_strand))
    rows = []
    for strand, contig, peak, value in highest.best().tolist():
        name = contigs[contig]
        place = GenomicRegion(name, max(peak - flank, 0), min(peak + flank + 1, source.genome.lengths[name]))
        sequence = source.genome.sequence(place).decode()
        rows.append((name, place.start, place.end, peak, strands[strand], value, sequence))
    columns = ["contig", "start", "end", "peak", "read_strand", "value", "sequence"]
    return pd.DataFrame(rows, columns=columns).astype({"value": np.float32})
