"""The threshold of a batchtopk: trained on the largest of a batch, used one row at a time."""

import numpy as np
import torch

from sae_tracks.activations.shards import ActivationShards
from sae_tracks.sae import SAE

ROWS = 2048  # at once
MOST_ROWS = 1 << 16
SHIFT = 14  # float32 bits dropped: bins of positive numbers are 1/512 of their value wide
BINS = 1 << (31 - SHIFT)


@torch.inference_mode()
def batch_threshold(sae: SAE, data: ActivationShards, rows: int, k: int) -> torch.Tensor:
    """The one threshold above which a row has k features on average.

    Parameters
    ----------
    sae : SAE
        For raw activations, on the CPU.
    rows : int
        Rows trained on; of those in the data the first `MOST_ROWS` are counted.

    Returns
    -------
    (d_sae,) float32
        The same for all features; 0 where fewer than k are positive.
    """
    rows = min(rows, data.rows, MOST_ROWS)
    counts = np.zeros(BINS, np.int64)
    weight, bias = sae.folded_encoder()
    for start in range(0, rows, ROWS):
        x = torch.from_numpy(data.read_rows(start, min(start + ROWS, rows))).float()
        h = torch.addmm(bias, x, weight).relu_()
        bins = np.right_shift(h.view(torch.int32).numpy(), SHIFT)
        counts += np.bincount(bins.ravel(), minlength=BINS)
    counts[0] = 0  # zeros
    above = np.cumsum(counts[::-1])[::-1]  # values in this bin or a higher one
    lowest = int(np.searchsorted(-above, -k * rows, side="right")) - 1 if above[0] >= k * rows else 0
    threshold = np.array(lowest << SHIFT, np.int32).view(np.float32)
    return torch.full((sae.d_sae,), float(threshold))
