"""The circular shift: would labels laid anywhere else fit the feature as well?

A sanity check and no more: motifs that mean nothing pass it as easily as real ones, since both keep to their sequence.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.controls.pairs import Reported
from sae_tracks.jit import HOW

SHIFTS = 200
LEAST = 1000  # bases that labels are shifted by, in either direction


def shift_p(reported: Reported, seed: int, shifts: int = SHIFTS) -> NDArray[np.float64]:
    """Empirical p-value of each pair's F1 under circular shifts of its labels.

    The readable bases of the REPORT half form one circle of m bases, on which labels are shifted by offsets drawn
    uniformly from 1,000 to m - 1,000, the same for all pairs: p = (1 + #{shifts whose F1 is not lower}) / (shifts + 1).
    A shift changes neither the number of labelled bases nor that of active ones, so true positives are compared.

    Parameters
    ----------
    reported : Reported
    seed : int
        The same seed draws the same offsets.
    shifts : int

    Returns
    -------
    (p,) float64
        NaN where nothing is active or labelled, or where there are no 2,000 bases.
    """
    m, pairs = len(reported), reported.pairs
    p = np.full(len(pairs), np.nan)
    if m < 2 * LEAST:
        return p
    offsets = np.random.default_rng(seed).integers(LEAST, m - LEAST, shifts, endpoint=True)
    mask = np.zeros(m, np.bool_)
    for i, concept in enumerate(pairs.concept):
        label, active = reported.labels[concept][0], reported.active(i)
        if len(label) or len(active):
            p[i] = (1 + _not_lower(label, active, mask, offsets)) / (shifts + 1)
    return p


def _not_lower(label, active, mask: NDArray[np.bool_], offsets: NDArray[np.int64]) -> int:
    """The shifts with no fewer true positives; the shorter list is looked up in the longer one."""
    long, short, offsets = (active, label, offsets) if len(label) < len(active) else (label, active, -offsets)
    mask[long] = True
    overlap = _overlap(short, mask, np.concatenate(([0], offsets % len(mask))))
    mask[long] = False
    return int((overlap[1:] >= overlap[0]).sum())


@njit(**HOW)
def _overlap(bases, mask, offsets):
    """(k,) int64: how many of the bases lie on the mask after each shift, by 0 <= offset < m."""
    m = len(mask)
    found = np.zeros(len(offsets), np.int64)
    for k in range(len(offsets)):
        turn = np.searchsorted(bases, m - offsets[k])  # from here on, past the end of the circle
        count = 0
        for i in range(turn):
            count += mask[bases[i] + offsets[k]]
        for i in range(turn, len(bases)):
            count += mask[bases[i] + offsets[k] - m]
        found[k] = count
    return found
