"""The inputs of a linear probe on the sequence around each base."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sae_tracks.controls.best import halves_of
from sae_tracks.controls.linear import Design, probe
from sae_tracks.controls.sample import Sample, Sites
from sae_tracks.dna import codes

FLANK = 15  # bases on either side
INPUTS = 4 * (2 * FLANK + 1)
ONE_HOT = np.eye(5, 4, dtype=np.float32)


def probe_sequence(sample: Sample, sites: Sites) -> NDArray[np.float64]:
    """(C,) float64: F1, on the report half, of a linear probe on the 31 bases around each base; see `probe`."""
    return probe(flanks(sample), INPUTS, sites.labels, halves_of(sample))


def flanks(sample: Sample) -> Design:
    """One-hot letters from 15 bases before to 15 after, A, C, G, T each; zeros beyond the bin and on other letters."""
    place = np.arange(len(sample)) + FLANK * (sample.bin_of_base() + 1)
    apart = np.full(len(sample) + FLANK * (len(sample.bins) + 1), 4, np.uint8)
    apart[place] = codes(sample.letters.tobytes())
    windows = sliding_window_view(apart, 2 * FLANK + 1)

    def inputs(part: slice) -> NDArray[np.float32]:
        return ONE_HOT[windows[place[part] - FLANK]].reshape(-1, INPUTS)

    return inputs
