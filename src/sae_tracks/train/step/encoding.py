"""Which features of a batch are active, on the CPU: found tile by tile, in the cache.

The pre-activations of a tile of features are compared with their bounds where they are, and only what exceeds them goes
to memory. Where that is more than a share of a block of rows, the batch is dense, and its pre-activations are stored.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.threads import Each, Scratch
from sae_tracks.train.parallel import Processes
from sae_tracks.train.presets import TrainSettings
from sae_tracks.train.step import kernels
from sae_tracks.train.step.entries import Entries
from sae_tracks.train.step.product import multiply, pack, panels
from sae_tracks.train.step.select import SLACK, kth_largest
from sae_tracks.train.step.weights import Weights

ROWS = 256  # of a block: with fewer the products slow down, with more the caches overflow
TILE = 252  # features encoded at once, whole strips of `product.HELD`: the second-level cache holds what comes of them


class Encoding:
    """The active features of one batch after another.

    Whether a batch is sparse depends on the batch alone: a training that goes on from a checkpoint decides the same.
    What is known from the batch before, whether it was sparse and how large its least value was, only saves time.

    Attributes
    ----------
    sparse : bool
        Whether the features of the last batch are in `entries`; they are in `stored` otherwise.
    entries : Entries
        Of a ``jumprelu`` also those a little below their threshold, which teach it.
    least : (n,)
        An active feature is at least this, row by row, besides being above its threshold.
    """

    def __init__(self, weights: Weights, settings: TrainSettings, rows: int, group: Processes) -> None:
        self.weights, self.settings, self.group = weights, settings, group
        self.blocks, self.dtype = -(-rows // ROWS), weights.b_enc.numpy().dtype
        spare = TILE * ROWS if settings.arch == "topk" else 0  # for a first tile of which half is positive
        self.entries = Entries(self.blocks, ROWS, weights.d_sae, settings.sparse_below, spare, self.dtype)
        self.sparse, self.guess = True, 0.0
        self.least = np.zeros(rows, self.dtype)
        self.stored = weights.b_enc.new_empty(0)
        self.margin = 0.501 * settings.bandwidth * (settings.arch == "jumprelu")  # a little over half
        self._fits = np.empty(self.blocks, np.bool_)
        self._scratch = Scratch()

    def __call__(self, y: torch.Tensor, each: Each) -> None:
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

    def block(self, rows: slice, features: slice) -> torch.Tensor:
        """(features, rows) stored pre-activations of a dense batch, without bias."""
        n = min(rows.stop, len(self.y)) - rows.start
        return self.stored[rows.start // ROWS, : self.weights.d_sae * n].view(-1, n)[features]

    def _all(self, stage) -> bool:
        """Run a stage over all blocks; whether the entries of each are within the limit."""
        self.each(stage, len(self.y), ROWS)
        return bool(self._fits.all())

    def _tiles(self):
        return (slice(i, min(i + TILE, self.weights.d_sae)) for i in range(0, self.weights.d_sae, TILE))

    def _find(self, rows: slice) -> None:
        """The entries of a block, without a trace of the rest."""
        b, bias, k = rows.start // ROWS, self.weights.b_enc.numpy(), self.settings.k
        entries, topk = self.entries, self.settings.arch == "topk"
        low = np.full(rows.stop - rows.start, self.guess, self.dtype)
        heaps = np.zeros((len(low), k), self.dtype) if topk else None
        at, encoder, y = 0, self.weights.encoder.numpy(), self._packed(rows)
        memory = self._scratch("h", np.empty, TILE * ROWS, self.dtype)
        for tile in self._tiles():
            h = memory[: (tile.stop - tile.start) * len(low)].reshape(-1, len(low))
            multiply(encoder[tile], y, h, False)
            before, at = at, entries.append(b, tile.start, h, bias[tile], self.cut[tile], low)
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
        encoder, y = self.weights.encoder.numpy(), self._packed(rows)
        for tile in self._tiles():
            multiply(encoder[tile], y, self.block(rows, tile).numpy(), False)

    def _compact(self, rows: slice) -> None:
        """Turn the stored pre-activations of a block into entries, if these are few enough."""
        b, bias, least = rows.start // ROWS, self.weights.b_enc.numpy(), self.least[rows]
        low = np.where(least > 0, np.nextafter(least, self.dtype.type(0)), self.dtype.type(0))
        for tile in self._tiles():
            h = self.block(rows, tile).numpy()
            at = self.entries.append(b, tile.start, h, bias[tile], self.cut[tile], low)
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
            blocks = (self._with_bias(slice(start, start + ROWS)) for start in range(0, len(self.y), ROWS))
            values = torch.cat([h[h > 0] for h in blocks])
        least = kth_largest(values, self.settings.k * self.settings.batch_size, self.group)
        self.least[:], self.guess = least, SLACK * least

    def _select_of_rows(self, rows: slice) -> None:
        """Set the least value of each row of a topk from stored pre-activations."""
        k = min(self.settings.k, self.weights.d_sae)
        self.least[rows] = self._with_bias(rows).topk(k, dim=0).values[-1].clamp_(min=0).numpy()

    def _with_bias(self, rows: slice) -> torch.Tensor:
        return self.block(rows, slice(None)) + self.weights.b_enc[:, None]

    def _packed(self, rows: slice) -> NDArray:
        """A block of y as the right matrix of the encoder's products, in this thread's memory."""
        y = self._scratch("y", panels, self.weights.d_in, ROWS, self.dtype)
        pack(self.y[rows].numpy().T, y)
        return y
