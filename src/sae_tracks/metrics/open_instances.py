"""Instances that reach past what was seen so far: what is known of them, until the rest is seen or added."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Place(NamedTuple):
    """Which instance, and in which direction the model read."""

    strand: int
    contig: str
    start: int
    end: int
    concept: int


@dataclass(slots=True)
class OpenInstance:
    """One of them.

    Attributes
    ----------
    half : int
        Half of its first base.
    copies : int
        How many instances lie exactly there.
    counted : bool
        Whether its first base was seen and readable; without that it counts for nothing.
    levels : (K,) uint8
        1 + the highest bin of each feature on its bases seen, 0 where it was never active.
    """

    half: int
    copies: int
    counted: bool
    levels: NDArray[np.uint8]


class OpenInstances(dict[Place, OpenInstance]):
    """The instances of a counter that are open."""

    def join(self, other: "OpenInstances") -> None:
        """Add what was seen of the same and of other instances on other bases."""
        for place, theirs in other.items():
            mine = self.setdefault(place, OpenInstance(theirs.half, theirs.copies, False, np.zeros_like(theirs.levels)))
            mine.counted |= theirs.counted
            np.maximum(mine.levels, theirs.levels, out=mine.levels)

    def close(self, hits: NDArray[np.uint32], places: Iterable[Place]) -> None:
        """Take out the instances at some places; those that count are added to hits, (S, H, C, T, K)."""
        for place in list(places):
            instance = self.pop(place)
            if instance.counted:
                column = np.flatnonzero(instance.levels)
                where = hits[place.strand, instance.half, place.concept]
                where[instance.levels[column] - 1, column] += np.uint32(instance.copies)

    def levels(self, features: int) -> NDArray[np.uint8]:
        """(o, K) uint8: the levels of all, as rows of a new array."""
        return np.array([instance.levels for instance in self.values()], np.uint8).reshape(-1, features)

    def set_levels(self, levels: NDArray[np.uint8]) -> None:
        """Copy the rows of such an array back."""
        for instance, row in zip(self.values(), levels, strict=True):
            instance.levels = row.copy()

    def arrays(self) -> dict[str, NDArray]:
        """As arrays of one row an instance, to be stored; see `Counts.save`."""
        places, instances = list(self), list(self.values())
        return {
            "open_contig": np.array([place.contig for place in places], str),
            "open_place": np.array([(p.strand, p.start, p.end, p.concept) for p in places], np.int64).reshape(-1, 4),
            "open_state": np.array([(i.half, i.copies, i.counted) for i in instances], np.int64).reshape(-1, 3),
            "open_levels": np.array([i.levels for i in instances], np.uint8),
        }

    @classmethod
    def of_arrays(cls, stored: dict[str, NDArray]) -> "OpenInstances":
        """From what `arrays` gave."""
        found = cls()
        rows = zip(*(stored[f"open_{name}"] for name in ("contig", "place", "state", "levels")), strict=True)
        for contig, (strand, start, end, concept), (half, copies, counted), levels in rows:
            place = Place(int(strand), str(contig), int(start), int(end), int(concept))
            found[place] = OpenInstance(int(half), int(copies), bool(counted), levels)
        return found
