"""Background peaks: for every peak others of like GC and accessibility.

chromVAR draws partners with replacement, for annotations that hold few peaks. A feature is active in most peaks, and
sums of weights in which some peaks count twice and others not at all are noisier than the feature's own. So a draw is a
permutation here: every peak is the partner of exactly one.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError

MOST = 24  # peaks that are permuted among each other


def background_peaks(
    accessibility: NDArray[np.float64], gc: NDArray[np.float64], draws: int, seed: int = 0
) -> NDArray[np.int64]:
    """Permute peaks among those that are like them.

    GC share and log10 of the mean count are whitened together, as in chromVAR (Schep et al. 2017). Peaks are then
    halved along lines of random directions until a group has at most 24, and permuted within groups. Every draw has
    lines of its own.

    Parameters
    ----------
    accessibility : (p,) float64
        Mean counts, > 0.
    gc : (p,) float64
        Share of G and C.
    draws : int
        Number of permutations.

    Returns
    -------
    (draws, p) int64
        The partner of every peak in every draw.

    Raises
    ------
    SaeTracksError
        All peaks have one GC share, or are equally accessible.
    """
    bias = np.stack([np.log10(accessibility), gc], axis=1)
    try:
        whitened = np.asarray(np.linalg.solve(np.linalg.cholesky(np.cov(bias.T)), bias.T).T, np.float64)
    except np.linalg.LinAlgError as error:
        raise SaeTracksError("the peaks do not differ in GC and accessibility, so none is like another") from error
    rng, found = np.random.default_rng(seed), np.empty((draws, len(gc)), np.int64)
    for partner in found:
        for group in _groups(whitened, rng):
            partner[group] = rng.permutation(group)
    return found


def _groups(points: NDArray[np.float64], rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of (p, 2) points in groups of at most `MOST` neighbours, each row once."""
    waiting = [np.arange(len(points))]
    while waiting:
        members = waiting.pop()
        if len(members) <= MOST:
            yield members
            continue
        angle = rng.uniform(0, np.pi)
        along = points[members] @ np.array([np.cos(angle), np.sin(angle)])
        middle = int(len(members) * rng.uniform(0.4, 0.6))
        order = np.argpartition(along, middle)
        waiting += [members[order[:middle]], members[order[middle:]]]
