"""Two halves of the genome: one to choose a feature and a threshold on, one to report on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.intervals import NO_SPANS, hold
from sae_tracks.regions import GenomicRegion, spans_by_contig, subtract_regions

LARGE = 10_000_000  # bases of the regions from which on blocks are 1 Mb
MARGIN = 32_000  # bases on either side of a border between such blocks that are in no half
TILE = 1_000_000  # bases handled at once


@dataclass(frozen=True, slots=True)
class Halves:
    """The bases that choose and those that report: alternate blocks of every contig, or regions that were named.

    Blocks of `size` bases count from the first base of the contig: even ones are the ``select`` half, odd ones the
    ``report`` half. Without `size` and `named` there is no split, and all bases serve for both.
    """

    size: int | None = None
    margin: int = 0  # bases on either side of a border between blocks that are in no half; at most half a block
    named: tuple[list[GenomicRegion], list[GenomicRegion]] | None = None  # the two halves, each disjoint and ascending

    def record(self) -> list[Any]:
        """The halves as JSON, for `again`."""
        named = self.named and [[[r.contig, r.start, r.end] for r in half] for half in self.named]
        return [self.size, self.margin, named]

    @classmethod
    def again(cls, record: Sequence[Any]) -> "Halves":
        """The halves of a `record`."""
        size, margin, named = record
        spans = [[GenomicRegion(*one) for one in half] for half in named or ()]
        return cls(size, margin, (spans[0], spans[1]) if spans else None)

    @property
    def names(self) -> tuple[str, ...]:
        return ("select", "report") if self.size or self.named else ("all",)

    def of(self, contig: str, position: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index into `names` of positions on a contig, 0-based, of any shape; -1 if in no half."""
        if self.named:
            first, second = (hold(spans_by_contig(half).get(contig, NO_SPANS), position) for half in self.named)
            return np.where(first, 0, np.where(second, 1, -1))
        if not self.size:
            return np.zeros_like(position)
        before, after = np.maximum(position - self.margin, 0) // self.size, (position + self.margin) // self.size
        return np.where(before == after, position // self.size % 2, -1)

    def tiles(self, region: GenomicRegion) -> Iterator[tuple[GenomicRegion, int]]:
        """Cut a region at the borders of the halves into ascending tiles, and give the half of each.

        No tile is longer than 1 Mb. Bases in no half have no tile.
        """
        edges = {region.end, *range(region.start, region.end, TILE)}
        if self.named:
            edges |= {
                edge for half in self.named for r in half if r.contig == region.contig for edge in (r.start, r.end)
            }
        elif self.size:
            nearest = max(region.start // self.size, 1) * self.size
            borders = range(nearest, region.end + self.size, self.size)
            edges |= {edge for border in borders for edge in (border - self.margin, border + self.margin)}
        inside = sorted(edge for edge in edges if region.start <= edge <= region.end)
        for start, end in zip(inside, inside[1:]):
            half = int(self.of(region.contig, np.array(start)))
            if half >= 0:
                yield GenomicRegion(region.contig, start, end), half


def split_halves(
    regions: Iterable[GenomicRegion],
    *,
    split: bool = True,
    select: Sequence[GenomicRegion] = (),
    report: Sequence[GenomicRegion] = (),
) -> Halves:
    """Split disjoint regions into two halves, or none without `split`; raise an error if one is empty.

    If the regions have 10 Mb or more, blocks of 1 Mb alternate, with 64 kb in no half around every border. Else blocks
    of 100 kb alternate without gaps. `select` and `report` are the halves themselves, each disjoint and ascending. If
    only one is given, the other is the rest of the regions; a base in both is an error.
    """
    regions = list(regions)
    if not split:
        if select or report:
            raise SaeTracksError("--no-split has one half: leave out --select-on and --report-on")
        return Halves()
    if select or report:
        return _named_halves(regions, list(select), list(report))
    total = sum(len(region) for region in regions)
    halves = Halves(1_000_000, MARGIN) if total >= LARGE else Halves(100_000)
    if len({half for region in regions for _, half in halves.tiles(region)}) < 2:
        raise SaeTracksError(
            f"the regions, {total:,} bases, lie in one half (alternate blocks of {halves.size:,} bases), so nothing "
            "is left to choose or to report on: give longer regions, --select-on, or --no-split"
        )
    return halves


def _named_halves(regions: list[GenomicRegion], select: list[GenomicRegion], report: list[GenomicRegion]) -> Halves:
    for one, next_one in pairwise(sorted([*select, *report])):
        if both := one.overlap(next_one):
            raise SaeTracksError(f"{both} is in --select-on and in --report-on: no base can choose and report")
    halves = Halves(named=(select or subtract_regions(regions, report), report or subtract_regions(regions, select)))
    found = {half for region in regions for _, half in halves.tiles(region)}
    for half, name in enumerate(("--select-on", "--report-on")):
        if half not in found:
            raise SaeTracksError(f"no base of the regions is left for {name}: are its regions inside of those of -r?")
    return halves
