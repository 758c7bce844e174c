"""The mean of a signal around the strongest places of a feature."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sae_tracks.annotations.signal import Signal
from sae_tracks.arrays import ratio
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion, ReadStrand

REACH = 500  # bases to either side
USED = 100  # strongest places


def profile(
    signal: Signal, genome: Genome, contigs: Sequence[str], places: NDArray, strand: ReadStrand
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The mean of a signal at each offset from places.

    Parameters
    ----------
    signal : Signal
        The quantity.
    genome : Genome
        Offsets outside of a contig have no value.
    contigs : sequence of str
        Names of the contigs of places.
    places : (n,) `sums.PLACE`
        The strongest first; those of value 0 are left out, and so are all after the first 100.
    strand : "+" or "-"
        Direction in which the model read. Offsets count in this direction.

    Returns
    -------
    mean : (1001,) float64
        At offsets -500 to 500; NaN where no place has a value.
    known : (1001,) int64
        Number of places with a value.
    """
    total, known = np.zeros(2 * REACH + 1), np.zeros(2 * REACH + 1, np.int64)
    for place in places[places["value"] > 0][:USED]:
        contig, middle = contigs[int(place["contig"])], int(place["position"])
        region = GenomicRegion(contig, max(middle - REACH, 0), min(middle + REACH + 1, genome.lengths[contig]))
        values = np.full(2 * REACH + 1, np.nan)
        first = region.start - middle + REACH
        values[first : first + len(region)] = signal.values(region)
        values = values if strand == "+" else values[::-1]
        there = ~np.isnan(values)
        total[there] += values[there]
        known += there
    return ratio(total, known), known
