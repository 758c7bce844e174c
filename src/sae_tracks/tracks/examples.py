"""The strongest examples of a feature: the places of the genome where it is most active, with their sequence."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import GenomicRegion

if TYPE_CHECKING:
    import pandas as pd

    from sae_tracks.features import FeatureBlock
    from sae_tracks.source import Source

HELD = 1 << 20  # active bases in memory before those that cannot be examples are dropped
BASE = np.dtype([("strand", np.int8), ("contig", np.int32), ("position", np.int64), ("value", np.float32)])


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
    candidates = _Candidates(source, feature, n, 2 * flank + 1)
    for block in source.blocks([feature]):
        candidates.add(block)
    rows = []
    for strand, contig, peak, value in candidates.best():
        name = candidates.contigs[contig]
        place = GenomicRegion(name, max(peak - flank, 0), min(peak + flank + 1, source.genome.lengths[name]))
        where = (name, place.start, place.end, peak, source.read_strands[strand])
        rows.append((*where, np.float32(value), source.genome.sequence(place).decode()))
    columns = ["contig", "start", "end", "peak", "read_strand", "value", "sequence"]
    return pd.DataFrame(rows, columns=columns).astype({"value": np.float32})


class _Candidates:
    """The active bases among which the `n` highest places must be.

    A place of some width touches at most three tiles of that width per read strand. So the places lie in the tiles with
    the 3 x n x strands largest maxima, and the bases of all other tiles can be dropped.
    """

    def __init__(self, source: "Source", feature: int, n: int, width: int) -> None:
        self.contigs, self.strands = list(source.genome.lengths), list(source.read_strands)
        self._index = {name: i for i, name in enumerate(self.contigs)}
        self._feature, self._n, self._width = feature, n, width
        self._held, self._count = [np.empty(0, BASE)], 0

    def add(self, block: "FeatureBlock") -> None:
        """Take the active bases of the next block."""
        mine = np.flatnonzero(block.feature == self._feature)
        found = np.empty(len(mine), BASE)
        found["strand"], found["contig"] = self.strands.index(block.read_strand), self._index[block.region.contig]
        found["position"] = block.region.start + np.searchsorted(block.indptr, mine, side="right") - 1
        found["value"] = block.value[mine]
        self._held.append(found)
        self._count += len(found)
        if self._count > HELD:
            self._drop()

    def best(self) -> list[tuple[int, int, int, float]]:
        """Read strand and contig (their numbers), peak and value of the highest places that do not overlap."""
        self._drop()
        bases = self._held[0]
        chosen: list[tuple[int, int, int, float]] = []
        for strand, contig, position, value in bases[np.argsort(-bases["value"], kind="stable")].tolist():
            if len(chosen) == self._n:
                break
            if all(contig != other[1] or abs(position - other[2]) >= self._width for other in chosen):
                chosen.append((strand, contig, position, value))
        return chosen

    def _drop(self) -> None:
        """Keep the bases of the tiles with the largest maxima, and of the last tile, which may be incomplete."""
        bases = np.concatenate(self._held)
        if len(bases):
            first = _first_of_tiles(bases, self._width)
            maxima = np.maximum.reduceat(bases["value"], first)
            kept = np.zeros(len(first), bool)
            kept[np.argsort(-maxima, kind="stable")[: 3 * self._n * len(self.strands)]] = True
            kept[-1] = True
            bases = bases[np.repeat(kept, np.diff(np.append(first, len(bases))))]
        self._held, self._count = [bases], 0


def _first_of_tiles(bases: NDArray, width: int) -> NDArray[np.int64]:
    """Index of the first base of every tile; bases come as the stream gives them."""
    tile = bases["position"] // width
    new = np.diff(tile) != 0
    for name in ("strand", "contig"):
        new |= np.diff(bases[name]) != 0
    return np.concatenate(([0], np.flatnonzero(new) + 1))
