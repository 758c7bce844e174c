"""Means in bins around regions, in the direction of each region: the numbers of heatmaps and profiles."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from sae_tracks.annotations.signal import Signal, is_bigwig
from sae_tracks.arrays import ratio
from sae_tracks.bbi import contig_lengths
from sae_tracks.bootstrap import FEW, block_size, draws_of, interval
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import sha256, whole_path
from sae_tracks.genome import ContigLengths
from sae_tracks.intervals import Spans, merge
from sae_tracks.jit import EXACT
from sae_tracks.names import feature_name
from sae_tracks.region_sets.groups import distinct, read_groups
from sae_tracks.regions import GenomicRegion, regions_of
from sae_tracks.tracks.folder import track_name

if TYPE_CHECKING:
    from sae_tracks.source import Source

Point = Literal["start", "end", "center", "TSS", "TES"]
Order = Literal["descend", "ascend", "keep"]
CHUNK = 1 << 20  # bases of a signal that are read at once


@dataclass(frozen=True, slots=True)
class BinLayout:
    """Where the bins of a region lie, along the strand of the region (``.`` counts as ``+``).

    Attributes
    ----------
    before, after : int
        Bases before and behind the reference point, or before the start and behind the end of a scaled region.
    bin_size : int
        Bases per bin. `before`, `after` and `body` are multiples of it.
    point : str
        The reference point, a border between two bases: ``start`` or ``TSS``, before the first base of the region;
        ``end`` or ``TES``, behind the last one; ``center``, before the middle base, or between the middle ones.
    body : int, optional
        Bases to which each region is scaled. There is no reference point then. A region with fewer bases than bins has
        bins that repeat a base.
    """

    before: int = 1000
    after: int = 1000
    bin_size: int = 10
    point: Point = "start"
    body: int | None = None

    def __post_init__(self) -> None:
        lengths = {"--before": self.before, "--after": self.after, "--scale-regions": self.body or 0}
        if self.bin_size < 1:
            raise SaeTracksError(f"--bin-size {self.bin_size}: bins have at least 1 base")
        for flag, bases in lengths.items():
            if bases < 0 or bases % self.bin_size:
                raise SaeTracksError(f"{flag} {bases}: it must be a multiple of the bin size, {self.bin_size}")
        if not any(lengths.values()) or self.body == 0:
            raise SaeTracksError("nothing to draw: give --before, --after or --scale-regions some bases")

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(B,) int64: the first base of each bin, counted from the reference point or the start of a scaled region."""
        return np.arange(-self.before, (self.body or 0) + self.after, self.bin_size)

    def edges(self, start: NDArray[np.int64], end: NDArray[np.int64], minus: NDArray[np.bool_]) -> NDArray[np.int64]:
        """(R, B, 2) int64: start and end of each bin on the forward strand, some of them beyond the contig.

        Parameters
        ----------
        start, end : (R,) int64
            Regions, 0-based half-open.
        minus : (R,) bool
            Which of them lie on the reverse strand.
        """
        # on the line that goes from right to left, position p of the genome is -p
        first, last = np.where(minus, -end, start), np.where(minus, -start, end)
        bins = np.arange(0, self.before + self.after, self.bin_size)
        if self.body is None:
            origin = {"start": first, "TSS": first, "end": last, "TES": last}.get(self.point, (first + last) // 2)
            low = origin[:, None] + bins - self.before
            high = low + self.bin_size
        else:
            inner, length = np.arange(self.body // self.bin_size), (last - first)[:, None]
            body = length * inner // len(inner)
            body_end = np.maximum(length * (inner + 1) // len(inner), body + 1)
            head, tail = np.split(bins, [self.before // self.bin_size])
            head, tail = first[:, None] + head - self.before, last[:, None] + tail - self.before
            low = np.concatenate([head, first[:, None] + body, tail], axis=1)
            high = np.concatenate([head + self.bin_size, first[:, None] + body_end, tail + self.bin_size], axis=1)
        turned = minus[:, None]
        return np.stack([np.where(turned, -high, low), np.where(turned, -low, high)], axis=2)


@dataclass(frozen=True, slots=True, repr=False)
class Profiles:
    """Means of features or signals in bins around regions.

    Attributes
    ----------
    sites : DataFrame
        The R regions: ``Chromosome``, ``Start``, ``End`` (0-based half-open), ``Name``, ``Score``, ``Strand``, and
        ``Group``, a categorical by which they are ordered.
    layout : BinLayout
        Where the B bins of a region lie.
    columns : list of str
        Names of the K features or signals.
    values : (R, B, K) float32
        Mean over the bases of the bin that have a value; NaN if there is none.
    facts : dict
        What they were made from, for the provenance.
    """

    sites: pd.DataFrame
    layout: BinLayout
    columns: list[str]
    values: NDArray[np.float32]
    facts: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Profiles({len(self.sites):,} regions, {len(self.layout.offsets)} bins, {', '.join(self.columns)})"

    def beside(self, other: "Profiles") -> "Profiles":
        """Return the columns of both, which are of the same regions and bins."""
        columns, facts = distinct([*self.columns, *other.columns]), self.facts | other.facts
        return replace(self, columns=columns, values=np.concatenate([self.values, other.values], axis=2), facts=facts)

    def sort(self, order: Order) -> "Profiles":
        """Return the regions of each group by their mean in the first column; those without a value come last."""
        if order == "keep":
            return self
        mean = _mean(self.values[:, :, 0], axis=1)
        ranks = np.lexsort([mean if order == "ascend" else -mean, self.sites["Group"].cat.codes])
        return replace(self, sites=self.sites.iloc[ranks].reset_index(drop=True), values=self.values[ranks])

    def means(self, seed: int = 0) -> pd.DataFrame:
        """Average the regions of each group, with 95 % intervals.

        The bootstrap draws whole blocks of the genome, because regions that lie close together are alike. A block has
        10 kb, or a multiple of it if all bins of all regions have more than 2 Mb. A group that has regions in fewer
        than 5 blocks has no interval.

        Returns
        -------
        DataFrame
            One row per group, column and bin: ``group``, ``column``, ``start`` and ``end`` (bases from the reference
            point, or in the scaled region; 0-based half-open), ``mean``, ``low``, ``high``, and ``regions``, the number
            of regions that have a value there.
        """
        from scipy.sparse import csr_array

        block = self._blocks()
        draws = draws_of(int(block.max()) + 1, seed)
        groups, start, rows = self.sites["Group"].cat, self.layout.offsets, []
        for code, group in enumerate(groups.categories):
            here = np.flatnonzero(groups.codes == code)
            place = block[here], np.arange(len(here))
            of_block = csr_array((np.ones(len(here)), place), shape=(draws.shape[1], len(here)))
            for i, column in enumerate(self.columns):
                values = self.values[here, :, i]
                known = np.isfinite(values)
                total, count = of_block @ np.where(known, values, np.float64(0)), of_block @ known.astype(np.float64)
                between = np.full((2, len(start)), np.nan)
                if np.count_nonzero(count.any(axis=1)) >= FEW:
                    between = np.array([interval(one) for one in ratio(draws @ total, draws @ count).T]).T
                regions = known.sum(axis=0)
                where = {"group": group, "column": column, "start": start, "end": start + self.layout.bin_size}
                found = {"mean": ratio(total.sum(axis=0), regions), "low": between[0], "high": between[1]}
                rows.append(pd.DataFrame(where | found | {"regions": regions}))
        return pd.concat(rows, ignore_index=True)

    def _blocks(self) -> NDArray[np.int64]:
        """(R,) int64: the block of the genome in which each region begins, numbered from 0."""
        layout, start = self.layout, self.sites["Start"]
        bases = len(start) * (layout.before + layout.after)
        if layout.body is not None:
            bases += int((self.sites["End"] - start).to_numpy().sum())
        place = pd.DataFrame({"contig": self.sites["Chromosome"], "block": start // block_size(bases)})
        return place.groupby(["contig", "block"], observed=True).ngroup().to_numpy(np.int64)


def region_profiles(
    regions: Sequence[str | Path],
    layout: BinLayout,
    *,
    source: "Source | None" = None,
    features: Sequence[int] = (),
    bigwigs: Sequence[Path] = (),
    concepts: Sequence[str] = (),
    within: Sequence[str] = (),
    alias: str | Path | None = None,
) -> Profiles:
    """Average features and signals in bins around regions: what heatmaps and profiles show.

    Parameters
    ----------
    regions : sequence of path
        BED, peaks, GTF and other formats of ``docs/formats.md``; each file is a group. Of a GTF or GFF3 the regions are
        its transcripts.
    layout : BinLayout
        Where the bins lie.
    source : Source, optional
        Model, SAE and genome, for `features`. Only the bases of the bins are read.
    features : sequence of int
        Feature ids, in the order wanted.
    bigwigs : sequence of path
        Signals, bigWig or bedGraph, in the order wanted. Without a source, the first bigWig says how long the contigs
        are.
    concepts : sequence of str
        Names of regions, such as ``splice_donor``, each of which is a group.
    within : sequence of str
        Regions as text, such as ``chr14``: regions that overlap none of them are left out.
    alias : str or path, optional
        ``ucsc`` or a file of other names of contigs; see `read_annotation`.

    Returns
    -------
    Profiles
        Features first, regions in the order of the files.

    Raises
    ------
    SaeTracksError
        A file cannot be read or is of another assembly, a feature is not in the SAE, or no region is left. There is
        neither a source nor a bigWig.

    Examples
    --------
    >>> source = Source(load_lm("demo"), load_sae("sae/"), Genome("hg38.fa"))
    >>> region_profiles(["genes.gtf"], BinLayout(point="TSS"), source=source, features=[357]).means()
    """
    if (source is None) != (not features) or not (features or bigwigs):
        raise SaeTracksError("nothing to average: name a source and features, or signals")
    genome = source.genome if source else _contigs_of(bigwigs)
    sites = read_groups(regions, genome, concepts, regions=[*map(genome.region, within)] or None, alias=alias)
    facts = {
        "region_files": {whole_path(path): sha256(Path(path)) for path in regions if Path(path).is_file()},
        "layout": asdict(layout),
        "concepts": [*concepts],
        "within": [*within],
    }
    parts = [feature_profiles(source, sites, layout, features)] if source else []
    if bigwigs:
        taken = parts[0].columns if parts else ()
        parts.append(signal_profiles(bigwigs, sites, layout, genome, alias=alias, taken=taken))
    joined = reduce(Profiles.beside, parts)
    return replace(joined, facts=facts | joined.facts)


def feature_profiles(source: "Source", sites: pd.DataFrame, layout: BinLayout, features: Sequence[int]) -> Profiles:
    """Average feature activations in bins around regions. Only the bases of the bins are read.

    Memory grows with regions x bins x features, not with the genome.

    Parameters
    ----------
    source : Source
        Model, SAE and genome; its regions do not count.
    sites : DataFrame
        From `read_groups`.
    layout : BinLayout
        Where the bins lie.
    features : sequence of int
        Feature ids, in the order wanted.

    Returns
    -------
    Profiles
        A column per feature, such as ``f357``. If the source reads both strands, each feature has two columns:
        ``f357.along`` is read in the direction of the region (``.`` counts as ``+``), ``f357.against`` the other way.

    Raises
    ------
    SaeTracksError
        A feature is not in the SAE, or the bins hold no base outside runs of N.
    """
    source.sae.check_features(features)
    ids = list(dict.fromkeys(features))
    column = np.full(source.sae.d_sae, -1)
    column[ids] = np.arange(len(ids))
    bins = ProfileBins(sites, layout, source.genome.lengths)
    windows = [window for contig in bins.rows for window in regions_of(contig, bins.covered(contig))]
    sums = {strand: ProfileSums(bins, len(ids)) for strand in source.read_strands}
    reader = replace(source, regions=windows)
    for block in reader.blocks(ids):
        sums[block.read_strand].add(block.region, block.readable, block.indptr, column[block.feature], block.value)
    facts = {key: value for key, value in reader.identity().items() if key != "regions"}
    if len(sums) == 1:
        ((strand, only),) = sums.items()
        return Profiles(sites, layout, [track_name(i, strand, [strand]) for i in ids], only.means(), facts)
    turned = bins.minus[:, None, None]
    plus, minus = sums["+"].means(), sums["-"].means()
    values = np.stack([np.where(turned, minus, plus), np.where(turned, plus, minus)], axis=3)
    names = [f"{feature_name(i)}.{way}" for i in ids for way in ("along", "against")]
    return Profiles(sites, layout, names, values.reshape(*plus.shape[:2], -1), facts)


def signal_profiles(
    paths: Sequence[Path],
    sites: pd.DataFrame,
    layout: BinLayout,
    genome: ContigLengths,
    *,
    alias: str | Path | None = None,
    taken: Sequence[str] = (),
) -> Profiles:
    """Average the values of bigWigs and bedGraphs in bins around regions; see `feature_profiles`.

    Returns
    -------
    Profiles
        A column per file, with the file's name. The ending is part of it if another file, or a column that is `taken`,
        has the same name. Bases without a finite value are left out.

    Raises
    ------
    SaeTracksError
        `Signal` refuses a file: it is damaged, has no contig in common with the genome, or another length for one.
    """
    bins, names, found = ProfileBins(sites, layout, genome.lengths), [], []
    for path in paths:
        signal, sums = Signal(path, genome, alias=alias), ProfileSums(bins, 1)
        for region in (one for contig in bins.rows for one in _chunks(contig, bins.covered(contig))):
            values = signal.values(region)
            readable = np.isfinite(values)
            indptr = np.concatenate(([0], np.cumsum(readable)))
            sums.add(region, readable, indptr, np.zeros(indptr[-1], np.int64), values[readable])
        names.append(signal.name)
        found.append(sums.means())
    every = [*taken, *names]
    names = [Path(path).name if every.count(name) > 1 else name for path, name in zip(paths, names)]
    facts = {"bigwigs": {whole_path(path): sha256(Path(path)) for path in paths}}
    return Profiles(sites, layout, distinct(names), np.concatenate(found, axis=2), facts)


def _contigs_of(signals: Sequence[Path]) -> ContigLengths:
    """The contigs of the first bigWig; a bedGraph does not say how long they are."""
    for path in map(Path, signals):
        if is_bigwig(path):
            return ContigLengths(path, contig_lengths(path))
    raise SaeTracksError(
        f"{signals[0]} does not say how long contigs are: name a bigWig too (bedGraphToBigWig makes one), or -f"
    )


def _chunks(contig: str, spans: Spans) -> Iterator[GenomicRegion]:
    """Ascending regions of at most `CHUNK` bases that cover some spans."""
    for start, end in spans.tolist():
        for first in range(start, end, CHUNK):
            yield GenomicRegion(contig, first, min(first + CHUNK, end))


class ProfileBins:
    """The bins of regions, cut at the ends of their contigs.

    Parameters
    ----------
    sites : DataFrame
        The R regions.
    layout : BinLayout
        Where their B bins lie.
    lengths : mapping of str to int
        Lengths of the contigs in bases.

    Attributes
    ----------
    edges : (R, B, 2) int64
        Start and end of each bin; a bin beyond the contig has no bases.
    minus : (R,) bool
        Which regions lie on the reverse strand.
    rows : dict of str to (r,) int64
        The regions of each contig, by the start of their bins.
    """

    def __init__(self, sites: pd.DataFrame, layout: BinLayout, lengths: Mapping[str, int]) -> None:
        self.minus = (sites["Strand"] == "-").to_numpy()
        edges = layout.edges(sites["Start"].to_numpy(np.int64), sites["End"].to_numpy(np.int64), self.minus)
        contig = sites["Chromosome"].astype("category")
        length = np.array([lengths[name] for name in contig.cat.categories])[contig.cat.codes]
        self.edges = np.clip(edges, 0, length[:, None, None])
        self.first, self.last = self.edges[:, :, 0].min(axis=1), self.edges[:, :, 1].max(axis=1)
        by_contig = contig.groupby(contig, observed=True).indices
        found = {name: by_contig[name] for name in lengths if name in by_contig}
        self.rows = {name: rows[np.argsort(self.first[rows], kind="stable")] for name, rows in found.items()}

    def covered(self, contig: str) -> Spans:
        """(k, 2) int64: the bases from the first to the last bin of each region of a contig, ascending and disjoint."""
        rows = self.rows[contig]
        spans = np.stack([self.first[rows], self.last[rows]], axis=1)
        return merge(spans[spans[:, 0] < spans[:, 1]])


class ProfileSums:
    """Sums of K columns over the bases of bins. The bases of a bin are added in the order in which they come."""

    def __init__(self, bins: ProfileBins, columns: int) -> None:
        self._bins, shape = bins, bins.edges.shape[:2]
        self._total, self._bases = np.zeros((*shape, columns)), np.zeros(shape, np.int64)
        self._widest = {name: (bins.last[rows] - bins.first[rows]).max() for name, rows in bins.rows.items()}

    def add(
        self,
        region: GenomicRegion,
        readable: NDArray[np.bool_],
        indptr: NDArray[np.int64],
        column: NDArray[np.int64],
        value: NDArray[np.float32],
    ) -> None:
        """Add the n bases of a region: which of them have values, and a CSR of those that are not 0.

        Column -1 is left out.
        """
        rows = self._bins.rows[region.contig]
        first = self._bins.first[rows]
        near = slice(*np.searchsorted(first, (region.start - self._widest[region.contig], region.end)))
        sums = self._total, self._bases
        _add(rows[near], self._bins.edges, region.start, readable, indptr, column, value, *sums)

    def means(self) -> NDArray[np.float32]:
        """(R, B, K) float32: the mean over the readable bases of each bin, NaN if there is none."""
        return ratio(self._total, self._bases[:, :, None]).astype(np.float32)


@njit(**EXACT)
def _add(rows, edges, start, readable, indptr, column, value, total, bases):
    """Add bases from `start` on to the bins of some regions that overlap them."""
    end = start + len(readable)
    for r in rows:
        for b in range(edges.shape[1]):
            for i in range(max(edges[r, b, 0], start) - start, min(edges[r, b, 1], end) - start):
                if readable[i]:
                    bases[r, b] += 1
                    for j in range(indptr[i], indptr[i + 1]):
                        if column[j] >= 0:
                            total[r, b, column[j]] += value[j]


def _mean(values: NDArray[np.floating], axis: int) -> NDArray[np.float64]:
    """Means without NaN; NaN where there is nothing else."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, np.float64(0)).sum(axis=axis), known.sum(axis=axis))
