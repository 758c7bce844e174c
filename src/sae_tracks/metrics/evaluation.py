"""The bases and concepts that features are scored on, and the two halves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations import Annotation, filter_sites, read_annotations, read_regions
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import digest, sha256
from sae_tracks.genome import Genome
from sae_tracks.metrics.halves import Halves, split_halves
from sae_tracks.names import counted
from sae_tracks.regions import GenomicRegion


class Labels:
    """The concepts of an annotation, and A, C, G and T from the sequence.

    A concept is a name on a site strand; overlapping instances of one concept label a base once.

    Attributes
    ----------
    annotation : Annotation
        The concepts come from it.
    concepts : DataFrame
        ``concept``, ``site_strand`` and ``tf``: A, C, G, T on +, then the annotation's, sorted.
    instances : DataFrame
        ``Chromosome``, ``Start``, ``End``, ``concept`` (its row in `concepts`), ``copies``: how many instances lie
        exactly there, and ``score``: that of the first of them. Sorted by contig and start.
    """

    def __init__(self, annotation: Annotation) -> None:
        self.annotation = annotation
        sites = annotation.sites
        annotated, concept = _concepts(sites)
        _refuse_nucleotides(annotated, annotation.source)
        bases = pd.DataFrame({"concept": list(NUCLEOTIDES), "site_strand": "+", "tf": ""}, dtype=object)
        self.concepts = pd.concat([bases, annotated], ignore_index=True)
        contig = sites["Chromosome"].astype("category").cat.remove_unused_categories().cat
        place = [sites["Start"].to_numpy(np.int64), len(NUCLEOTIDES) + concept, sites["End"].to_numpy(np.int64)]
        rows = np.stack([contig.codes.to_numpy(np.int64), *place])
        order = np.lexsort(rows[::-1])
        rows, score = rows[:, order], sites["Score"].to_numpy(np.float64)[order]
        first = np.flatnonzero(np.append(True, (rows[:, 1:] != rows[:, :-1]).any(axis=0))[: rows.shape[1]])
        number, start, concept, end = rows[:, first]
        names, copies = pd.Categorical.from_codes(number, contig.categories), np.diff(np.append(first, rows.shape[1]))
        columns = {"Chromosome": names, "Start": start, "End": end, "concept": concept, "copies": copies}
        columns["score"] = score[first]
        self.instances = pd.DataFrame(columns)
        edges = np.searchsorted(number, np.arange(len(contig.categories) + 1)).tolist()
        self._rows_of = {name: slice(*edge) for name, edge in zip(contig.categories, pairwise(edges))}
        self._longest = {name: int((end - start)[rows].max()) for name, rows in self._rows_of.items()}

    def overlapping(self, region: GenomicRegion) -> pd.DataFrame:
        """The rows of `instances` with at least one base in a region, by start."""
        there = self.instances.iloc[self._rows_of.get(region.contig, slice(0))]
        first = region.start - self._longest.get(region.contig, 0)
        near = there.iloc[slice(*np.searchsorted(there["Start"], (first, region.end)))]
        return cast(pd.DataFrame, near[near["End"] > region.start])


def _concepts(sites: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The names on site strands, sorted, each with the TF of its first site; and the number of each site's concept."""
    name, strand = sites["Name"].astype("category").cat, sites["Strand"].astype("category").cat
    pair = name.codes.to_numpy(np.int64) * len(strand.categories) + strand.codes.to_numpy(np.int64)
    _, first, which = np.unique(pair, return_index=True, return_inverse=True)
    concepts = sites.iloc[first][["Name", "Strand", "TF"]].astype(object)
    concepts = concepts.set_axis(["concept", "site_strand", "tf"], axis=1).reset_index(drop=True)
    order = concepts.sort_values(["concept", "site_strand"]).index.to_numpy()
    return concepts.loc[order].reset_index(drop=True), np.argsort(order)[which]


def _refuse_nucleotides(concepts: pd.DataFrame, source: str) -> None:
    """Refuse an annotation that uses A, C, G or T on any strand, because these are concepts of the sequence."""
    clash = concepts.loc[concepts["concept"].isin(list(NUCLEOTIDES)), "concept"]
    if len(clash):
        raise SaeTracksError(
            f"{source} has a concept {clash.iloc[0]!r}, which is the name of a nucleotide: rename it in the file, for "
            f"example to 'type {clash.iloc[0]}'"
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The bases, concepts and halves that features are scored on; see `evaluate_on`.

    Attributes
    ----------
    genome : Genome
        A, C, G and T are looked up in it.
    regions : list of GenomicRegion
        The bases evaluated, disjoint, in FASTA order.
    black_list : list of GenomicRegion
        Bases left out of every count.
    labels : Labels
        The concepts, and the annotation that they come from.
    halves : Halves
        The bases that choose, and those that report.
    alias : str or path, optional
        Other names of contigs, for files that are read later; see `read_annotation`.
    min_score : float, optional
        The lowest score of a site, in the units of the annotation.
    facts : dict
        The same for the provenance of a product, as JSON.
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
        """The number of bases and concepts, in words."""
        return f"{self.bases:,} bases, {counted(len(self.labels.concepts), 'concept')}"


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
    """Read annotations, and choose the bases and halves that features are scored on.

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
    min_score, min_instances, max_coverage, alias
        See `filter_sites` and, for the alias, `read_annotation`.
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
    black = genome.merged(black_list) if (black_list := list(black_list)) else []
    halves = halves_on(genome, regions, split=split, select=select, report=report)
    filters: dict[str, Any] = {"min_score": min_score, "min_instances": min_instances, "max_coverage": max_coverage}
    annotation = filter_sites(read_annotations(annotations, genome, regions, alias=alias), regions, **filters)
    facts = {
        "annotations": annotation_checksums(annotations),
        **filters,
        "alias": None if alias is None else str(alias),
        "alias_sha256": annotation_checksums([alias])[str(alias)] if alias else None,
        "split": split,
        "select_on": [str(one) for one in select] or None,
        "report_on": [str(one) for one in report] or None,
        "halves_sha256": digest([str(halves)]),
    }
    return Evaluation(genome, regions, black, Labels(annotation), halves, alias, min_score, facts)


def halves_on(
    genome: Genome,
    regions: Iterable[GenomicRegion],
    *,
    split: bool = True,
    select: Iterable[GenomicRegion | str] = (),
    report: Iterable[GenomicRegion | str] = (),
) -> Halves:
    """Split disjoint regions into two halves; `select` and `report` are as in `evaluate_on`."""
    return split_halves(regions, split=split, select=_named(genome, select), report=_named(genome, report))


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
