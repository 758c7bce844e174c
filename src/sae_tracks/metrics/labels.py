"""From annotated intervals to concepts a base."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations import Annotation
from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import GenomicRegion

NUCLEOTIDES = "ACGT"


class Labels:
    """The concepts of an annotation, and A, C, G and T from the sequence.

    A concept is a name on a site strand; overlapping instances of one concept label a base once.

    Attributes
    ----------
    concepts : DataFrame
        ``concept``, ``site_strand`` and ``tf``: A, C, G, T on +, then the annotation's, sorted.
    sites : DataFrame
        ``Chromosome``, ``Start``, ``End`` and ``concept``, its row in `concepts`; disjoint within a concept.
    first_bases : DataFrame
        ``Chromosome``, ``Start`` and ``concept`` of every instance, before overlapping ones are joined.
    """

    def __init__(self, annotation: Annotation) -> None:
        annotated, concept = _concepts(annotation.sites)
        _refuse_nucleotides(annotated, annotation.source)
        bases = pd.DataFrame({"concept": list(NUCLEOTIDES), "site_strand": "+", "tf": ""}, dtype=object)
        self.concepts = pd.concat([bases, annotated], ignore_index=True)
        instances = annotation.sites[["Chromosome", "Start", "End"]].assign(concept=len(NUCLEOTIDES) + concept)
        self.first_bases = instances[["Chromosome", "Start", "concept"]]
        self.sites = join_overlaps(instances, "concept")
        self._sites = {contig: _Sorted(part) for contig, part in self.sites.groupby("Chromosome", observed=True)}
        self._firsts = {contig: _Sorted(part) for contig, part in self.first_bases.groupby("Chromosome", observed=True)}

    def bases(
        self, region: GenomicRegion, readable: NDArray[np.bool_], sequence: bytes
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The labels of consecutive bases.

        Parameters
        ----------
        region : GenomicRegion
            n bases.
        readable : (n,) bool
            Only such bases are labelled.
        sequence : n bytes
            Upper case, forward.

        Returns
        -------
        concept, base : (m,) int64 each
            Every pair once; a base counts from the first of the region.
        """
        concept, start, end = self._sites.get(region.contig, _Sorted.none()).overlapping(region)
        start, end = np.maximum(start - region.start, 0), np.minimum(end, region.end) - region.start
        length = end - start
        base = np.arange(length.sum()) + np.repeat(start - (np.cumsum(length) - length), length)
        nucleotide = nucleotide_of(sequence)
        known = np.flatnonzero(nucleotide >= 0)
        concept = np.concatenate((nucleotide[known], np.repeat(concept, length)))
        base = np.concatenate((known, base))
        return concept[readable[base]], base[readable[base]]

    def instances(
        self, region: GenomicRegion, readable: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Concepts and first bases, (m,) int64 each, of the instances whose first base is readable and in `region`."""
        concept, start = self._firsts.get(region.contig, _Sorted.none()).starting(region)
        first = start - region.start
        return concept[readable[first]], first[readable[first]]


class _Sorted:
    """Intervals of one contig by start."""

    def __init__(self, sites: pd.DataFrame) -> None:
        sites = sites.sort_values(["Start", "concept"])
        self.start, self.concept = sites["Start"].to_numpy(np.int64), sites["concept"].to_numpy(np.int64)
        self.end = sites["End"].to_numpy(np.int64) if "End" in sites else self.start + 1
        self.longest = int((self.end - self.start).max(initial=0))

    @classmethod
    def none(cls) -> "_Sorted":
        return cls(pd.DataFrame({"Start": [], "concept": []}))

    def overlapping(self, region: GenomicRegion):
        near = slice(*np.searchsorted(self.start, (region.start - self.longest, region.end)))
        hit = self.end[near] > region.start
        return self.concept[near][hit], self.start[near][hit], self.end[near][hit]

    def starting(self, region: GenomicRegion):
        inside = slice(*np.searchsorted(self.start, (region.start, region.end)))
        return self.concept[inside], self.start[inside]


def nucleotide_of(sequence: bytes) -> NDArray[np.int64]:
    """(n,) int64: 0 to 3 on A, C, G, T of an upper-case sequence, -1 elsewhere."""
    table = np.full(256, -1, np.int64)
    table[np.frombuffer(NUCLEOTIDES.encode(), np.uint8)] = range(4)
    return table[np.frombuffer(sequence, np.uint8)]


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
