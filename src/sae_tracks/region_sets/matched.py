"""Regions of the genome that are like those of a set: in length, GC, CpG, repeats and distance to genes.

Candidates tile the genome between the regions of the set, so no two of them share a base. Their lengths are drawn from
the set. Each region then takes its nearest candidates that no other region has taken, in rounds: no region has a second
one before each had the chance of a first.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import KDTree

from sae_tracks.annotations import read_annotation
from sae_tracks.annotations.sites import only
from sae_tracks.arrays import ratio
from sae_tracks.controls.repeats import repeat_spans
from sae_tracks.dna import codes, composition, letter_sums
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, write_provenance, write_tsv
from sae_tracks.genome import Genome
from sae_tracks.intervals import NO_SPANS, Spans, merge
from sae_tracks.jit import EXACT
from sae_tracks.region_sets.regions import RegionSet, whole_in
from sae_tracks.regions import GenomicRegion, intersect_regions, regions_of, subtract_regions

PLACE = ["Chromosome", "Start", "End"]
TRAITS = ("length", "gc", "cpg", "repeats", "tss_distance")
# the most by which a region and a candidate differ: log length, shares of bases (CpGs per base), log distance
LIKE = {"length": 0.1, "gc": 0.05, "cpg": 0.02, "repeats": 0.2, "tss_distance": 1.0}
CLOSE = 100  # bases to a TSS, below which distances count as one
FAR = 1e12
TRIED = 200  # nearest candidates of a region that are looked at
POOL = 2_000_000  # candidates, at most
AT_ONCE, TOGETHER = 4_000_000, 1 << 16  # bases of sequence in memory, or one region; regions that are measured together
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Landscape:
    """A genome, and what its regions are compared by.

    Attributes
    ----------
    genome : Genome
    regions : list of GenomicRegion
        Where candidates are drawn, ascending and disjoint.
    repeats : dict of contig to (k, 2) int64, optional
        Disjoint ascending spans. None: repeats are not matched.
    tss : dict of contig to (k, 2) int64, optional
        Transcription starts: position, ascending, and 1 or -1 for the strand. None: distances are not matched.
    """

    genome: Genome
    regions: list[GenomicRegion]
    repeats: Mapping[str, Spans] | None = None
    tss: Mapping[str, NDArray[np.int64]] | None = None

    @property
    def traits(self) -> list[str]:
        """The names of what is compared."""
        left = {"repeats": self.repeats is None, "tss_distance": self.tss is None}
        return [name for name in TRAITS if not left.get(name)]

    def measure(self, table: pd.DataFrame) -> pd.DataFrame:
        """Measure regions.

        Parameters
        ----------
        table : DataFrame
            ``Chromosome``, ``Start`` and ``End``, 0-based half-open, in any order.

        Returns
        -------
        DataFrame
            In the same order: ``length`` in bases; ``known``, share of bases that are A, C, G or T; ``gc`` and ``cpg``,
            share of these that are C or G, and CpGs per such base, NaN if there is none; ``repeats``, share of bases in
            repeats; ``tss_distance``, bases from the nearest transcription start on the contig to the middle, negative
            upstream of it, NaN if it has none.
        """
        spans = table[["Start", "End"]].to_numpy(np.int64)
        found = pd.DataFrame({"length": np.diff(spans, axis=1).ravel()}, index=np.arange(len(table)))
        for name in ("gc", "cpg", "repeats", "tss_distance", "known"):
            found[name] = np.nan
        for contig, rows in pd.Series(np.arange(len(table))).groupby(table["Chromosome"].astype(str).to_numpy()):
            row, name = rows.to_numpy(), str(contig)
            row = row[np.argsort(spans[row, 0], kind="stable")]
            mine = spans[row]
            found.loc[row, ["gc", "cpg", "known"]] = np.concatenate(list(self._letters(name, mine)))
            if self.repeats is not None:
                covered = _covered(self.repeats.get(name, NO_SPANS), mine)
                found.loc[row, "repeats"] = covered / np.diff(mine, axis=1).ravel()
            if self.tss is not None:
                found.loc[row, "tss_distance"] = _nearest(self.tss.get(name, np.empty((0, 2), np.int64)), mine)
        return found

    def _letters(self, contig: str, spans: Spans) -> Iterator[NDArray[np.float64]]:
        """(k, 3) each: ``gc``, ``cpg`` and ``known`` of spans that ascend by their start."""
        first = 0
        while first < len(spans):
            start = spans[first, 0]
            ends = np.maximum.accumulate(spans[first : first + TOGETHER, 1])
            last = first + max(int(np.searchsorted(ends, start + AT_ONCE, side="right")), 1)
            some = spans[first:last] - start
            letter = codes(self.genome.sequence(GenomicRegion(contig, int(start), int(ends[last - first - 1]))))
            known, *found = composition(letter_sums(letter), *some.T)
            yield np.stack([*ratio(found, known), known / np.diff(some, axis=1).ravel()], axis=1)
            first = last


def landscape(
    genome: Genome,
    regions: Iterable[GenomicRegion] | None = None,
    *,
    repeats: str | None = None,
    genes: str | Path | None = None,
    black_list: Iterable[GenomicRegion] = (),
    alias: str | Path | None = None,
) -> Landscape:
    """Open what regions are compared by.

    Parameters
    ----------
    genome : Genome
    regions : iterable of GenomicRegion, optional
        Where candidates are drawn. Default: the whole genome.
    repeats : str, optional
        A file of repeats, ``softmask``, or ``alu``.
    genes : path, optional
        A GTF or GFF3, for transcription starts.
    black_list : iterable of GenomicRegion
        Bases of which no candidate has one.
    alias : str or path, optional
        Other names of contigs in the files; see `Contigs`.

    Returns
    -------
    Landscape

    Raises
    ------
    SaeTracksError
        A file cannot be read, has no repeat in the regions, or no transcription start.
    """
    where = subtract_regions(genome.merged(None if regions is None else list(regions)), genome.merged(black_list))
    spans = repeat_spans(genome, where, repeats, alias=alias) if repeats else None
    tss = None
    if genes:
        sites = read_annotation(genes, genome, alias=alias).sites
        sites = cast(pd.DataFrame, sites[sites["Name"] == "TSS"])
        if not len(sites):
            raise SaeTracksError(f"{genes} has no transcription start: name a GTF or GFF3 with exons")
        signed = sites.assign(sign=np.where(sites["Strand"] == "-", -1, 1))
        by_contig = signed.groupby(sites["Chromosome"].astype(str))[["Start", "sign"]]
        tss = {str(contig): np.unique(places.to_numpy(np.int64), axis=0) for contig, places in by_contig}
    return Landscape(genome, where, spans, tss)


@dataclass(frozen=True, slots=True, eq=False)
class MatchedRegions:
    """Regions that are like those of a set.

    Attributes
    ----------
    regions : RegionSet
        The set.
    table : DataFrame
        The matched regions: ``Chromosome``, ``Start``, ``End``, the traits, and ``Region``, the number of the region in
        the set's table. In the order of the genome.
    own : DataFrame
        The traits of the set's regions, in their order.
    traits : list of str
        Those that were matched.
    """

    regions: RegionSet
    table: pd.DataFrame
    own: pd.DataFrame
    traits: list[str]

    @property
    def found(self) -> NDArray[np.int64]:
        """(n,) int64: matched regions of each region of the set."""
        return np.bincount(self.table["Region"], minlength=len(self.regions.table))

    def balance(self) -> pd.DataFrame:
        """How alike the set and the matched regions are.

        Returns
        -------
        DataFrame
            By trait: ``set`` and ``matched``, the means (of matched regions, the mean over regions of the set), without
            regions that have no match; and ``difference``, the difference in standard deviations of the set. A tenth is
            usually taken to be small.
        """
        found, means = self.found, []
        number, some = self.table["Region"].to_numpy(np.int64), np.flatnonzero(found)
        for trait in self.traits:
            theirs = np.bincount(number, self.table[trait].to_numpy(np.float64), len(found))[some] / found[some]
            ours = self.own[trait].to_numpy(np.float64)[some]
            gap, spread = float(np.nanmean(ours - theirs)), float(np.nanstd(ours))
            means.append((float(np.nanmean(ours)), float(np.nanmean(theirs)), gap / spread if spread else 0.0))
        return pd.DataFrame(means, pd.Index(self.traits, name="trait"), ["set", "matched", "difference"])

    def write(self, out: str | Path, **facts: Any) -> None:
        """Write ``NAME.bed`` with a header line and ``NAME.bed.provenance.json``; see docs/formats.md."""
        out = Path(out)
        mine = self.regions.table
        of = mine.iloc[self.table["Region"]].reset_index(drop=True)
        text = pd.DataFrame(
            {
                "#chrom": self.table["Chromosome"],
                "start": self.table["Start"],
                "end": self.table["End"],
                "name": of["Name"].astype(str).replace("", "."),
                "score": 0,
                "strand": of["Strand"],
                "region": [f"{c}:{s}-{e}" for c, s, e in of[PLACE].itertuples(index=False)],
                **{name: self.table[name].round(4) for name in self.traits},
            }
        )
        write_tsv(text, out)
        write_provenance(out.parent, file_name=f"{out.name}.{PROVENANCE}", **facts)


def match_regions(
    regions: RegionSet,
    land: Landscape,
    *,
    per_region: int = 5,
    tolerance: Mapping[str, float] = LIKE,
    seed: int = 0,
) -> MatchedRegions:
    """Draw regions of the genome that are like those of a set.

    Parameters
    ----------
    regions : RegionSet
        The set; candidates share no base with it. Equal regions count once.
    land : Landscape
        From `landscape`.
    per_region : int
        Matched regions wanted per region.
    tolerance : dict of trait to float
        The most by which a matched region differs: in log length, shares of bases, and log distance to the nearest
        transcription start, upstream or downstream.
    seed : int
        Of the lengths and the order in which regions take their matches.

    Returns
    -------
    MatchedRegions

    Raises
    ------
    SaeTracksError
        No region has a match within the tolerance.
    """
    rng, regions = np.random.default_rng(seed), regions.distinct()
    own = land.measure(regions.table)
    pool = _pool(regions, land, rng)
    measured = land.measure(pool)
    whole = measured["known"].to_numpy() == 1
    pool, measured = only(pool, whole).reset_index(drop=True), only(measured, whole).reset_index(drop=True)
    taken = np.full((len(own), per_region), -1, np.int64)
    if len(pool):
        near, which = _nearest_candidates(own, measured, [(name, tolerance[name]) for name in land.traits])
        _take(rng.permutation(len(own)), which, np.isfinite(near), np.zeros(len(pool), np.bool_), taken)
    number, place = np.nonzero(taken >= 0)
    chosen = taken[number, place]
    order = np.argsort(chosen)
    table = pool.assign(**{name: measured[name] for name in TRAITS}).iloc[chosen[order]].reset_index(drop=True)
    found = MatchedRegions(regions, table.assign(Region=number[order]), own, land.traits)
    if not len(table):
        widths = ", ".join(f"{name} {tolerance[name]:g}" for name in land.traits)
        raise SaeTracksError(
            f"no region of {regions.source} has a match among {len(pool):,} candidates of the genome within {widths}: "
            "name longer regions to draw from, or leave out --repeats or --genes"
        )
    count = found.found
    log.info(
        "%s: %d of %d regions have matches, %d of them all %d",
        *(regions.source, np.count_nonzero(count), len(count), np.count_nonzero(count == per_region), per_region),
    )
    return found


def read_matched(path: str | Path, regions: RegionSet, land: Landscape) -> MatchedRegions:
    """Read what `MatchedRegions.write` wrote for the same set.

    Parameters
    ----------
    path : path
        The BED file.
    regions : RegionSet
        The set for which it was drawn. Of it and of the file, only regions that lie whole in those of the landscape
        are kept.
    land : Landscape
        Of the same genome.

    Returns
    -------
    MatchedRegions

    Raises
    ------
    SaeTracksError
        The file is not such a file, or of another set.
    """
    try:
        text = pd.read_csv(path, sep="\t", dtype={"#chrom": str, "region": str})
        table = pd.DataFrame({"Chromosome": text["#chrom"], "Start": text["start"], "End": text["end"]})
        named = [str(name) for name in text["region"]]
    except (OSError, KeyError, ValueError) as error:
        raise SaeTracksError(f"cannot read {path} as matched regions: name what match-regions wrote") from error
    if unknown := sorted({*named} - {*_places(regions)}):
        raise SaeTracksError(f"{path} has matches of {unknown[0]}, which is no region of {regions.source}")
    for contig, start, end in table.itertuples(index=False):
        land.genome.check(GenomicRegion(contig, start, end))
    where = land.genome.merged(land.regions)
    regions = regions.distinct().inside(where)
    numbers = {name: i for i, name in enumerate(_places(regions))}
    whole = whole_in(table, where)
    if not whole.all():
        log.warning("%d of %d matched regions in %s are left out: they do not lie whole in the regions that are read",
                    (~whole).sum(), len(whole), Path(path).name)  # fmt: skip
    kept = whole & np.array([name in numbers for name in named], np.bool_)
    table = only(table, kept).reset_index(drop=True)
    measured = land.measure(table)
    traits = {name: measured[name] for name in TRAITS}
    number = np.array([numbers[name] for name, keep in zip(named, kept) if keep], np.int64)
    return MatchedRegions(regions, table.assign(**traits, Region=number), land.measure(regions.table), land.traits)


def _places(regions: RegionSet) -> list[str]:
    return [f"{c}:{s}-{e}" for c, s, e in regions.table[PLACE].itertuples(index=False)]


def _pool(regions: RegionSet, land: Landscape, rng: np.random.Generator) -> pd.DataFrame:
    """Candidates: ``Chromosome``, ``Start``, ``End``, in the order of the genome."""
    table = regions.table
    lengths = (table["End"] - table["Start"]).to_numpy(np.int64)
    spans = {
        str(c): rows[["Start", "End"]].to_numpy(np.int64) for c, rows in table.groupby("Chromosome", observed=True)
    }
    own = [region for contig, some in spans.items() for region in regions_of(contig, merge(some))]
    contigs = list(dict.fromkeys(region.contig for region in land.regions))
    known = [part for contig in contigs for part in land.genome.stretches(contig)]
    free = subtract_regions(intersect_regions(land.regions, known), own)
    share = min(1.0, POOL * lengths.mean() / max(sum(map(len, free)), 1))
    starts, ends, names = [], [], []
    for part in free:
        drawn = rng.choice(lengths, int(len(part) / lengths.mean() * 1.2) + 8)
        edge = part.start + np.concatenate(([0], np.cumsum(drawn))) + rng.integers(0, lengths.min() + 1)
        inside = (edge[1:] <= part.end) & (rng.random(len(drawn)) < share)
        starts.append(edge[:-1][inside])
        ends.append(edge[1:][inside])
        names += [part.contig] * int(inside.sum())
    start, end = (np.concatenate([np.empty(0, np.int64), *some]) for some in (starts, ends))
    return pd.DataFrame({"Chromosome": np.array(names, object), "Start": start, "End": end})


def _nearest_candidates(
    own: pd.DataFrame, pool: pd.DataFrame, traits: Sequence[tuple[str, float]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(n, TRIED) each: how far the nearest candidates are, infinite beyond the tolerance, and which ones they are."""

    def scaled(frame: pd.DataFrame) -> NDArray[np.float64]:
        columns = []
        for name, width in traits:
            values = frame[name].to_numpy(np.float64)
            if name == "length":
                values = np.log(values)
            elif name == "tss_distance":  # on a contig without a TSS all regions are alike in this
                far = np.nan_to_num(values, nan=FAR)
                values = np.sign(far) * np.log(np.maximum(np.abs(far), CLOSE) / CLOSE)
            columns.append(np.nan_to_num(values, nan=FAR) / width)  # a region of N is like none
        return np.stack(columns, axis=1)

    near, which = KDTree(scaled(pool)).query(scaled(own), min(TRIED, len(pool)), p=np.inf, distance_upper_bound=1)
    return near.reshape(len(own), -1), which.reshape(len(own), -1)


@njit(**EXACT)
def _take(order, which, near, used, taken):
    """Let regions take candidates in turn: ``taken`` is (n, m), -1 where there is none."""
    following = np.zeros(len(order), np.int64)
    for turn in range(taken.shape[1]):
        for i in order:
            while following[i] < which.shape[1] and near[i, following[i]]:
                candidate = which[i, following[i]]
                following[i] += 1
                if not used[candidate]:
                    used[candidate] = True
                    taken[i, turn] = candidate
                    break


def _covered(covers: Spans, spans: Spans) -> NDArray[np.int64]:
    """(k,) int64: how many bases of each span lie in disjoint ascending ones."""
    before = np.concatenate(([0], np.cumsum(np.diff(covers, axis=1).ravel())))

    def up_to(position: NDArray[np.int64]) -> NDArray[np.int64]:
        number = np.searchsorted(covers[:, 0], position)
        beyond = np.maximum(np.append(0, covers[:, 1])[number] - position, 0)
        return before[number] - beyond

    return up_to(spans[:, 1]) - up_to(spans[:, 0])


def _nearest(starts: NDArray[np.int64], spans: Spans) -> NDArray[np.float64]:
    """(k,) float64: bases from the nearest start to the middle of each span, in the direction of its transcription."""
    if not len(starts):
        return np.full(len(spans), np.nan)
    middle = spans.sum(axis=1) // 2
    after = np.searchsorted(starts[:, 0], middle).clip(max=len(starts) - 1)
    near = np.stack([np.maximum(after - 1, 0), after])
    gaps = middle - starts[near, 0]
    nearest = np.abs(gaps).argmin(axis=0), np.arange(len(spans))
    return (gaps[nearest] * starts[near[nearest], 1]).astype(np.float64)
