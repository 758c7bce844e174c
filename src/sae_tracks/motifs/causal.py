"""The ideal left-to-right reader of motif sites, a reference for causal models."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.dna import OTHER, codes, kmers
from sae_tracks.jit import EXACT
from sae_tracks.motifs.matrix import Motif, losses


def markov2(sequence: bytes) -> NDArray[np.float64]:
    """Return (16, 4) order-2 Markov probabilities of a sequence.

    Row 4 a + b has those of A, C, G and T after the bases a and b. Every count begins at 1; other letters are skipped.
    """
    triples, clean = kmers(sequence, 3)
    counts = 1.0 + np.bincount(triples[clean >= 3] & 63, minlength=64).reshape(16, 4)
    return counts / counts.sum(axis=1, keepdims=True)


def causal_scores(motif: Motif, limit: int, sequence: bytes, background: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) probabilities, as each base is read, that it lies in a site of the motif.

    The score of base i is ``1 - product over j of (1 - P_j)``. P_j is the probability that the site that began at
    i - j, with positions 0 to j read so far, becomes a whole one if the coming bases follow the background. It is exact
    for the discretised matrix. The last base of a site scores 1, a base that no site can cover 0.

    Parameters
    ----------
    motif : Motif
        As it lies along the direction of reading. Read forward that is the matrix for sites on +, and its
        `reverse_complement` for sites on -. For a reader from right to left give the reverse complement of the sequence
        and the other of the two matrices, and reverse the scores.
    limit : int
        The largest loss of a site, from `loss_limit`; the same for a matrix and its reverse complement.
    sequence : bytes
        Either case; no site covers a letter other than A, C, G and T, which scores 0.
    background : (16, 4) float64
        From `markov2` of the sequence as it is read. The bases before the first one, and before the one after another
        letter, are taken as equally likely.
    """
    lost = losses(motif)
    if limit < 0:
        return np.zeros(len(sequence))
    return _expect_sites(codes(sequence), lost, _completion(lost, background, limit))


@njit(**EXACT)
def _completion(losses, background, limit):
    """(w, 16, limit + 1) float64: the probability that a begun site becomes a whole one.

    Entry (j, s, l): positions 0 to j are read, have lost l, and the last two bases are s (4 x last but one + last); the
    bases to come follow the background, (16, 4) probabilities by the same two bases.
    """
    w = len(losses)
    chance = np.zeros((w, 16, limit + 1))
    chance[w - 1] = 1.0
    for j in range(w - 2, -1, -1):
        for state in range(16):
            for base in range(4):
                loss, then = losses[j + 1, base], (state * 4 + base) % 16
                for l in range(limit - loss + 1):
                    chance[j, state, l] += background[state, base] * chance[j + 1, then, l + loss]
    return chance


@njit(**EXACT)
def _expect_sites(codes, losses, chance):
    """(n,) float64: the probability of a site at each base, from `_completion`; see `causal_scores`."""
    w, limit = len(losses), chance.shape[2] - 1
    lost = np.full(w, limit + 1, np.int64)  # of the site that began j bases ago
    scores = np.zeros(len(codes))
    before = OTHER
    for i in range(len(codes)):
        base = codes[i]
        if base == OTHER:
            lost[:] = limit + 1
            before = OTHER
            continue
        for j in range(w - 1, 0, -1):
            lost[j] = min(lost[j - 1] + losses[j, base], limit + 1)
        lost[0] = losses[0, base]
        none = 1.0
        for j in range(w):
            if lost[j] > limit:
                continue
            if before == OTHER:  # then j is 0: any base may have come before
                p = (chance[0, base, lost[0]] + chance[0, 4 + base, lost[0]]) / 4
                p += (chance[0, 8 + base, lost[0]] + chance[0, 12 + base, lost[0]]) / 4
            else:
                p = chance[j, before * 4 + base, lost[j]]
            none *= 1.0 - p
        scores[i] = 1.0 - none
        before = base
    return scores
