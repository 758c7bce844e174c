"""Stretches of a genome to train on and to hold out, overlapping chunks of them, and windows drawn at random."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.lm import base_tokens
from sae_tracks.regions import GenomicRegion, intersect_regions, subtract_regions


def stretches_inside(genome: Genome, regions: Iterable[GenomicRegion]) -> list[GenomicRegion]:
    """The stretches of regions between long runs of N, in the order of the regions."""
    regions = list(regions)
    contigs = dict.fromkeys(region.contig for region in regions)
    return intersect_regions(regions, [stretch for contig in contigs for stretch in genome.stretches(contig)])


def stretches_outside(genome: Genome, held_out: Iterable[GenomicRegion]) -> list[GenomicRegion]:
    """The stretches of a genome between long runs of N without the held-out regions, in the order of the FASTA.

    Held-out regions are disjoint and in FASTA order, as `Genome.merged` gives them.
    """
    stretches = [stretch for contig in genome.lengths for stretch in genome.stretches(contig)]
    return subtract_regions(stretches, held_out)


def overlapping_chunks(region: GenomicRegion, length: int, overlap: int) -> Iterator[GenomicRegion]:
    """Chunks of at most `length` bases that cover a region; each begins with the last `overlap` bases of the previous.

    So every run of ``overlap + 1`` bases lies in exactly one chunk. ``overlap < length``.
    """
    for start in range(region.start, max(region.end - overlap, region.start + 1), length - overlap):
        yield GenomicRegion(region.contig, start, min(start + length, region.end))


class WindowSampler:
    """Windows of `length` bases, drawn uniformly over all places in some stretches of a genome, from either strand."""

    def __init__(self, genome: Genome, stretches: list[GenomicRegion], length: int) -> None:
        self.genome, self.length = genome, length
        self.stretches = [stretch for stretch in stretches if len(stretch) >= length]
        if not self.stretches:
            raise SaeTracksError(f"{genome.path.name} has no stretch of {length:,} bases to train on")
        self.places = np.cumsum([len(stretch) - length + 1 for stretch in self.stretches])

    def batch(self, size: int, seed: int, step: int, share: slice = slice(None)) -> NDArray[np.int64]:
        """(windows, length) token ids: a share of the `size` windows that (seed, step) alone determine."""
        rng = np.random.default_rng([seed, step])
        draws = [self._draw(rng) for _ in range(size)]
        return np.stack([base_tokens(self._read(*draw)) for draw in draws[share]])

    def _draw(self, rng: np.random.Generator) -> tuple[GenomicRegion, bool]:
        at = int(rng.integers(self.places[-1]))
        index = int(np.searchsorted(self.places, at, side="right"))
        stretch = self.stretches[index]
        start = stretch.end - self.length + 1 - (int(self.places[index]) - at)
        return GenomicRegion(stretch.contig, start, start + self.length), bool(rng.integers(2))

    def _read(self, region: GenomicRegion, reverse: bool) -> bytes:
        sequence = self.genome.sequence(region)
        return reverse_complement(sequence) if reverse else sequence
