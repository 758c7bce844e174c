"""Which features of a batch are active, on the CPU: found tile by tile, in the cache.

The pre-activations of a tile of features are compared with their bounds while they are in the cache, and only those
that exceed them go to memory. If they are more than a share of a block of rows, the batch is dense, and all its
pre-activations are stored.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.sae.encoder import keep_above
from sae_tracks.threads import ForEachSlice, Scratch
from sae_tracks.train.parallel import Processes
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.step import kernels
from sae_tracks.train.step.common import SLACK, Weights, kth_largest

ROWS = 256  # of a block: with fewer the products slow down, with more the caches overflow
TILE = 256  # features encoded at once: the second-level cache holds their pre-activations on a block


class Entries:
    """Pre-activations that exceed their bounds: block of rows by block, ascending by feature and then by row.

    Attributes
    ----------
    indptr : (blocks, d_sae + 1) int32
        Feature f owns entries ``indptr[b, f]:indptr[b, f + 1]`` of block b.
    rows : (blocks, capacity) int32
        Row numbers, counted from the start of their block.
    values : (blocks, capacity) float
    limit : int
        The most entries of a block.
    """

    def __init__(self, blocks: int, d_sae: int, share: float, spare: int, dtype: np.dtype) -> None:
        self.limit = int(share * ROWS * d_sae)
        self.indptr = np.zeros((blocks, d_sae + 1), np.int32)
        self.rows = np.empty((blocks, self.limit + spare), np.int32)
        self.values = np.empty((blocks, self.limit + spare), dtype)
        self._numbers = np.arange(max(ROWS, TILE), dtype=np.int32)

    def append(self, block: int, first: int, h: NDArray, cut: NDArray, low: NDArray) -> int:
        """Take in the tile of features that begins with `first`; returns the entries so far, -1 if the block is full.

        Parameters
        ----------
        h : (features, r)
            Pre-activations.
        cut, low : (features,), (r,)
            An entry exceeds both.
        """
        ends = self.indptr[block, first : first + len(h) + 1]
        rows, values, used = self.rows[block], self.values[block], int(ends[0])
        features, columns = self._numbers[: len(h)], self._numbers[: h.shape[1]]
        return keep_above(h, features, cut, low, columns, rows, values, used, len(values), ends[1:])

    def retain(self, block: int, least: NDArray) -> bool:
        """Drop entries below the least of their row, (r,); returns whether the rest is within the limit."""
        return kernels.retain(self.indptr[block], self.rows[block], self.values[block], least) <= self.limit

    def count(self) -> int:
        """Number of entries of all blocks."""
        return int(self.indptr[:, -1].sum())

    def all_values(self) -> NDArray:
        """(count,) values of all blocks."""
        return np.concatenate([values[: ends[-1]] for values, ends in zip(self.values, self.indptr)])


class Encoding:
    """The active features of one batch after another.

    Whether a batch is sparse depends on the batch alone, so a training that goes on from a checkpoint decides the same.
    What is known from the batch before (whether it was sparse, and how large its least value was) only saves time.

    Attributes
    ----------
    sparse : bool
        Whether the features of the last batch are in `entries`; otherwise they are in `stored`.
    entries : Entries
        For a ``jumprelu`` also those a little below their threshold, which teach it.
    least : (n,)
        Row by row, an active feature is at least this, besides being above its threshold.
    """

    def __init__(self, weights: Weights, settings: TrainSettings, rows: int, group: Processes) -> None:
        self.weights, self.settings, self.group = weights, settings, group
        self.blocks, self.dtype = -(-rows // ROWS), weights.b_enc.numpy().dtype
        spare = TILE * ROWS if settings.arch == "topk" else 0  # for a first tile of which half is positive
        self.entries = Entries(self.blocks, weights.d_sae, settings.sparse_below, spare, self.dtype)
        self.sparse, self.guess = True, -np.inf if settings.arch == "jumprelu" else 0.0
        self.least = np.zeros(rows, self.dtype)
        self.stored = weights.b_enc.new_empty(0)
        self.margin = 0.501 * settings.bandwidth * (settings.arch == "jumprelu")  # a little over half
        self._fits = np.empty(self.blocks, np.bool_)
        self._scratch = Scratch()

    def __call__(self, y: torch.Tensor, each: ForEachSlice) -> None:
        """Encode a batch.

        Parameters
        ----------
        y : (n, d_in)
            Input minus pre-bias.
        """
        self.y, self.each = y, each
        self.cut = self.weights.threshold.numpy() - self.dtype.type(self.margin)
        batchtopk = self.settings.arch == "batchtopk"
        found = self.sparse and self._all(self._find)
        if batchtopk:
            found = self._is_enough(found)
        if not found:
            self._store_all()
        if batchtopk:
            self._select_of_batch(found)
            if found:
                self.each(self._retain, len(self.y), ROWS)
        self.sparse = found or self._all(self._compact)

    def block(self, rows: slice, features: slice = slice(None)) -> torch.Tensor:
        """(features, rows) stored pre-activations of a dense batch."""
        n = min(rows.stop, len(self.y)) - rows.start
        return self.stored[rows.start // ROWS, : self.weights.d_sae * n].view(-1, n)[features]

    def _all(self, stage) -> bool:
        """Run a stage over all blocks; returns whether the entries of each are within the limit."""
        self.each(stage, len(self.y), ROWS)
        return bool(self._fits.all())

    def _tiles(self):
        return (slice(i, min(i + TILE, self.weights.d_sae)) for i in range(0, self.weights.d_sae, TILE))

    def _encode(self, rows: slice, tile: slice, h: torch.Tensor) -> None:
        """Set (features, r) `h` to the pre-activations of a tile of features on a block of rows."""
        w = self.weights
        torch.addmm(w.b_enc[tile, None], w.encoder[tile], self.y[rows].T, out=h)

    def _find(self, rows: slice) -> None:
        """Find the entries of a block without storing its other pre-activations."""
        b, k, r = rows.start // ROWS, self.settings.k, rows.stop - rows.start
        entries, topk = self.entries, self.settings.arch == "topk"
        low = np.full(r, self.guess, self.dtype)
        heaps = np.zeros((r, k), self.dtype) if topk else None
        memory = torch.from_numpy(self._scratch("h", np.empty, TILE * ROWS, self.dtype))
        at = 0
        for tile in self._tiles():
            h = memory[: (tile.stop - tile.start) * r].view(-1, r)
            self._encode(rows, tile, h)
            before, at = at, entries.append(b, tile.start, h.numpy(), self.cut[tile], low)
            self._fits[b] = at >= 0
            if at < 0:
                return
            if topk:
                kernels.keep_largest(entries.rows[b], entries.values[b], before, at, heaps, low)
        if topk:
            self.least[rows] = low
            self._retain(rows)

    def _retain(self, rows: slice) -> None:
        """Drop the entries of a block that are below the least of their row."""
        b = rows.start // ROWS
        self._fits[b] = self.entries.retain(b, self.least[rows])

    def _store_all(self) -> None:
        if not len(self.stored):
            self.stored = self.y.new_empty(self.blocks, self.weights.d_sae * ROWS)
        self.each(self._store, len(self.y), ROWS)
        if self.settings.arch == "topk":
            self.each(self._select_of_rows, len(self.y), ROWS)

    def _store(self, rows: slice) -> None:
        for tile in self._tiles():
            self._encode(rows, tile, self.block(rows, tile))

    def _compact(self, rows: slice) -> None:
        """Turn the stored pre-activations of a block into entries, if these are few enough."""
        b, low = rows.start // ROWS, np.full(rows.stop - rows.start, self.guess, self.dtype)
        if "topk" in self.settings.arch:
            least, zero = self.least[rows], self.dtype.type(0)
            low = np.where(least > 0, np.nextafter(least, zero), zero)
        for tile in self._tiles():
            at = self.entries.append(b, tile.start, self.block(rows, tile).numpy(), self.cut[tile], low)
            self._fits[b] = 0 <= at <= self.entries.limit
            if not self._fits[b]:
                return

    def _is_enough(self, found: bool) -> bool:
        """Whether the k n largest of all processes are above the guess: then they are among the entries."""
        count = torch.tensor(self.entries.count() if found else 0)
        return bool(self.group.add_up(count) >= self.settings.k * self.settings.batch_size) and found

    def _select_of_batch(self, found: bool) -> None:
        """Set the one least value of a batchtopk."""
        if found:
            values = torch.from_numpy(self.entries.all_values())
        else:
            blocks = (self.block(slice(start, start + ROWS)) for start in range(0, len(self.y), ROWS))
            values = torch.cat([h[h > 0] for h in blocks])
        least = kth_largest(values, self.settings.k * self.settings.batch_size, self.group)
        self.least[:], self.guess = least, SLACK * least

    def _select_of_rows(self, rows: slice) -> None:
        """Set the least value of each row of a topk from stored pre-activations."""
        k = min(self.settings.k, self.weights.d_sae)
        self.least[rows] = self.block(rows).topk(k, dim=0).values[-1].clamp_(min=0).numpy()
