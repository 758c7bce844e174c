"""The sink that counts features against annotations."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from sae_tracks.metrics.counts import Counts
from sae_tracks.metrics.evaluation import Evaluation
from sae_tracks.metrics.labels import NUCLEOTIDES

if TYPE_CHECKING:
    from sae_tracks.features import FeatureBlock

BASES = 1 << 18  # counted at once
NONZEROS = 1 << 24  # counted at once, where features are dense
THRESHOLDS = (0.0, 0.15, 0.5, 0.6, 0.8)  # InterPLM's, of each feature's maximum


class Counter:
    """Counts, over readable bases, how often each feature is active on each concept.

    Blocks wait until there are 256 kb of them; then one sparse product, labels^T x active, counts every pair at every
    threshold. Read strands are counted apart.

    Parameters
    ----------
    evaluation : Evaluation
        Concepts and halves; which bases are counted, the blocks say.
    thresholds : (T,) float
        Ascending; how the rows of `cutoffs` are called in the tables.
    cutoffs : (T, d_sae) float32
        From `SAE.cutoffs`, ascending along T: a feature is active where its value is strictly greater.
    features : sequence of int, optional
        Feature ids to count; default all.
    read_strands : sequence of "+" and "-"
        Those that the blocks will have.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        thresholds: ArrayLike,
        cutoffs: ArrayLike,
        *,
        features: Sequence[int] | None = None,
        read_strands: Sequence[str] = ("+",),
    ) -> None:
        self._cutoffs = np.asarray(cutoffs, np.float32)
        d_sae = self._cutoffs.shape[1]
        ids = np.arange(d_sae) if features is None else np.unique(np.asarray(features, np.int64))
        self._evaluation, self._labels, self._halves = evaluation, evaluation.labels, evaluation.halves
        self._column = np.full(d_sae, -1, np.int32)
        self._column[ids] = np.arange(len(ids))
        self._counts = Counts.zeros(read_strands, self._halves.names, self._labels.concepts, thresholds, ids)
        self._pending: list[FeatureBlock] = []
        self._waiting = np.zeros(2, np.int64)  # bases and non-zeros

    def add(self, block: "FeatureBlock") -> None:
        """Take in a block; bases must not come twice in one read strand."""
        if self._pending and self._pending[0].read_strand != block.read_strand:
            self._flush()
        self._pending.append(block)
        self._waiting += np.array([len(block.region), len(block.feature)])
        if (self._waiting >= (BASES, NONZEROS)).any():
            self._flush()

    def counts(self) -> Counts:
        """The counts of all blocks so far."""
        self._flush()
        return self._counts

    def merge(self, other: "Counter") -> None:
        """Add what another counter counted on other bases."""
        self.counts().merge(other.counts())

    def save(self, path: Path) -> None:
        """Write the counts; see `Counts.save`."""
        self.counts().save(path)

    def _flush(self) -> None:
        """Count the blocks that wait, all of one read strand."""
        if not self._pending:
            return
        blocks, self._pending, self._waiting = self._pending, [], np.zeros(2, np.int64)
        counts, strand = self._counts, self._counts.read_strands.index(blocks[0].read_strand)
        half = np.concatenate([self._halves.of(np.arange(b.region.start, b.region.end)) for b in blocks])
        readable = np.concatenate([b.readable for b in blocks])
        row, base = self._rows(half, [self._labels.bases(b.region, b.readable, self._bases(b)) for b in blocks], blocks)
        first, _ = self._rows(half, [self._labels.instances(b.region, b.readable) for b in blocks], blocks)
        active = self._active(blocks)
        bins = np.repeat(half, np.diff(active.indptr)) * counts.active[strand, 0].size + active.indices
        for total, index in (
            (counts.bases[strand], half[readable]),
            (counts.labelled[strand], row),
            (counts.instances[strand], first),
            (counts.active[strand], bins),
        ):
            total += np.bincount(index, minlength=total.size).reshape(total.shape)
        counts.instances[strand, :, : len(NUCLEOTIDES)] = counts.labelled[strand, :, : len(NUCLEOTIDES)]
        shape = (counts.labelled[strand].size, len(half))
        labels = csr_array((np.ones(len(row), np.uint32), (row, base)), shape=shape)
        _add_product(labels, active, counts.tp[strand].reshape(shape[0], -1))

    def _bases(self, block: "FeatureBlock") -> bytes:
        return self._evaluation.genome.sequence(block.region)

    def _rows(self, half: NDArray[np.int64], parts: list, blocks: "list[FeatureBlock]"):
        """Rows in (H, C) flattened, and bases in the buffer, of the concepts and bases of each block."""
        offsets = np.cumsum([0, *(len(b.region) for b in blocks)])
        concept = np.concatenate([concept for concept, _ in parts])
        base = np.concatenate([base + offset for (_, base), offset in zip(parts, offsets)])
        return half[base] * len(self._labels.concepts) + concept, base

    def _active(self, blocks: "list[FeatureBlock]") -> csr_array:
        """(n, T x K) uint32, 1 in the bin of every activation that exceeds the lowest cutoff."""
        feature = np.concatenate([b.feature for b in blocks])
        value = np.concatenate([b.value for b in blocks])
        width = np.concatenate([np.diff(b.indptr) for b in blocks])
        column = self._column[feature]
        exceeded = np.zeros(len(feature), np.int8)
        for cutoffs in self._cutoffs:
            exceeded += value > cutoffs[feature]
        counted = (exceeded > 0) & (column >= 0)
        indptr = np.concatenate(([0], np.cumsum(counted)))[np.concatenate(([0], np.cumsum(width)))]
        indices = (exceeded[counted] - np.int32(1)) * np.int32(len(self._counts.features)) + column[counted]
        shape = (len(width), self._counts.active[0, 0].size)
        return csr_array((np.ones(len(indices), np.uint32), indices, indptr), shape=shape)


def _add_product(labels: csr_array, active: csr_array, total: NDArray[np.uint32]) -> None:
    """Add labels x active, which is sparse, to a dense total."""
    product = csr_array(labels @ active)
    for row in np.flatnonzero(np.diff(product.indptr)):
        where = slice(product.indptr[row], product.indptr[row + 1])
        total[row, product.indices[where]] += product.data[where]
