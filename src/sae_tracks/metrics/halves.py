"""Two halves of the genome: one to choose a feature and a threshold on, one to report on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import GenomicRegion

LARGE = 10_000_000  # bases of the regions from which on blocks are 1 Mb
TILE = 1_000_000  # bases handled at once where nothing is split


@dataclass(frozen=True, slots=True)
class Halves:
    """Alternate blocks of every contig, counted from its first base.

    Attributes
    ----------
    size : int or None
        Bases of a block: even blocks are the ``select`` half, odd ones the ``report`` half. None: no split, all
        bases serve for both.
    """

    size: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return ("select", "report") if self.size else ("all",)

    def of(self, position: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index into `names` of positions on a contig, 0-based, any shape."""
        return position // self.size % 2 if self.size else np.zeros_like(position)

    def tiles(self, region: GenomicRegion) -> Iterator[GenomicRegion]:
        """A region cut at the borders of the halves, ascending; no tile is longer than 1 Mb."""
        size = self.size or TILE
        edges = [region.start, *range((region.start // size + 1) * size, region.end, size), region.end]
        for start, end in zip(edges, edges[1:]):
            yield GenomicRegion(region.contig, start, end)


def halves_of(regions: Iterable[GenomicRegion], *, split: bool = True) -> Halves:
    """The halves of disjoint regions: blocks of 1 Mb where they hold 10 Mb or more, else of 100 kb.

    Raises
    ------
    SaeTracksError
        A half would be empty.
    """
    regions = list(regions)
    if not split:
        return Halves()
    total = sum(len(region) for region in regions)
    halves = Halves(1_000_000 if total >= LARGE else 100_000)
    if len({int(halves.of(np.array(tile.start))) for region in regions for tile in halves.tiles(region)}) < 2:
        raise SaeTracksError(
            f"the regions, {total:,} bases, lie in one half (alternate blocks of {halves.size:,} bases), so nothing "
            "is left to report on: give longer regions, or --no-split"
        )
    return halves
