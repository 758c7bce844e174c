"""What the language model's own dimensions explain without an autoencoder: one at a time, or all in a linear probe."""

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from sae_tracks.controls.best import Best, Cells, best, halves_of
from sae_tracks.controls.linear import probe
from sae_tracks.controls.sample import SELECT, Sample, Sites
from sae_tracks.jit import HOW
from sae_tracks.threads import Each, pieces

QUANTILES = np.array([0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999])  # of the select half, of x and of -x
CHANNELS = 16  # looked at together
BASES = 1 << 16  # by one thread at a time


def best_neurons(sample: Sample, sites: Sites) -> pd.DataFrame:
    """The dimension, sign and quantile that fit each concept best.

    Returns
    -------
    DataFrame
        A row a concept: ``neuron``, as ``+17`` or ``-17`` ("" where none has a base in common with it), and
        ``neuron_f1`` on the report half.
    """
    half, found = halves_of(sample), Best.none(len(sites.labels))
    for first in range(0, sample.activations.shape[1], CHANNELS):
        cells = neuron_cells(sample.activations[:, first : first + CHANNELS], half)
        found = found.or_better(best(cells, sites.labels, half), 2 * first)
    names = ["" if c < 0 else f"{'+-'[c % 2]}{c // 2}" for c in found.column.tolist()]
    return pd.DataFrame({"neuron": np.array(names, object), "neuron_f1": found.f1})


def probe_neurons(sample: Sample, sites: Sites) -> NDArray[np.float64]:
    """(C,) float64: F1, on the report half, of a linear probe on all dimensions; see `probe`."""

    def inputs(part: slice) -> NDArray[np.float32]:
        return sample.activations[part].astype(np.float32)

    return probe(inputs, sample.activations.shape[1], sites.labels, halves_of(sample))


def neuron_cells(activations: NDArray[np.float16], half: NDArray[np.int8]) -> Cells:
    """Two columns a channel, x and -x, each with a threshold at every quantile."""
    n, width = activations.shape
    cell = np.empty((n, width), np.int32)
    with pieces() as each:
        upper, lower = _thresholds(activations, half == SELECT, each)

        def lay(part: slice) -> None:
            _lay(activations[part].astype(np.float32), upper, lower, cell[part])

        each(lay, n, BASES)
    return Cells(np.arange(n + 1) * width, cell.reshape(-1), 2 * width, len(QUANTILES))


def _thresholds(activations: NDArray[np.float16], chooses: NDArray[np.bool_], each: Each):
    """(channels, T) float32 twice: x is active above the one, -x where x is below the other."""
    width, m = activations.shape[1], np.count_nonzero(chooses)
    upper, lower = (
        np.full((width, len(QUANTILES)), np.inf, np.float32),
        np.full((width, len(QUANTILES)), -np.inf, np.float32),
    )
    rank = (QUANTILES * m).astype(np.int64)  # so no base lies above the one median and below the other

    def sort(part: slice) -> None:
        for channel in range(part.start, part.stop):
            ordered = np.sort(activations[chooses, channel].astype(np.float32))
            upper[channel], lower[channel] = ordered[rank], ordered[m - 1 - rank]

    if m:
        each(sort, width, 1)
    return upper, lower


@njit(**HOW)
def _lay(x, upper, lower, cell):
    """Cells of (b, channels) values."""
    depth = upper.shape[1]
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            value, above = x[i, j], 0
            while above < depth and value > upper[j, above]:
                above += 1
            below = 0
            while below < depth and value < lower[j, below]:
                below += 1
            cell[i, j] = -1
            if above > 0:
                cell[i, j] = 2 * j * depth + above - 1
            elif below > 0:
                cell[i, j] = (2 * j + 1) * depth + below - 1
