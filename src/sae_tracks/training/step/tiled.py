"""A training step on the CPU: matrix products in tiles that stay in the cache, and a backward pass over non-zeros."""

import threading
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.pieces import Each, pieces
from sae_tracks.training.parallel import Processes
from sae_tracks.training.presets import TrainSettings
from sae_tracks.training.step import kernels
from sae_tracks.training.step.adam import adam_terms
from sae_tracks.training.step.encoding import ROWS, TILE, Encoding
from sae_tracks.training.step.losses import LOSSES
from sae_tracks.training.step.result import StepResult
from sae_tracks.training.step.weights import Weights

FEATURES = 256  # features whose gradients are computed at once
Parts = tuple[NDArray, NDArray, NDArray, NDArray]  # of a tile of features: encoder, decoder, b_enc, threshold


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
        learns = settings.arch == "jumprelu"
        self.band = np.array([settings.bandwidth / 2, 1 / settings.bandwidth] if learns else [0, 0], self.dtype)
        l1, l0 = settings.l1 * (settings.arch == "standard"), settings.l0_coefficient * learns
        self.l1, self.l0 = np.array([l1, l0], self.dtype) / settings.batch_size
        self.pulled = weights.b_dec.new_empty(-(-weights.d_sae // FEATURES), weights.d_in)
        self.sums = np.empty((-(-rows // ROWS), 3))  # of features, reconstruction loss, squared error
        self.active = np.empty(weights.d_sae, np.int64)
        self._mine = threading.local()

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, lr: float, number: int) -> StepResult:
        """Learn from a batch.

        Parameters
        ----------
        x : (n, d_in)
            This process's rows, centred on the mean of the training data.
        lr : float
        number : int
            Of the step, from 1.
        """
        how = adam_terms(lr, number, self.dtype)
        with pieces() as each:
            self._forward(x, each)
            if self.group.count == 1:
                each(partial(self._learn, how), self.weights.d_sae, FEATURES)
                b_dec = self._b_dec_gradient()
            else:
                whole = self._gradients(each)
                self.group.add_up(whole.flat)
                each(lambda tile: self._update(tile, _parts(whole, tile), how), self.weights.d_sae, FEATURES)
                b_dec = whole.b_dec
        kernels.adam(*(part.numpy() for part in (self.weights.b_dec, b_dec, *(m.b_dec for m in self.moments))), how)
        return self._result()

    @torch.no_grad()
    def gradients(self, x: torch.Tensor) -> tuple[StepResult, Weights]:
        """Result of a batch and this process's part of its gradients; nothing is learned."""
        with pieces() as each:
            self._forward(x, each)
            gradient = self._gradients(each)
        return self._result(), gradient

    def _forward(self, x: torch.Tensor, each: Each) -> None:
        """Find what is active, and turn `error` into the gradient with respect to the reconstruction."""
        torch.sub(x, self.weights.b_dec, out=self.y)
        self.total = self.group.add_up(x.square().sum(dtype=torch.float64)).item()
        self.active[:] = 0
        self.encoding(self.y, each)
        each(self._decode, len(x), ROWS)

    def _decode(self, rows: slice) -> None:
        error, b, sums = (
            torch.neg(self.y[rows], out=self.error[rows]),
            rows.start // ROWS,
            self.sums[rows.start // ROWS],
        )
        w, entries = self.weights, self.encoding.entries
        if self.encoding.sparse:
            arrays = entries.indptr[b], entries.rows[b], entries.values[b]
            sums[0] = kernels.decode(*arrays, w.threshold.numpy(), w.decoder.numpy(), error.numpy())
        else:
            sums[0] = sum(self._decode_dense(rows, slice(i, i + TILE)) for i in range(0, w.d_sae, TILE))
        sums[2] = error.square().sum()
        loss, factor = LOSSES[self.settings.loss](error, self.settings.batch_size, self.total)
        sums[1] = loss
        error.mul_(factor)

    def _decode_dense(self, rows: slice, tile: slice) -> float:
        """Add what a tile of features reconstructs of a block of rows; the sum of the features."""
        f = self._activate(rows, tile)
        self.error[rows].addmm_(f.T, self.weights.decoder[tile])
        return f.sum().item()

    def _activate(self, rows: slice, tile: slice) -> torch.Tensor:
        """(features, rows) of a dense batch, in this thread's memory."""
        h, least, threshold = self.encoding.block(rows, tile), self.encoding.least[rows], self.weights.threshold[tile]
        f = self._scratch("f", TILE * ROWS)[: h.numel()].view(h.shape)
        kernels.activate(h.numpy(), least, threshold.numpy(), f.numpy())
        return f

    def _learn(self, how: NDArray, tile: slice) -> None:
        """Gradients and update of a tile, whose gradients never leave the cache."""
        d, n = self.weights.d_in, tile.stop - tile.start
        memory = self._scratch("g", FEATURES * (2 * d + 2))[: n * (2 * d + 2)]
        encoder, decoder, b_enc, threshold = memory.split([n * d, n * d, n, n])
        g = (encoder.view(n, d).numpy(), decoder.view(n, d).numpy(), b_enc.numpy(), threshold.numpy())
        self._tile_gradients(tile, g)
        self._update(tile, g, how)

    def _update(self, tile: slice, g: Parts, how: NDArray) -> None:
        first, second = self.moments
        kernels.update(_parts(self.weights, tile), g, _parts(first, tile), _parts(second, tile), how)

    def _gradients(self, each: Each) -> Weights:
        whole = Weights.like(self.weights)
        each(lambda tile: self._tile_gradients(tile, _parts(whole, tile)), whole.d_sae, FEATURES)
        whole.b_dec.copy_(self._b_dec_gradient())
        return whole

    def _b_dec_gradient(self) -> torch.Tensor:
        """(d_in,): what the reconstruction asks for, minus what the encoder's inputs pull back."""
        return self.error.sum(0) - self.pulled.sum(0)

    def _tile_gradients(self, tile: slice, g: Parts) -> None:
        """Set the gradients of a tile of features from `error` and what is active."""
        for part in g:
            part.fill(0)
        w, entries, active = _parts(self.weights, tile), self.encoding.entries, self.active[tile]
        how = self.l1, self.l0, self.band
        if self.encoding.sparse:
            batch = entries.indptr, entries.rows, entries.values, ROWS, self.y.numpy(), self.error.numpy()
            kernels.sparse_gradients(tile.start, *batch, *how, w[1], w[3], *g, active)
        else:
            for start in range(0, len(self.y), ROWS):
                self._dense_gradients(slice(start, start + ROWS), tile, w, g, active)
        torch.mv(self.weights.encoder[tile].T, torch.from_numpy(g[2]), out=self.pulled[tile.start // FEATURES])

    def _dense_gradients(self, rows: slice, tile: slice, w: Parts, g: Parts, active: NDArray) -> None:
        """Add what a block of rows gives to the gradients of a tile of features."""
        out, h, f = self.error[rows], self.encoding.block(rows, tile), self._activate(rows, tile)
        torch.from_numpy(g[1]).addmm_(f, out)
        slope = self._scratch("slope", FEATURES * ROWS)[: h.numel()].view(h.shape)
        torch.mm(self.weights.decoder[tile], out.T, out=slope)
        least, how = self.encoding.least[rows], (self.l1, self.l0, self.band)
        kernels.dense_slopes(h.numpy(), least, w[3], *how, slope.numpy(), g[2], g[3], active)
        torch.from_numpy(g[0]).addmm_(slope, self.y[rows])

    def _result(self) -> StepResult:
        """Sums over the processes."""
        values, reconstruction, squares = self.sums.sum(0)
        local = torch.from_numpy(np.concatenate([[values, reconstruction, squares], self.active]))
        values, reconstruction, squares = self.group.add_up(local)[:3].tolist()
        active = local[3:].long()
        l0 = active.sum().item() / self.settings.batch_size
        penalty = float(self.l1) * values + float(self.l0) * self.settings.batch_size * l0
        return StepResult(reconstruction, penalty, l0, squares / self.total, active)

    def _scratch(self, name: str, size: int) -> torch.Tensor:
        """This thread's memory of a name."""
        if not hasattr(self._mine, name):
            setattr(self._mine, name, self.y.new_empty(size))
        return getattr(self._mine, name)


def _parts(weights: Weights, tile: slice) -> Parts:
    """Views of what belongs to a tile of features."""
    w = weights
    return tuple(part[tile].numpy() for part in (w.encoder, w.decoder, w.b_enc, w.threshold))
