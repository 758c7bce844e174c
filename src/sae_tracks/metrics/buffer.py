"""The bases that the counter takes at once: where they lie, and which are counted."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sae_tracks.dna import NUCLEOTIDES, codes
from sae_tracks.metrics.evaluation import Evaluation
from sae_tracks.metrics.open_instances import OpenInstances, Place
from sae_tracks.regions import GenomicRegion

if TYPE_CHECKING:
    from sae_tracks.features import FeatureBlock


@dataclass(frozen=True, slots=True)
class Buffer:
    """Blocks of one read strand, one behind the other, ascending: n bases.

    Attributes
    ----------
    regions : list of GenomicRegion
        Of the blocks.
    edges : (blocks + 1,) int64
        Block i holds bases ``edges[i]:edges[i + 1]`` of the buffer.
    half : (n,) int8
        -1 on bases that are not readable or in no half.
    letter : (n,) int8
        0 to 3 on A, C, G, T, else 4.
    """

    regions: list[GenomicRegion]
    edges: NDArray[np.int64]
    half: NDArray[np.int8]
    letter: NDArray[np.int8]

    @classmethod
    def of(cls, blocks: "list[FeatureBlock]", evaluation: Evaluation) -> "Buffer":
        """From blocks, which say what is readable."""
        regions = [block.region for block in blocks]
        halves = [evaluation.halves.of(r.contig, np.arange(r.start, r.end)) for r in regions]
        readable = np.concatenate([block.readable for block in blocks])
        letter = np.concatenate([codes(evaluation.genome.sequence(region)) for region in regions])
        half = np.where(readable, np.concatenate(halves), -1).astype(np.int8)
        return cls(regions, np.cumsum([0, *map(len, regions)]), half, letter.astype(np.int8))

    def bases_of(self, block: int) -> slice:
        return slice(self.edges[block], self.edges[block + 1])

    def letters_by_half(self, halves: int) -> NDArray[np.int64]:
        """(H, 4) int64: counted bases."""
        counted = self.half >= 0
        place = self.half[counted].astype(np.int64) * len(NUCLEOTIDES) + self.letter[counted]
        return np.bincount(place, minlength=halves * len(NUCLEOTIDES)).reshape(halves, -1)

    def spans(self) -> Iterator[tuple[GenomicRegion, slice]]:
        """From the first to the last base on each contig, and the blocks there, which may have gaps between them."""
        start = 0
        for i, region in enumerate(self.regions):
            if i + 1 == len(self.regions) or self.regions[i + 1].contig != region.contig:
                yield GenomicRegion(region.contig, self.regions[start].start, region.end), slice(start, i + 1)
                start = i + 1

    def at(self, blocks: slice, position: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of blocks on one contig, the first base in the buffer that does not lie before a position."""
        starts = np.array([region.start for region in self.regions[blocks]])
        ends = np.array([region.end for region in self.regions[blocks]])
        block = np.maximum(np.searchsorted(starts, position, side="right") - 1, 0)
        return self.edges[blocks][block] + np.clip(position, starts[block], ends[block]) - starts[block]

    def has(self, blocks: slice, position: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of blocks on one contig, whether one of them holds a position."""
        starts = np.array([region.start for region in self.regions[blocks]])
        ends = np.array([region.end for region in self.regions[blocks]])
        block = np.searchsorted(starts, position, side="right") - 1
        return (block >= 0) & (position < ends[block])

    def passed(self, strand: int, instances: OpenInstances) -> list[Place]:
        """The open instances of a read strand that count and of which no base will come after this buffer."""
        last = self.regions[-1]
        mine = [place for place, instance in instances.items() if place.strand == strand and instance.counted]
        return [place for place in mine if place.contig != last.contig or place.end <= last.end]
