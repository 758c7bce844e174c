"""Features that have not fired for long learn what the others leave over (Gao et al., arXiv 2406.04093)."""

import torch

from sae_tracks.train.step.weights import Weights

WEIGHT = 1 / 16


class Auxiliary:
    """The auxiliary loss of a batch.

    It is ``scale WEIGHT min(1, m / k) sum ||z W - (x - x^)||^2``, W the rows of the decoder of m dead features and z
    the k = d_in / 2 largest of a row's pre-activations, where positive; x - x^ counts as a constant.

    Parameters
    ----------
    weights : Weights
    dead : (m,) int64
        Features, ascending.
    y : (n, d_in)
        Input minus pre-bias.
    scale : float
        The reconstruction loss of a batch of which nothing is explained, over the sum of squared errors of this batch.
    """

    def __init__(self, weights: Weights, dead: torch.Tensor, y: torch.Tensor, scale: float) -> None:
        self.dead, self.y, self.k = dead, y, max(weights.d_in // 2, 1)
        self.encoder, self.decoder, self.b_enc = weights.encoder[dead], weights.decoder[dead], weights.b_enc[dead]
        self.factor = 2 * WEIGHT * scale * min(1.0, len(dead) / self.k)
        self.z, self.slope = (y.new_empty(len(dead), len(y)) for _ in range(2))
        self.out = torch.empty_like(y)

    def look_at(self, rows: slice, error: torch.Tensor) -> None:
        """Take in some rows of the batch, of which (n, d_in) `error` is the reconstruction minus the input."""
        z = torch.addmm(self.b_enc[:, None], self.encoder, self.y[rows].T).relu_()
        if len(self.dead) > self.k:
            values, at = z.topk(self.k, dim=0, sorted=False)
            z = torch.zeros_like(z).scatter_(0, at, values)
        self.z[:, rows] = z
        out = self.out[rows] = torch.addmm(error, z.T, self.decoder).mul_(self.factor)
        self.slope[:, rows] = torch.mm(self.decoder, out.T).mul_(z > 0)

    def add_to(self, first: int, g_encoder: torch.Tensor, g_decoder: torch.Tensor, g_bias: torch.Tensor) -> None:
        """Add to the gradients of a tile of features that begins with `first`, once all rows are taken in."""
        edges = torch.tensor([first, first + len(g_bias)], device=self.dead.device)
        mine = slice(*torch.searchsorted(self.dead, edges).tolist())
        at, slope = self.dead[mine] - first, self.slope[mine]
        g_encoder.index_add_(0, at, slope @ self.y)
        g_decoder.index_add_(0, at, self.z[mine] @ self.out)
        g_bias.index_add_(0, at, slope.sum(1))
