"""Which sites are evaluated: those in the regions, of a high enough score, of a motif neither rare nor everywhere."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations.sites import Annotation, Removal
from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import GenomicRegion, merge_regions

log = logging.getLogger(__name__)
INTERVAL = ["Chromosome", "Start", "End"]


def filter_sites(
    annotation: Annotation,
    regions: Iterable[GenomicRegion],
    *,
    min_score: float | None = None,
    min_instances: int = 10,
    max_coverage: float | None = None,
) -> Annotation:
    """Keep the sites to evaluate; what each filter leaves out is logged, and stands in ``removed`` of the result.

    Parameters
    ----------
    annotation : Annotation
        From `read_annotation`.
    regions : iterable of GenomicRegion
        Sites that overlap none of them are left out; those that reach over an edge stay whole.
    min_score : float, optional
        The lowest score kept, in the units of the file; a site without a score is left out.
    min_instances : int
        Motif frequency: the fewest sites of a concept and site strand within the regions, after the filters above.
    max_coverage : float, optional
        Motif frequency: the largest share of the regions' bases, N included, that the sites of a concept and site
        strand may cover, 0 to 1; overlapping sites cover a base once.

    Returns
    -------
    Annotation
        The sites that are left, in their order.

    Raises
    ------
    SaeTracksError
        Nothing is left; the filter that took the last sites is named.
    """
    regions = list(regions)
    if not len(annotation):
        raise SaeTracksError(f"{annotation.source} has no site in the regions")
    log.info("%s: %d sites", annotation.source, len(annotation))
    annotation = _kept(annotation, _overlap_any(annotation.sites, regions), "the regions")
    if min_score is not None:
        annotation = _kept(annotation, annotation.sites["Score"] >= min_score, f"--min-score {min_score:g}")
    frequency = np.bincount(codes := _concepts(annotation.sites))[codes]
    which = f"--min-instances {min_instances}"
    if frequency.max() == 1 and len(annotation) > 1:
        which += " (every site has a name of its own: cut -f1-3 makes the file one concept)"
    annotation = _kept(annotation, frequency >= min_instances, which)
    if max_coverage is not None:
        covered = _coverage(annotation.sites, regions) <= max_coverage
        annotation = _kept(annotation, covered, f"--max-coverage {max_coverage:g}")
    return annotation


def _concepts(sites: pd.DataFrame) -> NDArray[np.int64]:
    """(n,) int64: the number of every site's concept on its strand."""
    return sites.groupby(["Name", "Strand"], observed=True).ngroup().to_numpy(np.int64)


def _overlap_any(sites: pd.DataFrame, regions: Sequence[GenomicRegion]) -> NDArray[np.bool_]:
    """(n,) bool: which sites overlap at least one region."""
    import pyranges

    rows = pyranges.PyRanges(sites[INTERVAL].assign(row=np.arange(len(sites))))
    hits = rows.overlap(_ranges(regions))
    inside = np.zeros(len(sites), bool)
    inside[hits.df["row"].to_numpy() if len(hits) else []] = True
    return inside


def _coverage(sites: pd.DataFrame, regions: Sequence[GenomicRegion]) -> NDArray[np.float64]:
    """(n,) float64: the share of the regions' bases that the concept of every site covers on its strand."""
    import pyranges

    regions = merge_regions(regions, dict.fromkeys(region.contig for region in regions))
    concept = _concepts(sites)
    clipped = pyranges.PyRanges(sites[INTERVAL].assign(concept=concept)).intersect(_ranges(regions))
    disjoint = clipped.merge(by="concept", strand=False).df
    bases = np.bincount(disjoint["concept"], disjoint["End"] - disjoint["Start"], minlength=concept.max() + 1)
    return bases[concept] / sum(map(len, regions))


def _ranges(regions: Sequence[GenomicRegion]):
    import pyranges

    rows = [(region.contig, region.start, region.end) for region in regions]
    return pyranges.PyRanges(pd.DataFrame(rows, columns=INTERVAL))


def _kept(annotation: Annotation, keep: Sequence[bool] | NDArray[np.bool_] | pd.Series, which: str) -> Annotation:
    """The sites after a filter, once it has said what it left out."""
    before, after = annotation.sites, annotation.sites[np.asarray(keep, bool)].reset_index(drop=True)
    concepts = before["Name"].nunique() - after["Name"].nunique()
    removal = Removal(which, len(before) - len(after), concepts, len(after))
    if after.empty:
        earlier = ", ".join(f"{one.filter} {one.sites:,}" for one in annotation.removed if one.sites)
        raise SaeTracksError(
            f"no site of {annotation.source} is left: {which} left out the last {removal.sites:,}"
            f"{f' (before it {earlier})' if earlier else ''}"
        )
    if removal.sites:
        log.info("%s left out %d sites and %d concepts altogether", which, removal.sites, concepts)
    return replace(annotation, sites=after, removed=(*annotation.removed, removal))
