"""Which sites are evaluated: those in the regions, of a high enough score, of a frequent enough motif."""

import logging
from collections.abc import Iterable

import numpy as np
import pandas as pd

from sae_tracks.annotations.read import Annotation
from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import GenomicRegion

log = logging.getLogger(__name__)


def filter_sites(
    annotation: Annotation,
    regions: Iterable[GenomicRegion],
    *,
    min_score: float | None = None,
    min_instances: int = 10,
) -> Annotation:
    """Keep the sites to evaluate; what each filter leaves out is logged.

    Parameters
    ----------
    annotation : Annotation
        From `read_annotation`.
    regions : iterable of GenomicRegion
        Sites that overlap none of them are left out; those that reach over an edge stay whole.
    min_score : float, optional
        The lowest score kept, in the units of the file; a site without a score is left out.
    min_instances : int
        Motif frequency: the fewest sites of a concept and site strand within the regions, after the other filters.

    Raises
    ------
    SaeTracksError
        Nothing is left; the filter that took the last sites is named.
    """
    sites = annotation.sites
    log.info("%s: %d sites", annotation.source, len(sites))
    sites = _report(sites, sites[_overlap_any(sites, regions)], annotation, "the regions")
    if min_score is not None:
        sites = _report(sites, sites[sites["Score"] >= min_score], annotation, f"--min-score {min_score:g}")
    frequency = sites.groupby(["Name", "Strand"], observed=True)["Start"].transform("size").to_numpy()
    which = f"--min-instances {min_instances}"
    if frequency.max() == 1 and len(sites) > 1:
        which += " (every site has a name of its own: cut -f1-3 makes the file one concept)"
    sites = _report(sites, sites[frequency >= min_instances], annotation, which)
    return Annotation(sites.reset_index(drop=True), annotation.source)


def _overlap_any(sites: pd.DataFrame, regions: Iterable[GenomicRegion]) -> np.ndarray:
    """(n,) bool: which sites overlap at least one region."""
    import pyranges

    rows = pyranges.PyRanges(sites[["Chromosome", "Start", "End"]].assign(row=np.arange(len(sites))))
    where = [(region.contig, region.start, region.end) for region in regions]
    hits = rows.overlap(pyranges.PyRanges(pd.DataFrame(where, columns=["Chromosome", "Start", "End"])))
    inside = np.zeros(len(sites), bool)
    inside[hits.df["row"].to_numpy() if len(hits) else []] = True
    return inside


def _report(before: pd.DataFrame, after: pd.DataFrame, annotation: Annotation, which: str) -> pd.DataFrame:
    """The sites after a filter, once it has said what it left out."""
    lost = len(before) - len(after)
    if after.empty:
        raise SaeTracksError(f"no site of {annotation.source} is left: {which} left out the last {lost:,}")
    if lost:
        concepts = before["Name"].nunique() - after["Name"].nunique()
        log.info("%s left out %d sites and %d concepts altogether", which, lost, concepts)
    return after
