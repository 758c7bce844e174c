"""A trained SAE over chunk after chunk of activations on the CPU, at the pace of its encoder's product."""

from functools import partial

import torch

from sae_tracks.sae import SAE
from sae_tracks.threads import pieces
from sae_tracks.train.parallel import Processes
from sae_tracks.train.presets import TrainSettings
from sae_tracks.train.step import Weights, kernels
from sae_tracks.train.step.encoding import ROWS, Encoding
from sae_tracks.train.step.entries import Entries


class SparseFeatures:
    """Features and errors of an SAE, without those features that are 0.

    Parameters
    ----------
    sae : SAE
        On the CPU.
    rows : int
        The most rows of a chunk.
    """

    def __init__(self, sae: SAE, rows: int) -> None:
        self.weights, self.rows = Weights.of(sae), rows
        settings = TrainSettings(
            arch=sae.architecture, k=min(sae.k or 0, sae.d_sae), bandwidth=0.0, sparse_below=1.0, batch_size=rows
        )
        self._alone = Processes(0, 1, torch.device("cpu"))
        self._make = partial(Encoding, self.weights, settings)
        self.encoding = self._make(rows, self._alone)

    @torch.no_grad()
    def __call__(self, x: torch.Tensor) -> tuple[Entries, torch.Tensor]:
        """Features of a chunk, until the next is asked for, and (n, d_in) its reconstruction minus x.

        Parameters
        ----------
        x : (n, d_in) float32
        """
        if len(x) != self.rows:  # the last chunk
            self.rows, self.encoding = len(x), self._make(len(x), self._alone)
        with pieces() as each:
            y = x - self.weights.b_dec
            self.encoding(y, each)
            each(partial(self._decode, error := -y), len(x), ROWS)
        return self.encoding.entries, error

    def _decode(self, error: torch.Tensor, rows: slice) -> None:
        entries, w, b = self.encoding.entries, self.weights, rows.start // ROWS
        arrays = (array[b : b + 1] for array in (entries.indptr, entries.rows, entries.values))
        kernels.decode(*arrays, ROWS, w.threshold.numpy(), w.decoder.numpy(), error[rows].numpy())
