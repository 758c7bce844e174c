"""What every feature does in every region: sums, maxima and active bases, from one pass over the stream."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.genome_line import GenomeLine
from sae_tracks.jit import EXACT
from sae_tracks.region_sets.regions import RegionSet
from sae_tracks.regions import ReadStrand

if TYPE_CHECKING:
    from sae_tracks.features import FeatureBlock
    from sae_tracks.source import Source


@dataclass(frozen=True, slots=True, repr=False)
class RegionRows:
    """Consecutive regions of a set as rows of a sparse matrix (regions x features).

    Attributes
    ----------
    first : int
        Number of the first of the n regions in the table of the set.
    readable : (n,) int64
        Readable bases of each region.
    indptr : (n + 1,) int64
        Region i owns the entries ``indptr[i]:indptr[i + 1]``.
    feature : (nnz,) int32
        Feature ids that are above 0 on a base of the region, ascending within a region.
    total : (nnz,) float64
        Sum of the activations over the readable bases.
    maximum : (nnz,) float32
        Largest activation.
    active : (nnz,) int64
        Number of bases at which the activation is strictly greater than the feature's cutoff.
    """

    first: int
    readable: NDArray[np.int64]
    indptr: NDArray[np.int64]
    feature: NDArray[np.int32]
    total: NDArray[np.float64]
    maximum: NDArray[np.float32]
    active: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.readable)

    def part(self, start: int, end: int) -> "RegionRows":
        """Return some of the regions, counted from the first of these, in the same memory."""
        indptr = self.indptr[start : end + 1]
        held = slice(indptr[0], indptr[-1])
        sums = self.total[held], self.maximum[held], self.active[held]
        return RegionRows(self.first + start, self.readable[start:end], indptr - indptr[0], self.feature[held], *sums)

    def __repr__(self) -> str:
        return f"RegionRows({len(self):,} regions from {self.first:,} on, {len(self.feature):,} entries)"


@dataclass(frozen=True, slots=True)
class _Held:
    """Any regions, ascending, with their entries as in `RegionRows`."""

    number: NDArray[np.int64]
    readable: NDArray[np.int64]
    indptr: NDArray[np.int64]
    entries: tuple[NDArray, ...]  # feature, total, maximum, active

    @classmethod
    def empty(cls, number: NDArray[np.int64]) -> "_Held":
        none = tuple(np.empty(0, kind) for kind in (np.int32, np.float64, np.float32, np.int64))
        return cls(number, np.zeros(len(number), np.int64), np.zeros(len(number) + 1, np.int64), none)

    def take(self, rows: NDArray[np.int64]) -> "_Held":
        """Some of the regions, in the order of `rows`."""
        count = np.diff(self.indptr)[rows]
        indptr = np.concatenate(([0], np.cumsum(count)))
        place = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], count)
        return _Held(self.number[rows], self.readable[rows], indptr, tuple(entry[place] for entry in self.entries))

    @classmethod
    def joined(cls, parts: Sequence["_Held"]) -> "_Held":
        count = np.concatenate([np.diff(part.indptr) for part in parts])
        number, readable = (np.concatenate([getattr(part, name) for part in parts]) for name in ("number", "readable"))
        entries = tuple(np.concatenate(one) for one in zip(*(part.entries for part in parts)))
        return cls(number, readable, np.concatenate(([0], np.cumsum(count))), entries)


class RegionSums:
    """The sink that sums features over regions, which may overlap each other.

    Blocks must come as the stream gives them for one read strand, ascending. The bases of a region are added in this
    order, one by one, so where blocks are cut changes no bit. Memory grows with the regions that are open at a time,
    and with those that wait for an earlier one to end.

    Parameters
    ----------
    regions : RegionSet
        Of the genome that is read.
    lengths : mapping of str to int
        Lengths of the contigs in bases, in the order of the FASTA.
    cutoffs : (d_sae,) float32
        From `SAE.cutoffs`.
    """

    def __init__(self, regions: RegionSet, lengths: Mapping[str, int], cutoffs: NDArray[np.float32]) -> None:
        self._line = GenomeLine(lengths)
        self._start, self._end = np.ascontiguousarray(self._line.rows(regions.table).T)
        self._cutoffs = np.ascontiguousarray(cutoffs, np.float32)
        self._scratch = tuple(np.zeros(len(cutoffs), kind) for kind in (np.float64, np.float32, np.int64, np.bool_))
        self._open = _Held.empty(np.empty(0, np.int64))
        self._done: list[_Held] = []
        self._seen = self._given = 0  # regions that began before the end of the last block, and those given back

    def add(self, block: "FeatureBlock") -> None:
        """Add a block of the read strand; no base may come twice."""
        first = self._line.place(block.region)
        last = first + len(block.region)
        rows = self._rows_before(last)
        spans = np.clip(np.stack([self._start[rows.number], self._end[rows.number]], axis=1), first, last) - first
        readable = np.concatenate(([0], np.cumsum(block.readable)))
        sums = rows.indptr, *rows.entries
        indptr, *entries = _add(spans, block.indptr, block.feature, block.value, self._cutoffs, *sums, *self._scratch)
        counted = rows.readable + readable[spans[:, 1]] - readable[spans[:, 0]]
        self._split(_Held(rows.number, counted, indptr, tuple(entries)), last)

    def complete(self) -> RegionRows:
        """Return the next regions of which all bases have come, each once over all calls; none if the next is open."""
        limit = int(self._open.number[0]) if len(self._open.number) else self._seen
        if limit == self._given or not self._done:
            return _rows(_Held.empty(np.empty(0, np.int64)), self._given)
        found = _Held.joined(self._done)
        order = np.argsort(found.number)
        ready = int(np.searchsorted(found.number[order], limit))
        self._done = [found.take(order[ready:])] if ready < len(order) else []
        first, self._given = self._given, limit
        return _rows(found.take(order[:ready]), first)

    def rest(self) -> RegionRows:
        """Return all regions that were not given back yet, after the last block."""
        self._split(self._rows_before(len(self._line)), len(self._line))
        return self.complete()

    def _rows_before(self, position: int) -> _Held:
        """The open regions, and those that begin before a position and were not seen yet."""
        first, self._seen = self._seen, int(np.searchsorted(self._start, position))
        return _Held.joined([self._open, _Held.empty(np.arange(first, self._seen))])

    def _split(self, rows: _Held, position: int) -> None:
        """Close the regions that end at or before a position."""
        closed = self._end[rows.number] <= position
        if closed.any():
            self._done.append(rows.take(np.flatnonzero(closed)))
        self._open = rows.take(np.flatnonzero(~closed))


def _rows(held: _Held, first: int) -> RegionRows:
    return RegionRows(first, held.readable, held.indptr, *held.entries)


def region_rows(
    source: "Source",
    regions: RegionSet,
    cutoffs: NDArray[np.float32],
    *,
    features: Sequence[int] | None = None,
    read_strand: ReadStrand = "+",
) -> Iterator[RegionRows]:
    """Read the bases of a set of regions, and sum every feature over each region.

    Parameters
    ----------
    source : Source
        Model, SAE and genome. Its regions must hold every region of the set whole; see `RegionSet.inside`.
    regions : RegionSet
        What is read, and nothing else.
    cutoffs : (d_sae,) float32
        From `SAE.cutoffs`: where a feature counts as active.
    features : sequence of int, optional
        Feature ids; default all.
    read_strand : "+" or "-"
        Direction in which the model reads.

    Yields
    ------
    RegionRows
        All regions of the set, in its order, in parts; a region without a readable base has no entry.

    Raises
    ------
    SaeTracksError
        The regions hold no base outside runs of N.
    """
    reader = replace(source, regions=regions.regions(), read_strands=(read_strand,))
    sums = RegionSums(regions, source.genome.lengths, cutoffs)
    for block in reader.blocks(features):
        sums.add(block)
        if len(rows := sums.complete()):
            yield rows
    if len(rows := sums.rest()):
        yield rows


@njit(**EXACT)
def _add(
    spans, base_indptr, feature, value, cutoffs,
    indptr, old_feature, old_total, old_maximum, old_active,
    total, maximum, active, met,
):  # fmt: skip
    """Continue the entries of regions, ``indptr`` and the next four, with the bases of a block.

    ``spans``, (n, 2) int64, are the bases of each region in the block. The last four arguments are scratch, (d_sae,)
    each and all zero before and after. Returns indptr and the four arrays of entries, trimmed.
    """
    used, size = 0, len(old_feature)
    for i in range(len(spans)):
        size += base_indptr[spans[i, 1]] - base_indptr[spans[i, 0]]
    size = min(size, len(spans) * len(met))  # at most; of memory, only what is written is used
    out_indptr = np.zeros(len(spans) + 1, np.int64)
    out_feature, out_total = np.empty(size, np.int32), np.empty(size, np.float64)
    out_maximum, out_active = np.empty(size, np.float32), np.empty(size, np.int64)
    for i in range(len(spans)):
        for j in range(indptr[i], indptr[i + 1]):
            f = old_feature[j]
            total[f], maximum[f], active[f], met[f] = old_total[j], old_maximum[j], old_active[j], True
        for j in range(base_indptr[spans[i, 0]], base_indptr[spans[i, 1]]):
            f, v = feature[j], value[j]
            met[f] = True
            total[f] += v
            maximum[f] = max(maximum[f], v)
            active[f] += v > cutoffs[f]
        for f in range(len(met)):  # ascending, as quickly as by a sort, whose compilation would take seconds
            if not met[f]:
                continue
            out_feature[used], out_total[used] = f, total[f]
            out_maximum[used], out_active[used] = maximum[f], active[f]
            total[f], maximum[f], active[f], met[f] = 0, 0, 0, False
            used += 1
        out_indptr[i + 1] = used
    return out_indptr, out_feature[:used], out_total[:used], out_maximum[:used], out_active[:used]
