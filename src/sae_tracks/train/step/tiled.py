"""A training step on the CPU: matrix products in tiles that stay in the cache, and a backward pass over non-zeros.

The pre-activations of a tile of features are compared with their bounds while they are in the cache, and only those
that exceed them go to memory. If they are more than a share of a block of rows, the batch is dense, and all its
pre-activations are stored.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.sae.encoder import keep_above
from sae_tracks.threads import ForEachSlice, Scratch, in_threads
from sae_tracks.train.parallel import Processes
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.step import kernels
from sae_tracks.train.step.plain import LOSSES, Auxiliary, Step, StepResult, Weights, adam_terms, kth_largest, ratio

ROWS = 256  # of a block: with fewer the products slow down, with more the caches overflow
TILE = 256  # features encoded at once: the second-level cache holds their pre-activations on a block
DECODED = 2 * ROWS  # rows decoded at once
FEATURES = 2 * TILE  # features whose gradients are computed at once
SLACK = (
    0.9  # smaller values than this share of the last batch's least value are taken to be none of this batch's largest
)
Tile = tuple[NDArray, NDArray, NDArray, NDArray]  # encoder, decoder, b_enc, threshold of a tile of features


class Encoding:
    """The active features of one batch after another.

    Entries are pre-activations that exceed their bounds: block of rows by block, ascending by feature and then by row.
    For a ``jumprelu`` they include those a little below their threshold, which teach it. Whether a batch is sparse
    depends on the batch alone, so a training that goes on from a checkpoint decides the same. The batch before (whether
    it was sparse, and how large its least value was) only saves time.

    Attributes
    ----------
    indptr : (blocks, d_sae + 1) int32
        Feature f owns entries ``indptr[b, f]:indptr[b, f + 1]`` of block b.
    rows, values : (blocks, capacity) int32, float
        Row numbers of the entries, counted from the start of their block, and pre-activations.
    """

    def __init__(self, weights: Weights, settings: TrainSettings, rows: int, group: Processes) -> None:
        self.weights, self.settings, self.group = weights, settings, group
        blocks, self.dtype = -(-rows // ROWS), weights.b_enc.numpy().dtype
        self.limit = int(settings.sparse_below * ROWS * weights.d_sae)  # the most entries of a block of a sparse batch
        spare = TILE * ROWS if settings.arch == "topk" else 0  # for a first tile whose values are half positive
        self.indptr = np.zeros((blocks, weights.d_sae + 1), np.int32)
        self.rows = np.empty((blocks, self.limit + spare), np.int32)
        self.values = np.empty((blocks, self.limit + spare), self.dtype)
        self.sparse, self.guess = True, -np.inf if settings.arch == "jumprelu" else 0.0
        self.least = np.zeros(rows, self.dtype)  # an active feature is at least this, and above its threshold
        self.stored = weights.b_enc.new_empty(0)  # all pre-activations of a dense batch
        self.margin = 0.501 * settings.bandwidth * (settings.arch == "jumprelu")  # a little over half
        self._fits, self._numbers = np.empty(blocks, np.bool_), np.arange(max(ROWS, TILE), dtype=np.int32)
        self._scratch = Scratch()

    def __call__(self, y: torch.Tensor, each: ForEachSlice) -> None:
        """Encode a batch; `y`, (n, d_in), is the input minus the pre-bias."""
        self.y, self.each = y, each
        self.cut = self.weights.threshold.numpy() - self.dtype.type(self.margin)
        batchtopk = self.settings.arch == "batchtopk"
        found = self.sparse and self._all(self._find)
        if batchtopk:  # if the k n largest of all processes are above the guess, they are among the entries
            count = self.group.add_up(torch.tensor(int(self.indptr[:, -1].sum()) if found else 0))
            found = bool(count >= self.settings.k * self.settings.batch_size) and found
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

    def _all(self, stage: Callable[[slice], None]) -> bool:
        """Run a stage over all blocks; returns whether the entries of each are within the limit."""
        self.each(stage, len(self.y), ROWS)
        return bool(self._fits.all())

    def _tiles(self) -> Iterator[slice]:
        return (slice(i, min(i + TILE, self.weights.d_sae)) for i in range(0, self.weights.d_sae, TILE))

    def _encode(self, rows: slice, tile: slice, h: torch.Tensor) -> None:
        """Set (features, r) `h` to the pre-activations of a tile of features on a block of rows."""
        w = self.weights
        torch.addmm(w.b_enc[tile, None], w.encoder[tile], self.y[rows].T, out=h)

    def _append(self, block: int, tile: slice, h: torch.Tensor, low: NDArray) -> int:
        """Add the entries of a tile, (features, r) `h`; returns the entries so far, -1 if the block is full.

        An entry exceeds the cutoff of its feature and the lowest value of its row, (r,) `low`.
        """
        ends = self.indptr[block, tile.start : tile.start + len(h) + 1]
        rows, values, used = self.rows[block], self.values[block], int(ends[0])
        features, columns = self._numbers[: len(h)], self._numbers[: h.shape[1]]
        return keep_above(h.numpy(), features, self.cut[tile], low, columns, rows, values, used, len(values), ends[1:])

    def _find(self, rows: slice) -> None:
        """Find the entries of a block without storing its other pre-activations."""
        b, k, r = rows.start // ROWS, self.settings.k, rows.stop - rows.start
        topk = self.settings.arch == "topk"
        low = np.full(r, self.guess, self.dtype)
        heaps = np.zeros((r, k), self.dtype) if topk else None
        memory = torch.from_numpy(self._scratch("h", np.empty, TILE * ROWS, self.dtype))
        at = 0
        for tile in self._tiles():
            h = memory[: (tile.stop - tile.start) * r].view(-1, r)
            self._encode(rows, tile, h)
            before, at = at, self._append(b, tile, h, low)
            self._fits[b] = at >= 0
            if at < 0:
                return
            if topk:
                kernels.keep_largest(self.rows[b], self.values[b], before, at, heaps, low)
        if topk:
            self.least[rows] = low
            self._retain(rows)

    def _retain(self, rows: slice) -> None:
        """Drop the entries of a block that are below the least of their row."""
        b = rows.start // ROWS
        left = kernels.retain(self.indptr[b], self.rows[b], self.values[b], self.least[rows])
        self._fits[b] = left <= self.limit

    def _store_all(self) -> None:
        if not len(self.stored):
            self.stored = self.y.new_empty(len(self.indptr), self.weights.d_sae * ROWS)
        self.each(self._store, len(self.y), ROWS)

    def _store(self, rows: slice) -> None:
        """Store all pre-activations of a block and, for a topk, set the least value of each row."""
        for tile in self._tiles():
            self._encode(rows, tile, self.block(rows, tile))
        if self.settings.arch == "topk":
            k = min(self.settings.k, self.weights.d_sae)
            self.least[rows] = self.block(rows).topk(k, dim=0).values[-1].clamp_(min=0).numpy()

    def _compact(self, rows: slice) -> None:
        """Turn the stored pre-activations of a block into entries, if these are few enough."""
        b, low = rows.start // ROWS, np.full(rows.stop - rows.start, self.guess, self.dtype)
        if "topk" in self.settings.arch:
            least, zero = self.least[rows], self.dtype.type(0)
            low = np.where(least > 0, np.nextafter(least, zero), zero)
        for tile in self._tiles():
            self._fits[b] = 0 <= self._append(b, tile, self.block(rows, tile), low) <= self.limit
            if not self._fits[b]:
                return

    def _select_of_batch(self, found: bool) -> None:
        """Set the one least value of a batchtopk."""
        if found:
            used = zip(self.values, self.indptr[:, -1])
            values = torch.from_numpy(np.concatenate([values[:end] for values, end in used]))
        else:
            blocks = (self.block(slice(start, start + ROWS)) for start in range(0, len(self.y), ROWS))
            values = torch.cat([h[h > 0] for h in blocks])
        least = kth_largest(values, self.settings.k * self.settings.batch_size, self.group)
        self.least[:], self.guess = least, SLACK * least


class TiledStep(Step):
    """Steps on batches of one size, on the CPU; `PlainStep` says the same in the words of torch."""

    def __post_init__(self) -> None:
        weights, settings, rows = self.weights, self.settings, self.rows
        self.encoding = Encoding(weights, settings, rows, self.group)
        self.dtype = weights.b_dec.numpy().dtype
        self.y, self.error = (weights.b_dec.new_empty(rows, weights.d_in) for _ in range(2))
        self.loss, self.learns = LOSSES[settings.loss], settings.arch == "jumprelu"
        band = np.array([settings.bandwidth / 2, 1 / settings.bandwidth] if self.learns else [0, 0], self.dtype)
        l1, l0 = settings.l1 * (settings.arch == "standard"), settings.l0_coefficient * self.learns
        l1, l0 = np.array([l1, l0], self.dtype) / settings.batch_size
        self.penalties = l1, l0, band
        self.pulled = weights.b_dec.new_empty(-(-weights.d_sae // FEATURES), weights.d_in)
        slices = -(-rows // DECODED)
        self.sums = np.empty((slices, 4))  # of the reconstruction loss, features, squared error, squared input
        self.factors: list[torch.Tensor | float] = [0.0] * slices  # from errors to gradients
        self.active = np.empty(weights.d_sae, np.int64)
        self.auxiliary: Auxiliary | None = None
        self._scratch = Scratch()

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, lr: float, number: int, dead: torch.Tensor | None = None) -> StepResult:
        """See `Step`."""
        terms = adam_terms(lr, number, self.dtype)
        with in_threads() as each:
            self._forward(x, dead, each)
            if self.group.count == 1:
                each(partial(self._learn, terms), self.weights.d_sae, FEATURES)
                b_dec = self._b_dec_gradient()
            else:
                whole = self._gradients(each)
                self.group.add_up(whole.flat)
                each(lambda tile: self._update(tile, _tile_of(whole, tile), terms), self.weights.d_sae, FEATURES)
                b_dec = whole.b_dec
        first, second = self.moments
        kernels.adam(self.weights.b_dec.numpy(), b_dec.numpy(), first.b_dec.numpy(), second.b_dec.numpy(), terms)
        return self._result()

    @torch.no_grad()
    def gradients(self, x: torch.Tensor, dead: torch.Tensor | None = None) -> tuple[StepResult, Weights]:
        """See `Step`."""
        with in_threads() as each:
            self._forward(x, dead, each)
            gradient = self._gradients(each)
        return self._result(), gradient

    def _forward(self, x: torch.Tensor, dead: torch.Tensor | None, each: ForEachSlice) -> None:
        """Find the active features, and turn `error` into the gradient with respect to the reconstruction."""
        self.active[:] = 0
        some_dead = dead is not None and len(dead) > 0
        each(partial(self._centre, x), len(x), DECODED)
        self.total = self.group.add_up(torch.tensor(self.sums[:, 3].sum())).item()
        self.encoding(self.y, each)
        each(partial(self._decode, not some_dead), len(x), DECODED)
        self.auxiliary = self._auxiliary(dead, each) if dead is not None and some_dead else None
        if some_dead:
            each(self._scale, len(x), DECODED)

    def _centre(self, x: torch.Tensor, rows: slice) -> None:
        torch.sub(x[rows], self.weights.b_dec, out=self.y[rows])
        self.sums[rows.start // DECODED, 3] = x[rows].square().sum()

    def _auxiliary(self, dead: torch.Tensor, each: ForEachSlice) -> Auxiliary:
        """The auxiliary loss with its scale over all processes."""
        loss, squares = self.group.add_up(torch.from_numpy(self.sums[:, [0, 2]].sum(0))).tolist()
        extra = Auxiliary(self.weights, dead, self.y, ratio(loss * self.total, squares**2))
        each(lambda rows: extra.add_rows(rows, self.error[rows]), len(self.y), ROWS)
        return extra

    def _decode(self, scale: bool, rows: slice) -> None:
        error, sums, w = self.error[rows], self.sums[rows.start // DECODED], self.weights
        torch.neg(self.y[rows], out=error)
        if self.encoding.sparse:
            blocks, found = slice(rows.start // ROWS, -(-rows.stop // ROWS)), self.encoding
            arrays = found.indptr[blocks], found.rows[blocks], found.values[blocks]
            sums[1] = kernels.decode(*arrays, ROWS, w.threshold.numpy(), w.decoder.numpy(), error.numpy())
        else:
            sums[1] = sum(self._decode_dense(rows, slice(i, i + TILE)) for i in range(0, w.d_sae, TILE))
        sums[0], self.factors[rows.start // DECODED] = self.loss(error, self.settings.batch_size, self.total)
        sums[2] = error.square().sum()
        if scale:
            self._scale(rows)

    def _scale(self, rows: slice) -> None:
        self.error[rows].mul_(self.factors[rows.start // DECODED])

    def _decode_dense(self, rows: slice, tile: slice) -> float:
        """Add the reconstruction by a tile of features to some blocks of rows; returns the sum of the features."""
        total = 0.0
        for start in range(rows.start, rows.stop, ROWS):
            block = slice(start, min(start + ROWS, rows.stop))
            f = self._features(self.encoding.block(block, tile), block, tile)
            self.error[block].addmm_(f.T, self.weights.decoder[tile])
            total += f.sum().item()
        return total

    def _features(self, h: torch.Tensor, rows: slice, tile: slice) -> torch.Tensor:
        """The features of a tile on a block, (features, r), in place of h unless thresholds learn from h later."""
        if self.learns:
            return torch.where(h > self.weights.threshold[tile, None], h, 0)
        return h.masked_fill_((h <= 0) | (h < torch.from_numpy(self.encoding.least[rows])), 0)

    def _learn(self, terms: NDArray, tile: slice) -> None:
        """Gradients and update of a tile, whose gradients never leave the cache."""
        d, n = self.weights.d_in, tile.stop - tile.start
        memory = self._scratch("g", np.empty, FEATURES * (2 * d + 2), self.dtype)[: n * (2 * d + 2)]
        encoder, decoder, b_enc, threshold = np.split(memory, [n * d, 2 * n * d, 2 * n * d + n])
        g = (encoder.reshape(n, d), decoder.reshape(n, d), b_enc, threshold)
        self._tile_gradients(tile, g)
        self._update(tile, g, terms)

    def _update(self, tile: slice, g: Tile, terms: NDArray) -> None:
        first, second = self.moments
        kernels.update(_tile_of(self.weights, tile), g, _tile_of(first, tile), _tile_of(second, tile), terms)

    def _gradients(self, each: ForEachSlice) -> Weights:
        whole = Weights.like(self.weights)
        each(lambda tile: self._tile_gradients(tile, _tile_of(whole, tile)), whole.d_sae, FEATURES)
        whole.b_dec.copy_(self._b_dec_gradient())
        return whole

    def _b_dec_gradient(self) -> torch.Tensor:
        """(d_in,): the gradient through the reconstruction, minus the one through the encoder's inputs."""
        return self.error.sum(0) - self.pulled.sum(0)

    def _tile_gradients(self, tile: slice, g: Tile) -> None:
        """Set the gradients of a tile of features from `error` and the active features."""
        for array in g:
            array.fill(0)
        w, found, active = _tile_of(self.weights, tile), self.encoding, self.active[tile]
        if found.sparse:
            batch = found.indptr, found.rows, found.values, ROWS, self.y.numpy(), self.error.numpy()
            kernels.sparse_gradients(tile.start, *batch, *self.penalties, w[1], w[3], *g, active)
        else:
            for start in range(0, len(self.y), ROWS):
                self._dense_gradients(slice(start, start + ROWS), tile, w, g, active)
        if self.auxiliary:
            self.auxiliary.add_to(tile.start, *map(torch.from_numpy, g[:3]))
        torch.mv(self.weights.encoder[tile].T, torch.from_numpy(g[2]), out=self.pulled[tile.start // FEATURES])

    def _dense_gradients(self, rows: slice, tile: slice, w: Tile, g: Tile, active: NDArray) -> None:
        """Add a block of rows to the gradients of a tile of features."""
        h, out = self.encoding.block(rows, tile), self.error[rows]
        f = self._features(h, rows, tile) if self.learns else h  # decoding has replaced h by the features
        torch.from_numpy(g[1]).addmm_(f, out)
        slope = torch.mm(self.weights.decoder[tile], out.T)
        kernels.dense_slopes(h.numpy(), w[3], *self.penalties, slope.numpy(), g[2], g[3], active)
        torch.from_numpy(g[0]).addmm_(slope, self.y[rows])

    def _result(self) -> StepResult:
        """Sums over the processes."""
        local = self.group.add_up(torch.from_numpy(np.concatenate([self.sums[:, :3].sum(0), self.active])))
        loss, features, errors = local[:3].tolist()
        return StepResult(self.settings, loss, features, errors, self.total, local[3:].long())


def _tile_of(weights: Weights, tile: slice) -> Tile:
    """Views of a tile of features."""
    w = weights
    return w.encoder[tile].numpy(), w.decoder[tile].numpy(), w.b_enc[tile].numpy(), w.threshold[tile].numpy()
