"""What a signal is like on the bases that are scored, from one pass over the signal alone: ranks, mean, strata."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sae_tracks.annotations.signal import Signal
from sae_tracks.dna import codes, composition, letter_sums
from sae_tracks.genome import Genome
from sae_tracks.metrics import Halves
from sae_tracks.regions import GenomicRegion, ReadStrand
from sae_tracks.source import Source

MOST_LEVELS = 1 << 20  # distinct values that are told apart; with more, neighbours share a rank
TILE = 1 << 18  # bases read at once
AROUND = 50  # bases to either side of a base in which its GC and CpG are counted
GC_STRATA, CPG_STRATA = 10, np.array([1, 3])  # equal shares of GC; 0, 1 to 2, and more CpG
STRATA = GC_STRATA * (len(CPG_STRATA) + 1)


@dataclass(slots=True)
class Levels:
    """The distinct values of a signal and how often each occurs: what ranks follow from.

    Values are kept as integers in the same order. If there are more than `MOST_LEVELS`, the lowest bits are dropped, so
    that neighbouring values share a rank.
    """

    key: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))  # (L,) ascending
    count: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))  # (L,)
    dropped: int = 0  # bits

    def add(self, values: NDArray[np.float32]) -> None:
        """Add values, none of them NaN."""
        key, count = np.unique(_ordered(values) >> np.uint32(self.dropped), return_counts=True)
        self._join(np.concatenate([self.key, key]), np.concatenate([self.count, count]))
        while len(self.key) > MOST_LEVELS:
            self.dropped += 1
            self._join(self.key >> np.uint32(1), self.count)

    def _join(self, key: NDArray[np.uint32], count: NDArray[np.int64]) -> None:
        self.key, place = np.unique(key, return_inverse=True)
        self.count = np.zeros(len(self.key), np.int64)
        np.add.at(self.count, place, count)

    def ranks(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        """(n,) int64: twice the mean rank of each value less that of all, which is a whole number; NaN gives 0."""
        known = ~np.isnan(values)
        ranks = np.zeros(len(values), np.int64)
        ranks[known] = self._ranks()[np.searchsorted(self.key, _ordered(values[known]) >> np.uint32(self.dropped))]
        return ranks

    @property
    def squares(self) -> float:
        """The sum of the squares of all `ranks`."""
        return float((self.count * self._ranks().astype(np.float64) ** 2).sum())

    def _ranks(self) -> NDArray[np.int64]:
        return 2 * np.cumsum(self.count) - self.count - self.count.sum()


def _ordered(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Integers in the order of the values; -0 and 0 are one."""
    bits = (values + np.float32(0)).view(np.uint32)
    return np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))


@dataclass(slots=True)
class Survey:
    """A signal on the readable bases of one half, on one read strand."""

    levels: Levels = field(default_factory=Levels)
    bases: int = 0  # that have a value
    mean: float = 0.0
    squares: float = 0.0  # the sum of squared differences from the mean
    strata: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, STRATA)))  # bases, sums of values

    def add(self, values: NDArray[np.float32], stratum: NDArray[np.uint8]) -> None:
        """Add bases."""
        known = ~np.isnan(values)
        value, n = values[known], int(known.sum())
        if not n:
            return
        self.levels.add(value)
        value = value.astype(np.float64)
        mean, total = float(value.mean()), self.bases + n
        away = mean - self.mean
        self.squares += float(((value - mean) ** 2).sum()) + away**2 * self.bases * n / total
        self.mean += away * n / total
        self.bases = total
        for row, weights in enumerate((None, value)):
            self.strata[row] += np.bincount(stratum[known], weights, STRATA)

    @property
    def expected(self) -> NDArray[np.float64]:
        """(STRATA,) float64: the mean of the bases of each stratum; the mean of all if it has none."""
        bases, total = self.strata
        return np.divide(total, bases, out=np.full(STRATA, self.mean), where=bases > 0)


def survey(source: Source, signals: Sequence[Signal], halves: Halves, strand: ReadStrand) -> list[list[Survey]]:
    """Read signals on all bases that a source reads, without its model.

    The pass covers all regions, whatever shard is scored, because ranks depend on all of them.

    Returns
    -------
    list of list of Survey
        For each half of `Halves.names`, one per signal.
    """
    found = [[Survey() for _ in signals] for _ in halves.names]
    for region, readable in readable_tiles(source, strand):
        half = np.where(readable, halves.of(region.contig, np.arange(region.start, region.end)), -1)
        stratum = strata(source.genome, region)
        for i, signal in enumerate(signals):
            values = signal.values(region)
            for number, surveys in enumerate(found):
                mine = half == number
                surveys[i].add(values[mine], stratum[mine])
    return found


def readable_tiles(source: Source, strand: ReadStrand) -> Iterator[tuple[GenomicRegion, NDArray[np.bool_]]]:
    """Yield tiles of about 256 kb that the windows of a source cover, and which of their bases are readable."""
    pending: list[tuple[GenomicRegion, NDArray[np.bool_]]] = []
    for window in source.windows(strand):
        part = window.kept, source.readable(window)
        if pending and (pending[-1][0].contig, pending[-1][0].end) != (part[0].contig, part[0].start):
            yield _joined(pending)
            pending = []
        pending.append(part)
        if part[0].end - pending[0][0].start >= TILE:
            yield _joined(pending)
            pending = []
    if pending:
        yield _joined(pending)


def _joined(parts: list[tuple[GenomicRegion, NDArray[np.bool_]]]) -> tuple[GenomicRegion, NDArray[np.bool_]]:
    regions, readable = zip(*parts)
    return GenomicRegion(regions[0].contig, regions[0].start, regions[-1].end), np.concatenate(readable)


def strata(genome: Genome, region: GenomicRegion) -> NDArray[np.uint8]:
    """(n,) uint8: the stratum of each base, by the share of G and C and the number of CpG within `AROUND` bases."""
    start, end = max(region.start - AROUND, 0), min(region.end + AROUND, genome.lengths[region.contig])
    letter = codes(genome.sequence(GenomicRegion(region.contig, start, end)))
    place = np.arange(region.start, region.end) - start
    first, last = np.maximum(place - AROUND, 0), np.minimum(place + AROUND + 1, len(letter))
    known, gc, cpg = composition(letter_sums(letter), first, last)
    share = np.minimum(GC_STRATA * gc // np.maximum(known, 1), GC_STRATA - 1)
    return (share * (len(CPG_STRATA) + 1) + np.searchsorted(CPG_STRATA, cpg, side="right")).astype(np.uint8)
