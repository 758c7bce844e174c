"""What features are scored against: which bases, which concepts, which halves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sae_tracks.annotations import filter_sites, read_annotations
from sae_tracks.files import sha256
from sae_tracks.genome import Genome
from sae_tracks.metrics.halves import Halves, halves_of
from sae_tracks.metrics.labels import Labels
from sae_tracks.regions import GenomicRegion


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The bases and concepts of one evaluation; see `evaluate_on`.

    Attributes
    ----------
    genome : Genome
        Where A, C, G and T are looked up.
    regions : list of GenomicRegion
        The bases evaluated, disjoint, in FASTA order.
    black_list : list of GenomicRegion
        Bases left out of every count.
    labels : Labels
        The concepts, and the annotation that they come from.
    halves : Halves
        Which bases choose and which report.
    """

    genome: Genome
    regions: list[GenomicRegion]
    black_list: list[GenomicRegion]
    labels: Labels
    halves: Halves

    @property
    def bases(self) -> int:
        """Bases of the regions, N included."""
        return sum(len(region) for region in self.regions)


def evaluate_on(
    genome: Genome,
    annotations: Sequence[str | Path],
    regions: Iterable[GenomicRegion] | None = None,
    *,
    black_list: Iterable[GenomicRegion] = (),
    min_score: float | None = None,
    min_instances: int = 10,
    max_coverage: float | None = None,
    alias: str | Path | None = None,
    split: bool = True,
    select: Iterable[GenomicRegion] = (),
    report: Iterable[GenomicRegion] = (),
) -> Evaluation:
    """Read annotations and lay out an evaluation.

    Parameters
    ----------
    genome : Genome
        The FASTA.
    annotations : sequence of path
        See `read_annotation`.
    regions : iterable of GenomicRegion, optional
        Default: the whole genome.
    black_list : iterable of GenomicRegion
        Bases left out.
    min_score, min_instances, max_coverage
        See `filter_sites`.
    alias
        See `read_annotation`.
    split : bool
        Choose features and thresholds on other bases than those reported on; see `halves_of`.
    select, report : iterable of GenomicRegion
        The bases to choose and to report on; see `halves_of`.
    """
    regions = genome.merged(regions)
    halves = halves_of(regions, split=split, select=genome.merged(select), report=genome.merged(report))
    annotation = filter_sites(
        read_annotations(annotations, genome, regions, alias=alias),
        regions,
        min_score=min_score,
        min_instances=min_instances,
        max_coverage=max_coverage,
    )
    return Evaluation(genome, regions, list(black_list), Labels(annotation), halves)


def annotation_checksums(annotations: Sequence[str | Path]) -> dict[str, str | None]:
    """SHA-256 of every annotation file, for provenance; None for a pipe, which can be read only once."""
    return {str(path): sha256(Path(path)) if Path(path).is_file() else None for path in annotations}
