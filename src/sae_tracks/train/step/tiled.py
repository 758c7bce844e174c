"""A training step on the CPU: matrix products in tiles that stay in the cache, and a backward pass over non-zeros."""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.threads import ForEachSlice, Scratch, in_threads
from sae_tracks.train.parallel import Processes
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.step import kernels
from sae_tracks.train.step.common import LOSSES, Auxiliary, StepResult, Weights, adam_terms, ratio
from sae_tracks.train.step.encoding import ROWS, TILE, Encoding

DECODED = 2 * ROWS  # rows that are decoded at once
FEATURES = 2 * TILE  # features whose gradients are computed at once
Tile = tuple[NDArray, NDArray, NDArray, NDArray]  # encoder, decoder, b_enc, threshold of a tile of features


class TiledStep:
    """Steps on batches of one size; `PlainStep` says the same in the words of torch.

    Parameters
    ----------
    weights, first, second : Weights
        Parameters and Adam's two moments, on the CPU; changed in place.
    settings : TrainSettings
    rows : int
        This process's share of a batch.
    group : Processes
    """

    def __init__(
        self, weights: Weights, first: Weights, second: Weights, settings: TrainSettings, rows: int, group: Processes
    ) -> None:
        self.weights, self.moments, self.settings, self.group = weights, (first, second), settings, group
        self.encoding = Encoding(weights, settings, rows, group)
        self.dtype = weights.b_dec.numpy().dtype
        self.y, self.error = (weights.b_dec.new_empty(rows, weights.d_in) for _ in range(2))
        self.loss, self.learns = LOSSES[settings.loss], settings.arch == "jumprelu"
        self.band = np.array([settings.bandwidth / 2, 1 / settings.bandwidth] if self.learns else [0, 0], self.dtype)
        l1, l0 = settings.l1 * (settings.arch == "standard"), settings.l0_coefficient * self.learns
        self.l1, self.l0 = np.array([l1, l0], self.dtype) / settings.batch_size
        self.pulled = weights.b_dec.new_empty(-(-weights.d_sae // FEATURES), weights.d_in)
        parts = -(-rows // DECODED)
        self.sums = np.empty((parts, 4))  # of features, reconstruction loss, squared error, squared input
        self.factors: list[torch.Tensor | float] = [0.0] * parts  # from errors to gradients
        self.active = np.empty(weights.d_sae, np.int64)
        self.auxiliary: Auxiliary | None = None
        self._scratch = Scratch()

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, lr: float, number: int, dead: torch.Tensor | None = None) -> StepResult:
        """Learn from a batch; see `Step`."""
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
        """Result of a batch and this process's part of its gradients; nothing is learned."""
        with in_threads() as each:
            self._forward(x, dead, each)
            gradient = self._gradients(each)
        return self._result(), gradient

    def _forward(self, x: torch.Tensor, dead: torch.Tensor | None, each: ForEachSlice) -> None:
        """Find what is active, and turn `error` into the gradient with respect to the reconstruction."""
        self.active[:] = 0
        self.unscaled = dead is not None and len(dead) > 0
        each(partial(self._centre, x), len(x), DECODED)
        self.total = self.group.add_up(torch.tensor(self.sums[:, 3].sum())).item()
        self.encoding(self.y, each)
        each(self._decode, len(x), DECODED)
        self.auxiliary = self._auxiliary(dead, each) if dead is not None and self.unscaled else None
        if self.unscaled:
            each(self._scale, len(x), DECODED)

    def _centre(self, x: torch.Tensor, rows: slice) -> None:
        torch.sub(x[rows], self.weights.b_dec, out=self.y[rows])
        self.sums[rows.start // DECODED, 3] = x[rows].square().sum()

    def _auxiliary(self, dead: torch.Tensor, each: ForEachSlice) -> Auxiliary:
        """Its scale is of all processes."""
        sums = torch.from_numpy(self.sums[:, 1:3].sum(0))
        reconstruction, squares = self.group.add_up(sums).tolist()
        extra = Auxiliary(self.weights, dead, self.y, ratio(reconstruction * self.total, squares**2))
        each(lambda rows: extra.add_rows(rows, self.error[rows]), len(self.y), ROWS)
        return extra

    def _decode(self, rows: slice) -> None:
        error, sums = self.error[rows], self.sums[rows.start // DECODED]
        torch.neg(self.y[rows], out=error)
        if self.encoding.sparse:
            sums[0] = self._decode_sparse(slice(rows.start // ROWS, -(-rows.stop // ROWS)), error)
        else:
            tiles = [slice(i, i + TILE) for i in range(0, self.weights.d_sae, TILE)]
            sums[0] = sum(self._decode_dense(rows, tile) for tile in tiles)
        sums[1], self.factors[rows.start // DECODED] = self.loss(error, self.settings.batch_size, self.total)
        sums[2] = error.square().sum()
        if not self.unscaled:
            self._scale(rows)

    def _scale(self, rows: slice) -> None:
        self.error[rows].mul_(self.factors[rows.start // DECODED])

    def _decode_sparse(self, blocks: slice, error: torch.Tensor) -> float:
        w, entries = self.weights, self.encoding.entries
        arrays = entries.indptr[blocks], entries.rows[blocks], entries.values[blocks]
        return kernels.decode(*arrays, ROWS, w.threshold.numpy(), w.decoder.numpy(), error.numpy())

    def _decode_dense(self, rows: slice, tile: slice) -> float:
        """Add what a tile of features reconstructs of some blocks of rows; returns the sum of the features."""
        total = 0.0
        for start in range(rows.start, rows.stop, ROWS):
            block = slice(start, min(start + ROWS, rows.stop))
            f = self._features(block, tile)
            self.error[block].addmm_(f.T, self.weights.decoder[tile])
            total += f.sum().item()
        return total

    def _features(self, rows: slice, tile: slice) -> torch.Tensor:
        """The features of a tile on a block, (features, r); they replace pre-activations that are not needed again."""
        h = self.encoding.block(rows, tile)
        if self.learns:
            return self._above_threshold(h, tile)
        return h.masked_fill_((h <= 0) | (h < torch.from_numpy(self.encoding.least[rows])), 0)

    def _above_threshold(self, h: torch.Tensor, tile: slice) -> torch.Tensor:
        """Features of a jumprelu from its pre-activations, from which thresholds learn and which therefore stay."""
        return torch.where(h > self.weights.threshold[tile, None], h, 0)

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
        """(d_in,): what the reconstruction asks for, minus what the encoder's inputs pull back."""
        return self.error.sum(0) - self.pulled.sum(0)

    def _tile_gradients(self, tile: slice, g: Tile) -> None:
        """Set the gradients of a tile of features from `error` and what is active."""
        for part in g:
            part.fill(0)
        w, entries, active = _tile_of(self.weights, tile), self.encoding.entries, self.active[tile]
        penalties = self.l1, self.l0, self.band
        if self.encoding.sparse:
            batch = entries.indptr, entries.rows, entries.values, ROWS, self.y.numpy(), self.error.numpy()
            kernels.sparse_gradients(tile.start, *batch, *penalties, w[1], w[3], *g, active)
        else:
            for start in range(0, len(self.y), ROWS):
                self._dense_gradients(slice(start, start + ROWS), tile, w, g, active)
        if self.auxiliary:
            self.auxiliary.add_to(tile.start, *map(torch.from_numpy, g[:3]))
        torch.mv(self.weights.encoder[tile].T, torch.from_numpy(g[2]), out=self.pulled[tile.start // FEATURES])

    def _dense_gradients(self, rows: slice, tile: slice, w: Tile, g: Tile, active: NDArray) -> None:
        """Add what a block of rows gives to the gradients of a tile of features."""
        h, out = self.encoding.block(rows, tile), self.error[rows]
        g_encoder, g_decoder = torch.from_numpy(g[0]), torch.from_numpy(g[1])
        g_decoder.addmm_(self._above_threshold(h, tile) if self.learns else h, out)
        slope = torch.mm(self.weights.decoder[tile], out.T)
        kernels.dense_slopes(h.numpy(), w[3], self.l1, self.l0, self.band, slope.numpy(), g[2], g[3], active)
        g_encoder.addmm_(slope, self.y[rows])

    def _result(self) -> StepResult:
        """Sums over the processes."""
        local = torch.from_numpy(np.concatenate([self.sums[:, :3].sum(0), self.active]))
        values, reconstruction, squares = self.group.add_up(local)[:3].tolist()
        active = local[3:].long()
        l0 = active.sum().item() / self.settings.batch_size
        penalty = float(self.l1) * values + float(self.l0) * self.settings.batch_size * l0
        return StepResult(reconstruction, penalty, l0, ratio(squares, self.total), active)


def _tile_of(weights: Weights, tile: slice) -> Tile:
    """Views of what belongs to a tile of features."""
    w = weights
    return w.encoder[tile].numpy(), w.decoder[tile].numpy(), w.b_enc[tile].numpy(), w.threshold[tile].numpy()
