"""Measures activations: their mean and spread before training, and every feature of the trained SAE."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from sae_tracks.activations.stream import TrainingRows
from sae_tracks.errors import SaeTracksError
from sae_tracks.progress import track
from sae_tracks.sae import SAE
from sae_tracks.sae.encoder import SparseEncoder

STATISTICS_ROWS = 1 << 20
MEASURED_ROWS = 1 << 22
THRESHOLD = 0.15  # of a feature's maximum: what tracks and scores call active by default
THRESHOLD_ROWS = 1 << 18  # a mean over so many is exact to a few per mille
BATCH_ROWS = 1 << 16  # from which the threshold of a batchtopk is found
SHIFT = 14  # float32 bits dropped: bins of positive numbers are 1/512 of their value wide
BINS = 1 << (31 - SHIFT)
ROWS = 2048  # encoded at once: 64 MiB for 8,192 features


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and spread of activations."""

    mean: torch.Tensor  # (d_model,) float32
    variance: float  # mean squared distance of a row from the mean, summed over dimensions

    @property
    def gamma(self) -> float:
        """Length of the mean over the root of the variance: how far off centre the activations lie."""
        return self.mean.norm().item() / self.variance**0.5


def _chunks(data: TrainingRows, rows: int, device: torch.device) -> Iterator[torch.Tensor]:
    """The first rows of the data, (<= ROWS, d_model) float32 at a time."""
    for start in range(0, rows, ROWS):
        yield torch.from_numpy(data.read_rows(start, min(start + ROWS, rows))).to(device).float()


def statistics(data: TrainingRows, device: torch.device) -> Statistics:
    """Mean and variance of the first `STATISTICS_ROWS` rows, summed in float64; an error if not finite or all equal."""
    rows = min(data.rows_at_hand, STATISTICS_ROWS)
    mean = torch.zeros(data.d_model, dtype=torch.float64, device=device)
    for x in _chunks(data, rows, device):
        mean += x.sum(0, dtype=torch.float64) / rows
    if not torch.isfinite(mean).all():
        raise SaeTracksError(f"{data.name} holds activations that are NaN or infinite: extract them again")
    variance = sum((x - mean).square().sum().item() for x in _chunks(data, rows, device)) / rows
    if variance <= 1e-12 * mean.square().sum().item():
        raise SaeTracksError(f"{data.name}: all activations are the same, so there is nothing to learn")
    return Statistics(mean.float(), variance)


def measure_features(
    sae: SAE, data: TrainingRows, rows: int, mean: torch.Tensor
) -> tuple[pd.DataFrame, dict[str, float | int]]:
    """Maximum, mean and density of every feature, and the reconstruction error of the SAE.

    The SAE is for raw activations, on the CPU. The first `MEASURED_ROWS` at hand of the `rows` trained on are measured.
    The variance of the activations is computed around `mean`, (d_model,).

    Returns
    -------
    DataFrame, dict
        `SAE.stats`; ``rows`` measured, ``l0`` features > 0 per row, ``fvu``, ``dead`` share of features, and
        ``l0_at_threshold``: features per row above ``threshold`` of their maximum, over the first ``threshold_rows``.
    """
    rows = min(rows, data.rows_at_hand, MEASURED_ROWS)
    least = np.zeros(sae.d_sae, np.float32) if sae.threshold is None else sae.threshold.numpy()
    largest, total, active, fvu = _tally(sae, data, rows, mean, least)
    mean_value, density = ((column / rows).astype(np.float32) for column in (total, active))
    columns = {"max": largest, "mean": mean_value, "density": density, "dead": active == 0}
    stats = pd.DataFrame({"feature": np.arange(sae.d_sae, dtype=np.int32), **columns})
    cutoffs, some = np.maximum(replace(sae, stats=stats).cutoffs(THRESHOLD, "max"), least), min(rows, THRESHOLD_ROWS)
    _, _, above, _ = _tally(sae, data, some, mean, cutoffs)
    return stats, {
        "rows": rows,
        "l0": active.sum().item() / rows,
        "fvu": fvu,
        "dead": (active == 0).mean().item(),
        "l0_at_threshold": above.sum().item() / some,
        "threshold": THRESHOLD,
        "threshold_rows": some,
    }


def _tally(
    sae: SAE, data: TrainingRows, rows: int, mean: torch.Tensor, cutoffs: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64], float]:
    """Over the first rows: maximum, sum and number of each feature's values above its cutoff, and the FVU."""
    encoder, d_sae = SparseEncoder.of(sae), sae.d_sae
    largest, total, active = np.zeros(d_sae, np.float32), np.zeros(d_sae), np.zeros(d_sae, np.int64)
    error = variance = 0.0
    for x in track(_chunks(data, rows, torch.device("cpu")), "measuring", -(-rows // ROWS)):
        indptr, feature, value = encoder.encode(x)
        error += (sae.decode_sparse(indptr, feature, value) - x).square().sum().item()
        variance += (x - mean).square().sum().item()
        above = value > cutoffs[feature]
        feature, value = feature[above], value[above]
        np.maximum.at(largest, feature, value)
        total += np.bincount(feature, value, d_sae)
        active += np.bincount(feature, minlength=d_sae)
    return largest, total, active, error / variance


@torch.inference_mode()
def batch_threshold(sae: SAE, data: TrainingRows, rows: int, k: int) -> torch.Tensor:
    """The one threshold above which a row has k features on average.

    `sae` is for raw activations, on the CPU. Of the `rows` trained on, the first `BATCH_ROWS` at hand are counted.

    Returns
    -------
    (d_sae,) float32
        The same for all features; 0 if fewer than k are positive.
    """
    rows = min(rows, data.rows_at_hand, BATCH_ROWS)
    counts = np.zeros(BINS, np.int64)
    weight, bias = sae.folded_encoder()
    for x in _chunks(data, rows, torch.device("cpu")):
        h = torch.addmm(bias, x, weight).relu_()
        bins = np.right_shift(h.view(torch.int32).numpy(), SHIFT)
        counts += np.bincount(bins.ravel(), minlength=BINS)
    counts[0] = 0  # zeros
    above = np.cumsum(counts[::-1])[::-1]  # values in this bin or a higher one
    lowest = int(np.searchsorted(-above, -k * rows, side="right")) - 1 if above[0] >= k * rows else 0
    threshold = np.array(lowest << SHIFT, np.int32).view(np.float32)
    return torch.full((sae.d_sae,), float(threshold))
