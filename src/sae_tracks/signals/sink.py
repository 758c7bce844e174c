"""The sink that adds features and signals up, base by base and bin by bin."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sae_tracks.annotations.signal import Signal
from sae_tracks.bootstrap import Blocks
from sae_tracks.features import FeatureBlock
from sae_tracks.metrics import Halves, cutoffs_of
from sae_tracks.reading import Reading
from sae_tracks.regions import GenomicRegion
from sae_tracks.signals.bins import Bins, BinSums
from sae_tracks.signals.sums import PLACE, Sums, add_features, keep_place, levels_of
from sae_tracks.signals.survey import Survey, strata
from sae_tracks.signals.tables import Pass, Totals
from sae_tracks.source import Source
from sae_tracks.threads import in_threads

BASES, NONZEROS = 1 << 16, 1 << 24  # added at once
PARTS = 64  # of the features, for threads
ACTIVE = 0.15  # of a feature's maximum, as elsewhere


class SignalSink:
    """Sums over one read strand. Blocks come as the stream gives them, and each reading before its blocks.

    Parameters
    ----------
    source : Source
        Its SAE has the features' maxima.
    signals : sequence of Signal
        G quantities.
    halves : Halves
        The bases that choose, and those that report.
    bins : Bins
        In which means are taken.
    surveys : list of list of Survey
        From `survey`.
    """

    def __init__(
        self,
        source: Source,
        signals: Sequence[Signal],
        halves: Halves,
        bins: Bins,
        surveys: list[list[Survey]],
    ) -> None:
        self._genome, self._signals, self._halves, self._bins = source.genome, signals, halves, bins
        self._surveys, self._blocks = surveys, Blocks.of(source.regions or [])
        self._contigs = source.contigs
        maxima, d_sae = source.sae.maxima(), source.sae.d_sae
        self._scale = np.divide(1, maxima, out=np.ones_like(maxima), where=maxima > 0)
        self._cutoff = cutoffs_of(source.sae, [ACTIVE], "max")[0]
        self._mean = np.array([[one.mean for one in half] for half in surveys])
        self._expected = np.stack([one.expected for one in surveys[-1]], axis=1)  # (S, G)
        self.sums = Sums.zeros(len(surveys), d_sae, len(signals), len(self._blocks.number))
        self.bin_sums = BinSums(bins, len(signals), source.lm.d_model, d_sae)
        self._tile = np.zeros(d_sae, PLACE)
        self._pending: list[FeatureBlock] = []

    def add_reading(self, reading: Reading) -> None:
        """Add the activations of the model in bins."""
        half = self._half(reading.region, reading.readable)
        self.bin_sums.add_dimensions(reading.region, half, reading.activations)

    def add(self, block: FeatureBlock) -> None:
        """Add a block."""
        if self._pending:
            last = self._pending[-1].region
            if (last.contig, last.end) != (block.region.contig, block.region.start):
                self._flush()
        self._pending.append(block)
        if sum(len(one.region) for one in self._pending) >= BASES or self._nonzeros() >= NONZEROS:
            self._flush()

    def result(self) -> Pass:
        """What was summed so far."""
        self._flush()
        for places, best in zip(self.sums.places, self._tile):
            keep_place(places, best)
        self._tile[:] = np.zeros(1, PLACE)
        return Pass(Totals.of(self._surveys), self.sums, self.bin_sums)

    def _nonzeros(self) -> int:
        return sum(len(one.feature) for one in self._pending)

    def _half(self, region: GenomicRegion, readable: NDArray[np.bool_]) -> NDArray[np.int8]:
        half = self._halves.of(region.contig, np.arange(region.start, region.end))
        return np.where(readable, half, -1).astype(np.int8)

    def _flush(self) -> None:
        """Add the blocks that wait, which are consecutive."""
        from scipy.sparse import csr_array, vstack

        if not self._pending:
            return
        blocks, self._pending = self._pending, []
        region = GenomicRegion(blocks[0].region.contig, blocks[0].region.start, blocks[-1].region.end)
        half = self._half(region, np.concatenate([block.readable for block in blocks]))
        y = np.stack([signal.values(region) for signal in self._signals], axis=1)
        rank = np.zeros(y.shape, np.int64)
        for number, surveys in enumerate(self._surveys):
            mine = np.flatnonzero(half == number)
            for g, one in enumerate(surveys):
                rank[mine, g] = one.levels.ranks(y[mine, g])
        x = csr_array(vstack([block.to_scipy() for block in blocks]))
        self.bin_sums.add(region, half, x, y)
        columns: Any = x.tocsc()
        feature = np.repeat(np.arange(columns.shape[1]), np.diff(columns.indptr))
        levels = levels_of(columns.data * self._scale[feature])
        stratum = strata(self._genome, region)
        place, which = np.unique(np.arange(region.start, region.end) // self._blocks.size, return_inverse=True)
        block = np.array([self._blocks.number[region.contig, i] for i in place.tolist()], np.int32)[which]
        sums, contig = self.sums, self._contigs.index(region.contig)
        data = columns.indptr.astype(np.int64), columns.indices, columns.data, *levels, self._cutoff
        bases = half, y, rank, self._mean, stratum, self._expected, block, contig, region.start
        kept = sums.moments, sums.levels, sums.on, sums.above, sums.strata, sums.places, self._tile
        size = -(-len(self._tile) // PARTS)
        with in_threads() as each:
            each(lambda some: add_features(some.start, some.stop, *data, *bases, *kept), len(self._tile), size)
