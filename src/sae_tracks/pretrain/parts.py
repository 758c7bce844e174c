"""Which bases are trained on and which are held out, and how long parts are walked piece by piece."""

from collections.abc import Iterable, Iterator

from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion, intersect_regions, subtract_regions


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


def pieces(part: GenomicRegion, length: int, overlap: int) -> Iterator[GenomicRegion]:
    """Pieces of at most `length` bases that cover a part; each begins with the last `overlap` bases of the one before.

    So every run of ``overlap + 1`` bases lies in exactly one piece. ``overlap < length``.
    """
    start, end = part.start, min(part.start + length, part.end)
    yield GenomicRegion(part.contig, start, end)
    while end < part.end:
        start, end = end - overlap, min(end - overlap + length, part.end)
        yield GenomicRegion(part.contig, start, end)
