"""What features are scored against: the bases, the concepts on them, and the two halves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations import Annotation, filter_sites, read_annotations
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import sha256
from sae_tracks.genome import Genome
from sae_tracks.metrics.halves import Halves, split_halves
from sae_tracks.regions import GenomicRegion

COLUMNS = ("start", "end", "concept", "copies")


@dataclass(frozen=True, slots=True)
class Instances:
    """Instances of concepts that overlap a region, by start: m of them, equal ones as one row.

    Attributes
    ----------
    start, end : (m,) int64
        0-based half-open, on the contig; they may reach over the edges of the region.
    concept : (m,) int64
        Row in `Labels.concepts`.
    copies : (m,) int64
        How many instances lie exactly there.
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    concept: NDArray[np.int64]
    copies: NDArray[np.int64]

    def __getitem__(self, which: slice | NDArray) -> "Instances":
        return Instances(*(getattr(self, name)[which] for name in COLUMNS))


class Labels:
    """The concepts of an annotation, and A, C, G and T from the sequence.

    A concept is a name on a site strand; overlapping instances of one concept label a base once.

    Attributes
    ----------
    annotation : Annotation
        What the concepts come from.
    concepts : DataFrame
        ``concept``, ``site_strand`` and ``tf``: A, C, G, T on +, then the annotation's, sorted.
    """

    def __init__(self, annotation: Annotation) -> None:
        self.annotation = annotation
        sites = annotation.sites
        annotated, concept = _concepts(sites)
        _refuse_nucleotides(annotated, annotation.source)
        bases = pd.DataFrame({"concept": list(NUCLEOTIDES), "site_strand": "+", "tf": ""}, dtype=object)
        self.concepts = pd.concat([bases, annotated], ignore_index=True)
        contig = sites["Chromosome"].astype("category").cat
        place = [sites["Start"].to_numpy(np.int64), len(NUCLEOTIDES) + concept, sites["End"].to_numpy(np.int64)]
        rows = np.stack([contig.codes.to_numpy(np.int64), *place])
        rows = rows[:, np.lexsort(rows[::-1])]
        first = np.flatnonzero(np.append(True, (rows[:, 1:] != rows[:, :-1]).any(axis=0))[: rows.shape[1]])
        number, start, concept, end = rows[:, first]
        found = Instances(start, end, concept, np.diff(np.append(first, rows.shape[1])))
        edges = np.searchsorted(number, np.arange(len(contig.categories) + 1))
        parts = zip(contig.categories, edges, edges[1:])
        self._by_contig = {name: found[slice(*part)] for name, *part in parts if part[0] < part[1]}
        self._longest = {name: int((part.end - part.start).max()) for name, part in self._by_contig.items()}

    @cached_property
    def instances(self) -> pd.DataFrame:
        """``Chromosome``, ``Start``, ``End``, ``concept``, its row in `concepts`, and ``copies``, as in `Instances`."""
        names = {"Start": "start", "End": "end", "concept": "concept", "copies": "copies"}
        parts = [
            pd.DataFrame({"Chromosome": contig} | {name: getattr(part, field) for name, field in names.items()})
            for contig, part in self._by_contig.items()
        ]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["Chromosome", *names])

    @cached_property
    def sites(self) -> pd.DataFrame:
        """``Chromosome``, ``Start``, ``End`` and ``concept`` of labelled bases: intervals disjoint within a concept."""
        return join_overlaps(self.instances[["Chromosome", "Start", "End", "concept"]], "concept")

    def overlapping(self, region: GenomicRegion) -> Instances:
        """The instances with at least one base in a region."""
        there = self._by_contig.get(region.contig)
        if there is None:
            return Instances(*np.zeros((len(COLUMNS), 0), np.int64))
        first = region.start - self._longest[region.contig]
        near = there[slice(*np.searchsorted(there.start, (first, region.end)))]
        return near[near.end > region.start]


def join_overlaps(intervals: pd.DataFrame, by: str) -> pd.DataFrame:
    """Disjoint intervals that cover the same bases within each value of `by`."""
    import pyranges

    return pyranges.PyRanges(intervals).merge(by=by, strand=False).df if len(intervals) else intervals


def _concepts(sites: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The names on site strands, sorted, each with the TF of its first site; and which of them each site is."""
    name, strand = sites["Name"].astype("category").cat, sites["Strand"].astype("category").cat
    pair = name.codes.to_numpy(np.int64) * len(strand.categories) + strand.codes.to_numpy(np.int64)
    _, first, which = np.unique(pair, return_index=True, return_inverse=True)
    concepts = sites.iloc[first][["Name", "Strand", "TF"]].astype(object)
    concepts = concepts.set_axis(["concept", "site_strand", "tf"], axis=1).reset_index(drop=True)
    order = concepts.sort_values(["concept", "site_strand"]).index.to_numpy()
    return concepts.loc[order].reset_index(drop=True), np.argsort(order)[which]


def _refuse_nucleotides(concepts: pd.DataFrame, source: str) -> None:
    """A, C, G and T on + come from the sequence, so an annotation cannot have them too."""
    clash = concepts.loc[concepts["concept"].isin(list(NUCLEOTIDES)) & (concepts["site_strand"] == "+"), "concept"]
    if len(clash):
        raise SaeTracksError(f"{source} has a concept {clash.iloc[0]!r}, a nucleotide's name: give it another")


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
        Choose features and thresholds on other bases than those reported on; see `split_halves`.
    select, report : iterable of GenomicRegion
        The bases to choose and to report on; see `split_halves`.
    """
    regions = genome.merged(regions)
    halves = split_halves(regions, split=split, select=genome.merged(select), report=genome.merged(report))
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
