"""Annotated intervals of a genome, the checks that every format's rows go through, and the filters of sites."""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import union_categoricals

from sae_tracks.annotations.alias import Contigs
from sae_tracks.annotations.text import Rows
from sae_tracks.errors import SaeTracksError
from sae_tracks.names import counted
from sae_tracks.regions import GenomicRegion, merge_regions

log = logging.getLogger(__name__)
INTERVAL = ["Chromosome", "Start", "End"]
STRANDS = ("+", "-", ".")
COLUMNS = ("Chromosome", "Start", "End", "Name", "Score", "Strand", "TF")
TEXT = ("Chromosome", "Name", "Strand", "TF")


@dataclass(frozen=True, slots=True)
class Removal:
    """What one filter left out."""

    filter: str  # the filter with its setting, such as --min-score 400
    sites: int  # number of sites that it left out
    concepts: int  # number of concepts of which it left no site
    left: int  # number of sites that remain


@dataclass(frozen=True, slots=True)
class Annotation:
    """Annotated intervals of a genome.

    Attributes
    ----------
    sites : DataFrame
        One row an instance, in pyranges' columns: ``Chromosome``, ``Start``, ``End`` (0-based half-open, forward),
        ``Name`` (the concept: matrix ID, exon, ...), ``Score`` (float, NaN where there is none), ``Strand``
        (+, - or .: the site strand) and ``TF`` (name of the transcription factor, or empty).
    source : str
        The file names, for messages.
    removed : tuple of Removal
        What the filters left out, in their order.
    files : tuple of Index
        The concepts of each file, if it was read from several.
    """

    sites: pd.DataFrame
    source: str
    removed: tuple[Removal, ...] = ()
    files: tuple[pd.Index, ...] = ()

    def __len__(self) -> int:
        return len(self.sites)


def no_sites() -> pd.DataFrame:
    """A table of no sites."""
    types = {"Start": np.int64, "End": np.int64, "Score": np.float64}
    return pd.DataFrame({column: pd.Series(dtype=types.get(column, "category")) for column in COLUMNS})


def only(frame: pd.DataFrame, keep: pd.Series | NDArray[np.bool_]) -> pd.DataFrame:
    """The rows of a frame where a mask is true."""
    return cast(pd.DataFrame, frame[keep])


def series(frame: pd.DataFrame, name: str) -> pd.Series:
    """One column of a frame."""
    return cast(pd.Series, frame[name])


def constant(text: str, n: int) -> pd.Categorical:
    """A text column that holds one value n times."""
    return pd.Categorical.from_codes(np.zeros(n, np.int8), [text])


def relabelled(codes: NDArray[np.integer], labels: Sequence[str]) -> pd.Categorical:
    """``labels[codes]`` as a categorical; labels may occur more than once."""
    place = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    index = np.array([place[label] for label in labels], np.int64)
    return pd.Categorical.from_codes(index[codes], list(place))


def intervals(
    rows: Rows,
    columns: tuple[int, int, int],
    contigs: Contigs,
    *,
    one_based: bool = False,
    circular: Collection[str] = (),
) -> pd.DataFrame:
    """Return Chromosome (the genome's name for it), Start and End of every row, 0-based half-open.

    `columns` are contig, start and end, counted from 0. `one_based`: the file's positions count from 1 and include the
    end. Rows of a `circular` contig may pass its end by less than its length. A malformed coordinate, a start that is
    not before its end, another end past the contig, and rows that an index gave in another order are errors that name
    the line.
    """
    contig, first, last = columns
    theirs = rows.categories(contig)
    start, end = rows.whole_numbers(first, "start"), rows.whole_numbers(last, "end")
    if one_based:
        rows.refuse_any(start == 0, lambda row: "start 0, where positions count from 1")
        rows.refuse_any(start > end, lambda row: f"start {start[row]:,} is after end {end[row]:,}")
        start = start - 1
    rows.refuse_any(start >= end, lambda row: f"start {start[row]:,} is not before end {end[row]:,}")
    ours = contigs.translate(list(theirs.categories), rows.text.path.name)
    limit = np.array([contigs.lengths.get(name, np.iinfo(np.int64).max // 2) for name in ours], np.int64)
    limit[np.isin(ours, [*circular])] *= 2
    rows.refuse_any(
        end > limit[theirs.codes],
        lambda row: f"end {end[row]:,} is past {contigs.past(theirs[row], ours[theirs.codes[row]])}",
    )
    if rows.text.place:
        early = np.concatenate(([False], (start[1:] < start[:-1]) & (theirs.codes[1:] == theirs.codes[:-1])))
        rows.refuse_any(early, lambda row: f"start {start[row]:,} comes after {start[row - 1]:,}: sort and index it")
    return pd.DataFrame({"Chromosome": relabelled(theirs.codes, ours), "Start": start, "End": end})


def strands(rows: Rows, column: int, words: dict[str, str] | None = None) -> pd.Categorical:
    """The site strand of every row; `words` are a format's other signs for + - and ."""
    theirs = rows.categories(column)
    words = {strand: strand for strand in STRANDS} | (words or {})
    wrong = np.array([name not in words for name in theirs.categories], bool)[theirs.codes]
    rows.refuse_any(wrong, lambda row: f"strand {theirs[row]!r} (column {column + 1}) is none of {' '.join(words)}")
    return relabelled(theirs.codes, [words[name] for name in theirs.categories])


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Frames of the same columns in one, text as categoricals of the values that occur in any of them."""
    frames = [frame for frame in frames if len(frame)] or list(frames[:1])
    columns = {
        name: union_categoricals([series(frame, name) for frame in frames])
        if name in TEXT
        else np.concatenate([frame[name] for frame in frames])
        for name in frames[0].columns
    }
    return pd.DataFrame(columns)


def filter_sites(
    annotation: Annotation,
    regions: Iterable[GenomicRegion],
    *,
    min_score: float | None = None,
    min_instances: int = 10,
    max_coverage: float | None = None,
) -> Annotation:
    """Keep the sites to evaluate, in their order. The log and ``removed`` of the result say what each filter left out.

    Parameters
    ----------
    regions : iterable of GenomicRegion
        Sites that overlap none of them are left out. Sites that reach over an edge stay whole.
    min_score : float, optional
        The lowest score kept, in the units of the file; a site without a score is left out.
    min_instances : int
        Motif frequency: the fewest sites of a concept and site strand within the regions, after the filters above.
    max_coverage : float, optional
        Motif frequency: the largest share of the regions' bases, N included, that the sites of a concept and site
        strand may cover, 0 to 1. Overlapping sites cover a base once.

    Raises
    ------
    SaeTracksError
        No site is left. The error names the filter that removed the last ones.
    """
    regions = list(regions)
    if not len(annotation):
        raise SaeTracksError(f"{annotation.source} has no site in the regions")
    log.info("%s: %s", annotation.source, counted(len(annotation), "site"))
    annotation = _kept(annotation, _overlap_any(annotation.sites, regions), "the regions")
    if min_score is not None:
        annotation = _kept(annotation, series(annotation.sites, "Score") >= min_score, f"--min-score {min_score:g}")
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
    """The sites after a filter; what it left out is logged."""
    before, after = annotation.sites, only(annotation.sites, np.asarray(keep, bool)).reset_index(drop=True)
    concepts = series(before, "Name").nunique() - series(after, "Name").nunique()
    removal = Removal(which, len(before) - len(after), concepts, len(after))
    if after.empty:
        earlier = ", ".join(f"{one.filter} {one.sites:,}" for one in annotation.removed if one.sites)
        raise SaeTracksError(
            f"no site of {annotation.source} is left: {which} left out the last {removal.sites:,}"
            f"{f' (before it {earlier})' if earlier else ''}"
        )
    if removal.sites:
        log.info(
            "%s left out %s and %s altogether", which, *map(counted, (removal.sites, concepts), ("site", "concept"))
        )
    return replace(annotation, sites=after, removed=(*annotation.removed, removal))
