"""What features are scored against: the bases, the concepts on them, and the two halves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations import Annotation, filter_sites, read_annotations, read_regions
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import digest, sha256
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

    def overlapping(self, region: GenomicRegion) -> Instances:
        """The instances with at least one base in a region."""
        there = self._by_contig.get(region.contig)
        if there is None:
            return Instances(*np.zeros((len(COLUMNS), 0), np.int64))
        first = region.start - self._longest[region.contig]
        near = there[slice(*np.searchsorted(there.start, (first, region.end)))]
        return near[near.end > region.start]


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
    """A, C, G and T are concepts of the sequence, so no annotation may use these names, on any strand."""
    clash = concepts.loc[concepts["concept"].isin(list(NUCLEOTIDES)), "concept"]
    if len(clash):
        raise SaeTracksError(
            f"{source} has a concept {clash.iloc[0]!r}, which is the name of a nucleotide: rename it in the file, for "
            f"example to 'type {clash.iloc[0]}'"
        )


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
    alias : str or path, optional
        Other names of contigs, for files that are read later; see `read_annotation`.
    min_score : float, optional
        The lowest score of a site, in the units of the annotation.
    facts : dict
        What the provenance of a product says of all this, for JSON.
    """

    genome: Genome
    regions: list[GenomicRegion]
    black_list: list[GenomicRegion]
    labels: Labels
    halves: Halves
    alias: str | Path | None = None
    min_score: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def bases(self) -> int:
        """Bases of the regions, N included."""
        return sum(len(region) for region in self.regions)

    @property
    def size(self) -> str:
        """How many bases and concepts there are, in words."""
        return f"{self.bases:,} bases, {len(self.labels.concepts):,} concepts"


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
    select: Iterable[GenomicRegion | str] = (),
    report: Iterable[GenomicRegion | str] = (),
) -> Evaluation:
    """Read annotations and say what features are scored against.

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
    select, report : iterable of GenomicRegion or str
        The bases to choose and to report on; see `split_halves`. A text is a BED file, or a region such as ``chr14`` or
        ``chr14:1-1,000`` (1-based inclusive).

    Returns
    -------
    Evaluation
        The bases, concepts and halves that features are scored on.

    Raises
    ------
    SaeTracksError
        A file is malformed, no site is left, or a half would be empty.
    """
    regions, select, report = genome.merged(regions), list(select), list(report)
    halves = split_halves(regions, split=split, select=_named(genome, select), report=_named(genome, report))
    annotation = filter_sites(
        read_annotations(annotations, genome, regions, alias=alias),
        regions,
        min_score=min_score,
        min_instances=min_instances,
        max_coverage=max_coverage,
    )
    facts = {
        "annotations": annotation_checksums(annotations),
        "min_score": min_score,
        "min_instances": min_instances,
        "max_coverage": max_coverage,
        "alias": None if alias is None else str(alias),
        "alias_sha256": next(iter(annotation_checksums([alias]).values())) if alias else None,
        "split": split,
        "select_on": [str(one) for one in select] or None,
        "report_on": [str(one) for one in report] or None,
        "halves_sha256": digest([str(halves)]),
    }
    labels = Labels(annotation)
    return Evaluation(genome, regions, list(black_list), labels, halves, alias, min_score, facts)


def _named(genome: Genome, texts: Iterable[GenomicRegion | str]) -> list[GenomicRegion]:
    """Regions, disjoint and in FASTA order, from regions, their texts, and BED files."""
    found: list[GenomicRegion] = []
    for one in texts:
        if isinstance(one, GenomicRegion):
            found.append(one)
        else:
            found += read_regions(one, genome) if Path(one).is_file() else [genome.region(one)]
    return genome.merged(found)


def annotation_checksums(annotations: Sequence[str | Path]) -> dict[str, str | None]:
    """SHA-256 of every annotation file, for provenance; None for a pipe, which can be read only once."""
    return {str(path): sha256(Path(path)) if Path(path).is_file() else None for path in annotations}
