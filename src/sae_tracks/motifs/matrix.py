"""A motif's count matrix, and what a base at a position is worth."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sae_tracks.dna import codes

BACKGROUND = 0.25  # of each base: uniform, as in the JASPAR tracks


@dataclass(frozen=True, slots=True, eq=False)
class Motif:
    """One matrix of a motif database.

    Attributes
    ----------
    matrix_id : str
        Such as ``MA0139.1``.
    tf : str
        Name of the transcription factor, or empty.
    counts : (w, 4) float64
        Sites with each base at each position; columns A, C, G, T; no row is zero.
    tf_class, tf_family : str
        Structural class and family of the factor (TFClass), or empty.
    """

    matrix_id: str
    tf: str
    counts: NDArray[np.float64]
    tf_class: str = ""
    tf_family: str = ""

    @property
    def width(self) -> int:
        """Positions."""
        return len(self.counts)

    def probabilities(self) -> NDArray[np.float64]:
        """(w, 4) float64: (count + sqrt(N) / 4) / (N + sqrt(N)), N a position's sites: the JASPAR tracks' rule."""
        n = self.counts.sum(axis=1, keepdims=True)
        return (self.counts + BACKGROUND * np.sqrt(n)) / (n + np.sqrt(n))

    def log_odds(self) -> NDArray[np.float64]:
        """(w, 4) float64, bits: log2 of the probabilities over the uniform background."""
        return np.log2(self.probabilities() / BACKGROUND)

    def costs(self) -> NDArray[np.float64]:
        """(w, 4) float64, bits, 0 or more: what a base scores less than the best base of its position."""
        scores = self.log_odds()
        return scores.max(axis=1, keepdims=True) - scores

    def span(self) -> float:
        """Bits between the best and the worst score of a word; 0 where all words score alike."""
        return float(self.costs().max(axis=1).sum())

    def relative_score(self, word: bytes) -> float:
        """(score - worst) / (best - worst) of a word of A, C, G and T as long as the motif: 0 to 1."""
        cost = self.costs()[np.arange(self.width), codes(word)].sum()
        return float(1 - cost / self.span())

    def reverse_complement(self) -> "Motif":
        """The matrix that scores a word as this one scores the word's reverse complement."""
        return replace(self, counts=np.ascontiguousarray(self.counts[::-1, ::-1]))
