"""A sparse autoencoder with random directions: what an encoder explains that has learned only how often to fire."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sae_tracks.controls.best import Best, Cells, best, cells_above
from sae_tracks.controls.sample import SELECT, Columns, Sample, Sites
from sae_tracks.metrics.counter import THRESHOLDS
from sae_tracks.sae.encoder import SparseEncoder

FEATURES = 512  # encoded together at most
ENTRIES = 8  # a base, about, of the features that are encoded together
FEW = 1 << 15  # bases from which a first guess at the cuts is made
SURPLUS, MARGIN = 1.5, 32  # the guess lets through so many times the bases wanted, and so many of the few more


def best_random_features(sample: Sample, sites: Sites, seed: int) -> NDArray[np.float64]:
    """F1, on the report half, of the random feature that fits each concept best.

    Feature i has a random unit direction and, on the select half, the number of active bases that feature i of the
    sample has there (more only where values tie); one that never fires has no counterpart. Its thresholds are those of
    the trained ones, as fractions of its own maximum on the select half.

    Returns
    -------
    (C,) float64
        NaN where no random feature is active on the concept in the select half.
    """
    half, found = sample.half_of_base(), Best.none(len(sites.labels))
    firing = firing_bases(sample.features, half)
    encoder = np.random.default_rng(seed).standard_normal((len(firing), sample.activations.shape[1]), np.float32)
    encoder /= np.linalg.norm(encoder, axis=1, keepdims=True)
    alive = np.flatnonzero(firing)
    for ids in _together(alive, firing, half):
        found = found.or_better(best(random_cells(sample, half, encoder[ids], firing[ids]), sites.labels, half), 0)
    return found.f1


def firing_bases(features: Columns, half: NDArray[np.int8]) -> NDArray[np.int64]:
    """(d_sae,) int64: bases of the select half at which each feature is active."""
    chooses = half == SELECT
    return np.array([np.count_nonzero(chooses[features[i][0]]) for i in range(len(features))], np.int64)


def random_cells(
    sample: Sample, half: NDArray[np.int8], encoder: NDArray[np.float32], firing: NDArray[np.int64]
) -> Cells:
    """Encode a sample with some directions.

    Parameters
    ----------
    sample : Sample
        Its activations are read.
    half : (n,) int8
        From `Sample.half_of_base`.
    encoder : (k, d_model) float32
    firing : (k,) int64
        On how many bases of the select half each is to be active, at least 1.
    """
    directions = torch.from_numpy(np.ascontiguousarray(encoder.T))
    low = _guess(sample.activations, half, directions, firing)
    sparse = SparseEncoder(directions, torch.zeros(len(low)), torch.from_numpy(low))
    indptr, column, value = sparse.encode(torch.from_numpy(sample.activations), half >= 0)
    cuts = _cuts(csr_array((value, column, indptr), shape=(len(half), len(low))), half, firing, low)
    return Cells(indptr, cells_above(column, value, cuts), len(low), cuts.shape[1])


def _together(
    alive: NDArray[np.int64], firing: NDArray[np.int64], half: NDArray[np.int8]
) -> Iterator[NDArray[np.int64]]:
    """Ids of features to encode together: as many as memory allows."""
    few = MARGIN / FEW
    share = np.cumsum(np.minimum(SURPLUS * firing[alive] / max(np.count_nonzero(half == SELECT), 1) + few, 1))
    start = 0
    while start < len(alive):
        before = share[start - 1] if start else 0
        end = min(max(int(np.searchsorted(share, before + ENTRIES)), start + 1), start + FEATURES)
        yield alive[start:end]
        start = end


def _guess(
    activations: NDArray[np.float16], half: NDArray[np.int8], directions: torch.Tensor, firing: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(k,) float32: values that hardly fewer bases of the select half exceed than are wanted, and not many more."""
    chooses = np.flatnonzero(half == SELECT)
    few = chooses[:: -(-len(chooses) // FEW)]
    h = np.sort((directions.T @ torch.from_numpy(activations[few]).float().T).numpy(), axis=1)
    rank = np.ceil(SURPLUS * firing * len(few) / len(chooses)).astype(np.int64) + MARGIN
    low = np.take_along_axis(h, np.maximum(len(few) - rank, 0)[:, None], axis=1)[:, 0]
    return np.where(rank < len(few), np.nextafter(low, np.float32(-np.inf)), np.float32(-np.inf))  # ties pass too


def _cuts(values: csr_array, half: NDArray[np.int8], firing: NDArray[np.int64], low: NDArray[np.float32]):
    """(k, T) float32: what the values must exceed, so that each feature fires as often as wanted at threshold 0."""
    columns = values[half == SELECT].tocsc()
    cuts = np.empty((len(low), len(THRESHOLDS)), np.float32)
    for i, wanted in enumerate(firing.tolist()):
        chooses = columns.data[columns.indptr[i] : columns.indptr[i + 1]]
        k = max(len(chooses) - wanted, 0)
        least, largest = np.partition(chooses, k)[k], chooses.max()
        zero = np.nextafter(least, np.float32(-np.inf))
        cuts[i] = zero + np.array(THRESHOLDS, np.float32) * (largest - zero)
    return cuts
