"""Parts of a genome to train on and to hold out, overlapping chunks of long parts, and windows drawn at random."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.lm import base_tokens
from sae_tracks.regions import GenomicRegion, intersect_regions, subtract_regions

ALL = slice(None)


def parts_inside(genome: Genome, regions: Iterable[GenomicRegion]) -> list[GenomicRegion]:
    """The parts of regions between long runs of N, in the order of the regions."""
    regions = list(regions)
    contigs = dict.fromkeys(region.contig for region in regions)
    return intersect_regions(regions, [part for contig in contigs for part in genome.stretches(contig)])


def parts_outside(genome: Genome, held_out: Iterable[GenomicRegion]) -> list[GenomicRegion]:
    """The parts of a genome between long runs of N that no held-out region touches, in the order of the FASTA.

    Parameters
    ----------
    held_out : iterable of GenomicRegion
        Disjoint and in FASTA order, as `Genome.merged` gives them.
    """
    stretches = [stretch for contig in genome.lengths for stretch in genome.stretches(contig)]
    return subtract_regions(stretches, held_out)


def overlapping_chunks(part: GenomicRegion, length: int, overlap: int) -> Iterator[GenomicRegion]:
    """Chunks of at most `length` bases that cover a part; each begins with the last `overlap` bases of the one before.

    So every run of ``overlap + 1`` bases lies in exactly one chunk. ``overlap < length``.
    """
    start, end = part.start, min(part.start + length, part.end)
    yield GenomicRegion(part.contig, start, end)
    while end < part.end:
        start, end = end - overlap, min(end - overlap + length, part.end)
        yield GenomicRegion(part.contig, start, end)


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
