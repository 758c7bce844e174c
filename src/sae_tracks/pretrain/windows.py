"""Training windows: drawn at random, by (seed, step), from what is not held out."""

import numpy as np
from numpy.typing import NDArray

from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.lm import base_tokens
from sae_tracks.regions import GenomicRegion

ALL = slice(None)


class WindowSampler:
    """Windows of one length, drawn uniformly over the places where they fit, from either strand.

    Parameters
    ----------
    parts : list of GenomicRegion
        Where windows may lie, as `parts_outside` gives them.
    length : int
        Bases of a window.
    """

    def __init__(self, genome: Genome, parts: list[GenomicRegion], length: int) -> None:
        self.genome, self.length = genome, length
        self.parts = [part for part in parts if len(part) >= length]
        if not self.parts:
            raise SaeTracksError(f"{genome.path.name} has no stretch of {length:,} bases to train on")
        self.places = np.cumsum([len(part) - length + 1 for part in self.parts])

    def batch(self, size: int, seed: int, step: int, share: slice = ALL) -> NDArray[np.int64]:
        """(windows, length) token ids: a share of the `size` windows that (seed, step) alone determine."""
        rng = np.random.default_rng([seed, step])
        draws = [self._draw(rng) for _ in range(size)]
        return np.stack([base_tokens(self._read(*draw)) for draw in draws[share]])

    def _draw(self, rng: np.random.Generator) -> tuple[GenomicRegion, bool]:
        at = int(rng.integers(self.places[-1]))
        index = int(np.searchsorted(self.places, at, side="right"))
        part = self.parts[index]
        start = part.start + at - (int(self.places[index - 1]) if index else 0)
        return GenomicRegion(part.contig, start, start + self.length), bool(rng.integers(2))

    def _read(self, region: GenomicRegion, reverse: bool) -> bytes:
        sequence = self.genome.sequence(region)
        return reverse_complement(sequence) if reverse else sequence
