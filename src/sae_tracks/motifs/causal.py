"""What a left-to-right reader can know of a motif's sites: the ideal that a causal model is measured against."""

import numpy as np
from numpy.typing import NDArray

from sae_tracks.dna import codes, kmers
from sae_tracks.motifs.kernels import completion, expect_sites
from sae_tracks.motifs.matrix import Motif
from sae_tracks.motifs.pvalue import losses


def markov2(sequence: bytes) -> NDArray[np.float64]:
    """How bases follow one another: order-2 Markov probabilities of a sequence.

    Returns
    -------
    (16, 4) float64
        Row 4 a + b: of A, C, G and T after the bases a and b. Every count is begun at 1; runs of other letters are
        passed over.
    """
    triples, clean = kmers(sequence, 3)
    counts = 1.0 + np.bincount(triples[clean >= 3] & 63, minlength=64).reshape(16, 4)
    return counts / counts.sum(axis=1, keepdims=True)


def causal_scores(motif: Motif, limit: int, sequence: bytes, background: NDArray[np.float64]) -> NDArray[np.float64]:
    """How probable it is, base by base as they are read, that the base lies in a site of the motif.

    The score of base i is ``1 - product over j of (1 - P_j)``, where P_j is the probability that the site that began at
    i - j, of which positions 0 to j are read, becomes a whole one when the coming bases follow the background. It is
    exact for the discretised matrix. The last base of a site scores 1, a base that no site can cover 0.

    Parameters
    ----------
    motif : Motif
        As it lies along the direction of reading. Read forward that is the matrix for sites on +, and its
        `reverse_complement` for sites on -. For a reader from right to left give the reverse complement of the sequence
        and the other of the two matrices, and turn the scores round.
    limit : int
        What a site may lose, from `loss_limit`; the same for a matrix and its reverse complement.
    sequence : bytes
        Either case; no site covers a letter other than A, C, G and T, which scores 0.
    background : (16, 4) float64
        From `markov2` of the sequence as it is read. What came before the first base, and before the one after another
        letter, is taken as equally any base.

    Returns
    -------
    (n,) float64
        0 to 1.
    """
    lost = losses(motif)
    if limit < 0:
        return np.zeros(len(sequence))
    return expect_sites(codes(sequence), lost, completion(lost, background, limit))
