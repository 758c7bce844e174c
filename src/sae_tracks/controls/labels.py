"""The instances of concepts on a tile, and the items and bases that follow from them."""

import numpy as np
from numpy.typing import NDArray

from sae_tracks.annotations import Annotation
from sae_tracks.controls.items import Items, Shape, Tile, items_of
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.intervals import Spans, merge
from sae_tracks.metrics import Labels


class TileLabels:
    """The instances, items and labelled bases of concepts on a tile, each made once."""

    def __init__(self, labels: Labels, shape: Shape, tile: Tile, letters: NDArray[np.uint8]) -> None:
        self.tile, self._letters, self._shape = tile, letters, shape
        found = labels.overlapping(tile.region)
        order = np.argsort(found["concept"].to_numpy(np.int64), kind="stable")  # stays by start within a concept
        self._rows = {name: found[name].to_numpy()[order] for name in ("Start", "End", "copies", "score")}
        concept = found["concept"].to_numpy(np.int64)[order]
        self._edges = np.searchsorted(concept, np.arange(len(labels.concepts) + 1))
        self._items: dict[int, Items] = {}

    def _some(self, concept: int, name: str) -> NDArray:
        return self._rows[name][self._edges[concept] : self._edges[concept + 1]]

    def instances(self, concept: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Starts and ends on the tile, by start; of A, C, G and T their bases."""
        if concept < len(NUCLEOTIDES):
            start = np.flatnonzero(self._letters == concept)
            return start, start + 1
        start, end = (self._some(concept, name).astype(np.int64) - self.tile.region.start for name in ("Start", "End"))
        return start, end

    def scores(self, concept: int) -> NDArray[np.float64]:
        """The scores of the instances; none of A, C, G and T."""
        return self._some(concept, "score").astype(np.float64) if concept >= len(NUCLEOTIDES) else np.empty(0)

    def items(self, concept: int) -> Items:
        """The items of a concept."""
        concept = int(concept)
        if concept not in self._items:
            start, end = self.instances(concept)
            copies = self._some(concept, "copies") if concept >= len(NUCLEOTIDES) else np.ones(len(start), np.int64)
            shape = int(self._shape.width[concept]), int(self._shape.lag[concept])
            self._items[concept] = items_of(self.tile, start, end, copies.astype(np.int64), *shape)
        return self._items[concept]

    def merged(self, concept: int) -> NDArray[np.int64]:
        """(t, 2) int64: labelled bases as disjoint intervals."""
        return merge(np.stack(self.instances(concept), axis=1))


def spans_by_class(repeats: Annotation | None) -> dict[str, dict[str, Spans]]:
    """The disjoint intervals of each class of repeats, by class and contig; classes ascend by name."""
    found: dict[str, dict[str, Spans]] = {}
    if repeats is not None:
        columns = ("Name", "Chromosome", "Start", "End")
        name, contig, start, end = (repeats.sites[column].to_numpy() for column in columns)
        for one in sorted(set(map(str, name))):
            mine = np.flatnonzero(name == one)
            places = {place: mine[contig[mine] == place] for place in set(map(str, contig[mine]))}
            found[one] = {c: merge(np.stack([start[i], end[i]], axis=1).astype(np.int64)) for c, i in places.items()}
    return found
