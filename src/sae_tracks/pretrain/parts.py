"""Which bases are trained on and which are held out, and how long parts are walked piece by piece."""

from collections.abc import Iterable, Iterator

from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion


def parts_inside(genome: Genome, regions: Iterable[GenomicRegion]) -> list[GenomicRegion]:
    """The parts of regions between long runs of N, in the order of the regions."""
    regions = list(regions)
    stretches = {contig: genome.stretches(contig) for contig in {region.contig for region in regions}}
    overlaps = (stretch.overlap(region) for region in regions for stretch in stretches[region.contig])
    return [part for part in overlaps if part]


def parts_outside(genome: Genome, held_out: Iterable[GenomicRegion]) -> list[GenomicRegion]:
    """The parts of a genome between long runs of N that no held-out region touches, in the order of the FASTA.

    Parameters
    ----------
    held_out : iterable of GenomicRegion
        Disjoint and in FASTA order, as `Genome.merged` gives them.
    """
    others: dict[str, list[GenomicRegion]] = {}
    for region in held_out:
        others.setdefault(region.contig, []).append(region)
    stretches = (stretch for contig in genome.lengths for stretch in genome.stretches(contig))
    return [part for stretch in stretches for part in _subtract(stretch, others.get(stretch.contig, []))]


def _subtract(region: GenomicRegion, others: list[GenomicRegion]) -> Iterator[GenomicRegion]:
    start = region.start
    for other in others:
        if other.end > start and other.start < region.end:
            if other.start > start:
                yield GenomicRegion(region.contig, start, other.start)
            start = other.end
    if start < region.end:
        yield GenomicRegion(region.contig, start, region.end)


def pieces(part: GenomicRegion, length: int, overlap: int) -> Iterator[GenomicRegion]:
    """Pieces of at most `length` bases that cover a part; each begins with the last `overlap` bases of the one before.

    So every run of ``overlap + 1`` bases lies in exactly one piece. ``overlap < length``.
    """
    start, end = part.start, min(part.start + length, part.end)
    yield GenomicRegion(part.contig, start, end)
    while end < part.end:
        start, end = end - overlap, min(end - overlap + length, part.end)
        yield GenomicRegion(part.contig, start, end)
