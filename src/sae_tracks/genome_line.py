"""All contigs of a genome on one line, one after the other.

A position on the line is where its contig begins, plus the 0-based position in it. The gap behind each contig keeps
intervals of two contigs from touching, so what works on intervals need not know about contigs.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sae_tracks.intervals import Spans, as_spans
from sae_tracks.regions import GenomicRegion

if TYPE_CHECKING:
    import pandas as pd


class GenomeLine:
    """Where each contig lies on the line.

    Parameters
    ----------
    lengths : mapping of str to int
        Lengths of the C contigs in bases, in the order of the FASTA.
    apart : int
        Each contig begins at a multiple of it, and has a gap of at least as many positions behind.

    Attributes
    ----------
    starts : dict of str to int
        Where each contig begins.
    offsets : (C + 1,) int64
        The same as an array, and the end of the line.
    """

    def __init__(self, lengths: Mapping[str, int], apart: int = 1) -> None:
        self.lengths, self.names, self.apart = dict(lengths), list(lengths), apart
        self.offsets = np.cumsum([0, *((-(-length // apart) + 1) * apart for length in lengths.values())])
        self.starts: dict[str, int] = dict(zip(self.names, self.offsets.tolist()))

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def place(self, region: GenomicRegion) -> int:
        """The position of a region's first base."""
        return self.starts[region.contig] + region.start

    def spans(self, regions: Iterable[GenomicRegion]) -> Spans:
        """(n, 2) int64: regions on the line, in the order given."""
        return as_spans([(self.place(region), self.place(region) + len(region)) for region in regions])

    def rows(self, table: "pd.DataFrame") -> Spans:
        """(n, 2) int64: rows with ``Chromosome``, ``Start`` and ``End`` on the line."""
        contig = table["Chromosome"].astype("category").cat
        start = np.array([self.starts[name] for name in contig.categories], np.int64)[contig.codes.to_numpy()]
        return table[["Start", "End"]].to_numpy(np.int64) + start[:, None]

    def contigs(self, positions: ArrayLike) -> NDArray[np.int64]:
        """(n,) int64: the number of the contig of each position; the gap belongs to the contig before it."""
        return np.searchsorted(self.offsets[:-1], np.asarray(positions), side="right") - 1

    def locate(self, position: int) -> tuple[str, int]:
        """Contig and base of a position; in the gap behind a contig, the base is its length or more."""
        contig = int(self.contigs(position))
        return self.names[contig], position - int(self.offsets[contig])

    def region(self, start: int, end: int) -> GenomicRegion:
        """The region that a span of one contig is."""
        contig, base = self.locate(start)
        return GenomicRegion(contig, base, base + end - start)

    def split(self, runs: NDArray) -> Iterator[tuple[str, NDArray]]:
        """Ascending records with ``start`` and ``end``, contig by contig, with positions from its first base."""
        contig = self.contigs(runs["start"])
        edges = [0, *(np.flatnonzero(np.diff(contig)) + 1).tolist(), len(runs)]
        for first, last in zip(edges, edges[1:]):
            if first < last:
                part, offset = runs[first:last].copy(), self.offsets[contig[first]]
                part["start"] -= offset
                part["end"] -= offset
                yield self.names[contig[first]], part
