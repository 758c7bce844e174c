"""What is measured on activations: their mean and spread before training, every feature after it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from sae_tracks.activations.shards import ActivationShards
from sae_tracks.errors import SaeTracksError
from sae_tracks.progress import track
from sae_tracks.sae import SAE
from sae_tracks.train.sparse import SparseFeatures
from sae_tracks.train.step import kernels

STATISTICS_ROWS = 1 << 20
MEASURED_ROWS = 1 << 22
THRESHOLD = 0.15  # of a feature's maximum: what tracks and scores call active by default
THRESHOLD_ROWS = 1 << 18  # a mean over so many is exact to a few per mille
ROWS = 2048  # at once: of 8,192 features 64 MiB, whatever the number of rows


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and spread of activations.

    Attributes
    ----------
    mean : (d_model,) float32
    variance : float
        Mean squared distance of a row from the mean, summed over channels.
    """

    mean: torch.Tensor
    variance: float

    @property
    def gamma(self) -> float:
        """Length of the mean over the root of the variance: how far off centre the activations lie."""
        return self.mean.norm().item() / self.variance**0.5


def _chunks(data: ActivationShards, rows: int, device: torch.device) -> Iterator[torch.Tensor]:
    """The first rows of the data, (<= ROWS, d_model) float32 at a time."""
    for start in range(0, rows, ROWS):
        part = torch.from_numpy(data.read_rows(start, min(start + ROWS, rows)))
        yield part.to(device).float()


def statistics(data: ActivationShards, device: torch.device) -> Statistics:
    """Mean and variance of the first `STATISTICS_ROWS` rows, summed in float64.

    Raises
    ------
    SaeTracksError
        A row is not finite, or all rows are the same.
    """
    rows = min(data.rows, STATISTICS_ROWS)
    mean = torch.zeros(data.d_model, dtype=torch.float64, device=device)
    for x in _chunks(data, rows, device):
        mean += x.sum(0, dtype=torch.float64) / rows
    if not torch.isfinite(mean).all():
        raise SaeTracksError(f"{data.folder} holds activations that are NaN or infinite: extract them again")
    variance = sum((x - mean).square().sum().item() for x in _chunks(data, rows, device)) / rows
    if variance <= 1e-12 * mean.square().sum().item():
        raise SaeTracksError(f"{data.folder}: all activations are the same, so there is nothing to learn")
    return Statistics(mean.float(), variance)


def measure_features(
    sae: SAE, data: ActivationShards, rows: int, mean: torch.Tensor
) -> tuple[pd.DataFrame, dict[str, float | int]]:
    """Maximum, mean and density of every feature, and how well the whole reconstructs.

    Parameters
    ----------
    sae : SAE
        For raw activations, on the CPU.
    rows : int
        Rows trained on; of those in the data the first `MEASURED_ROWS` are measured.
    mean : (d_model,)
        Of the activations, about which their variance is reckoned.

    Returns
    -------
    stats : DataFrame
        See `SAE.stats`.
    summary : dict
        ``rows`` measured, ``l0`` features > 0 a row, ``fvu``, ``dead`` share of the features; and ``l0_at_threshold``,
        the features a row that are greater than ``threshold`` times their maximum, over the first ``threshold_rows``.
    """
    rows = min(rows, data.rows, MEASURED_ROWS)
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


def _tally(sae: SAE, data: ActivationShards, rows: int, mean: torch.Tensor, cutoffs: NDArray[np.float32]):
    """Over the first rows: maximum, sum and number of each feature's values above its cutoff, and the FVU."""
    look = SparseFeatures(sae, min(ROWS, rows))
    largest, total, active = np.zeros(sae.d_sae, np.float32), np.zeros(sae.d_sae), np.zeros(sae.d_sae, np.int64)
    error = variance = 0.0
    for x in track(_chunks(data, rows, torch.device("cpu")), "measuring", -(-rows // ROWS)):
        entries, missing = look(x)
        kernels.tally(entries.indptr, entries.values, cutoffs, largest, total, active)
        error += missing.square().sum().item()
        variance += (x - mean).square().sum().item()
    return largest, total, active, error / variance
