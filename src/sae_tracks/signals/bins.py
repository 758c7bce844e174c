"""Bins of the genome, and the means of features, signals and dimensions of the model in them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sae_tracks.arrays import ratio
from sae_tracks.bootstrap import Blocks
from sae_tracks.dna import kmer_letters, kmers
from sae_tracks.genome import Genome
from sae_tracks.metrics import Halves
from sae_tracks.regions import GenomicRegion, spans_by_contig

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_array

MOST_BINS = 1 << 16  # of a run: more are spread evenly, so memory has a bound
LONGEST_WORD = 4
GC, CPG = "GC", "CpG"
WORDS = [kmer_letters(code, k) for k in range(1, LONGEST_WORD + 1) for code in range(4**k)]


@dataclass(frozen=True, slots=True)
class Bins:
    """The m bins that are scored, ascending: number ``n`` of size ``s`` has the bases ``n s`` to ``(n + 1) s``.

    A bin belongs to the half of its middle base. Only its bases in that half count.
    """

    size: int
    contigs: list[str]
    contig: NDArray[np.int32]  # (m,) place in `contigs`
    number: NDArray[np.int64]  # (m,)
    half: NDArray[np.int8]  # (m,)

    @classmethod
    def of(cls, regions: Iterable[GenomicRegion], halves: Halves, size: int) -> "Bins":
        """All bins that regions touch, or `MOST_BINS` of them, spread evenly."""
        contigs, parts = [], []
        for contig, spans in spans_by_contig(regions).items():
            number = np.unique(np.concatenate([np.arange(start // size, -(-end // size)) for start, end in spans]))
            half = halves.of(contig, number * size + size // 2)
            parts.append((np.full(len(number), len(contigs), np.int32), number, half))
            contigs.append(contig)
        contig, number, half = (np.concatenate(one) for one in zip(*parts))
        kept = np.flatnonzero(half >= 0)
        kept = kept[np.unique(np.linspace(0, len(kept) - 1, min(len(kept), MOST_BINS)).round().astype(np.int64))]
        return cls(size, contigs, contig[kept], number[kept], half[kept].astype(np.int8))

    def __len__(self) -> int:
        return len(self.number)

    def rows(self, region: GenomicRegion, half: NDArray[np.int8]) -> NDArray[np.int64]:
        """(n,) int64: the bin of each base of a region; -1 if it is in none, or `half` is not that of the bin."""
        low, high = np.searchsorted(self.contig, [place := self.contigs.index(region.contig), place + 1])
        wanted = np.arange(region.start, region.end) // self.size
        row = low + np.searchsorted(self.number[low:high], wanted)
        found = np.minimum(row, len(self) - 1)
        return np.where((row < high) & (self.number[found] == wanted) & (self.half[found] == half), row, -1)

    def regions(self, genome: Genome) -> list[GenomicRegion]:
        """The bases of every bin, cut at the ends of contigs."""
        starts, ends = self.number * self.size, (self.number + 1) * self.size
        names = [self.contigs[i] for i in self.contig]
        return [
            GenomicRegion(name, start, min(end, genome.lengths[name]))
            for name, start, end in zip(names, starts.tolist(), ends.tolist())
        ]

    def blocks(self, regions: Sequence[GenomicRegion]) -> NDArray[np.int64]:
        """(m,) int64: the block of the bootstrap in which the middle base of each bin lies, numbered from 0."""
        blocks = Blocks.of(regions)
        middle = self.number * self.size + self.size // 2
        place = np.stack([self.contig.astype(np.int64), middle // blocks.size], axis=1)
        return np.unique(place, axis=0, return_inverse=True)[1].ravel()


class BinSums:
    """Sums in m bins over the readable bases of one read strand; those of shards add up.

    Attributes
    ----------
    bases : (m,) int64
        Readable bases.
    known : (m, G) int64
        Those with a value of each signal.
    total : (m, G) float64
        Sums of the signals.
    dimensions : (m, d_model) float64
        Sums of the model's activations.
    """

    def __init__(self, bins: Bins, signals: int, d_model: int, d_sae: int) -> None:
        self._bins, self._d_sae = bins, d_sae
        self.bases = np.zeros(len(bins), np.int64)
        self.known, self.total = np.zeros((len(bins), signals), np.int64), np.zeros((len(bins), signals))
        self.dimensions = np.zeros((len(bins), d_model))
        # (row, feature, mean), and (row, feature, sum) of bins at the ends of a buffer, which may have parts elsewhere
        self._whole: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]] = []
        self._parts: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]] = []

    def add(self, region: GenomicRegion, half: NDArray[np.int8], x: "csr_array", y: NDArray[np.float32]) -> None:
        """Add consecutive bases: their halves (-1 where not readable), features (n, F) and signals (n, G)."""
        from scipy.sparse import csr_array

        row = self._bins.rows(region, half)
        inside = np.flatnonzero(row >= 0)
        if not len(inside):
            return
        rows, first = np.unique(row[inside], return_index=True)
        edges = np.append(first, len(inside))
        self.bases[rows] += np.diff(edges)
        known = ~np.isnan(y[inside])
        self.known[rows] += np.add.reduceat(known, first, axis=0, dtype=np.int64)
        self.total[rows] += np.add.reduceat(np.where(known, y[inside], 0).astype(np.float64), first, axis=0)
        chosen: Any = csr_array((np.ones(len(inside)), inside, edges), shape=(len(rows), len(row)))
        sums = (chosen @ x.astype(np.float64)).tocoo()
        row, feature = rows[sums.row].astype(np.int32), sums.col.astype(np.int32)
        ends = (row == rows[0]) | (row == rows[-1])
        self._parts.append((row[ends], feature[ends], sums.data[ends]))
        mean = (sums.data / np.diff(edges)[sums.row])[~ends].astype(np.float32)
        self._whole.append((row[~ends], feature[~ends], mean))

    def add_dimensions(self, region: GenomicRegion, half: NDArray[np.int8], activations: "torch.Tensor") -> None:
        """Add the model's activations of consecutive bases, (n, d_model)."""
        row = self._bins.rows(region, half)
        inside = np.flatnonzero(row >= 0)
        if len(inside):
            rows, first = np.unique(row[inside], return_index=True)
            values = activations.float().numpy()[inside].astype(np.float64)
            self.dimensions[rows] += np.add.reduceat(values, first, axis=0)

    def arrays(self) -> dict[str, NDArray]:
        """Everything, of the bins with a readable base, to be stored; see `add_arrays`."""
        row = np.flatnonzero(self.bases)
        found = {"row": row} | {name: getattr(self, name)[row] for name in ("bases", "known", "total", "dimensions")}
        for name, parts in (("whole", self._whole), ("part", self._parts)):
            for i, axis in enumerate(("row", "feature", "value")):
                kind = (np.int32, np.int32, np.float32 if name == "whole" else np.float64)[i]
                found[f"{name}_{axis}"] = np.concatenate([np.empty(0, kind), *(part[i] for part in parts)])
        return found

    def add_arrays(self, stored: Mapping[str, NDArray]) -> None:
        """Add the `arrays` of other bases."""
        for name in ("bases", "known", "total", "dimensions"):
            getattr(self, name)[stored["row"]] += stored[name]
        for name, parts in (("whole", self._whole), ("part", self._parts)):
            parts.append((stored[f"{name}_row"], stored[f"{name}_feature"], stored[f"{name}_value"]))

    def means(self) -> "BinMeans":
        """The means of the bins that have enough readable bases."""
        from scipy.sparse import csr_array

        kept = np.flatnonzero(2 * self.bases >= self._bins.size)
        shape = (len(self._bins), self._d_sae)
        stored = self.arrays()
        whole, parts = (
            csr_array((stored[f"{name}_value"], (stored[f"{name}_row"], stored[f"{name}_feature"])), shape=shape)
            for name in ("whole", "part")
        )
        parts.data /= np.repeat(self.bases, np.diff(parts.indptr))
        both: Any = whole + parts.astype(np.float32)  # a bin is in one of them
        x = both[kept]
        known = self.known[kept]
        y = ratio(self.total[kept], known)
        dimensions = (self.dimensions[kept] / self.bases[kept, None]).astype(np.float32)
        return BinMeans(kept, self._bins.half[kept], y, x, dimensions)


@dataclass(frozen=True, slots=True)
class BinMeans:
    """Means over the readable bases of the k bins of which at least half are readable."""

    row: NDArray[np.int64]  # (k,) place in `Bins`
    half: NDArray[np.int8]  # (k,)
    y: NDArray[np.float64]  # (k, G): of those with a value of the signal; NaN if there is none
    x: "csr_array"  # (k, d_sae) float32
    dimensions: NDArray[np.float32]  # (k, d_model)


def word_means(bins: Bins, genome: Genome, row: NDArray[np.int64]) -> NDArray[np.float32]:
    """How often each word stands in bins, per base.

    Returns
    -------
    (k, 342) float32
        The share of `WORDS` (1 to 4 letters, along the forward strand, ended in the bin), then of G and C, and of CpG.
    """
    regions = bins.regions(genome)
    found = np.zeros((len(row), len(WORDS) + 2), np.float32)
    for line, region in zip(found, (regions[i] for i in row.tolist())):
        start = max(region.start - LONGEST_WORD + 1, 0)
        code, run = kmers(genome.sequence(GenomicRegion(region.contig, start, region.end)), LONGEST_WORD)
        code, run, first = code[region.start - start :], run[region.start - start :], 0
        for k in range(1, LONGEST_WORD + 1):
            line[first : first + 4**k] = np.bincount(code[run >= k] & np.uint32(4**k - 1), minlength=4**k)
            first += 4**k
        line /= len(region)
    found[:, -2] = found[:, WORDS.index("C")] + found[:, WORDS.index("G")]
    found[:, -1] = found[:, WORDS.index("CG")]
    return found


def word_name(column: int) -> str:
    """The name of a column of `word_means`."""
    return [*WORDS, GC, CPG][column]


def bin_correlations(x: Any, y: NDArray[np.float64], *, ranks: bool = True) -> NDArray[np.float64]:
    """Correlations of columns with one signal.

    Parameters
    ----------
    x : (k, F) array or sparse array
        Values of a sparse one are > 0.
    y : (k,) float64
        The signal; every bin has a value.
    ranks : bool
        Spearman's (with mean ranks of ties) rather than Pearson's.

    Returns
    -------
    (F,) float64
        NaN if the signal or the column is constant.
    """
    from scipy.sparse import csc_array, issparse
    from scipy.stats import rankdata

    n = len(y)
    own = (rankdata(y) if ranks else y) - (np.mean(y) if not ranks else (n + 1) / 2) if n else y
    if issparse(x):
        columns: Any = csc_array(x).astype(np.float64)
        columns.sort_indices()
        if ranks:  # less the rank of the zeros, which a correlation does not see
            for first, last in zip(columns.indptr, columns.indptr[1:]):
                zeros = n - (last - first)
                columns.data[first:last] = rankdata(columns.data[first:last]) + zeros - (zeros + 1) / 2
        total, cross = np.asarray(columns.sum(axis=0)), columns.T @ own
        squares = np.asarray((columns**2).sum(axis=0))
        spread = squares - total**2 / max(n, 1)
        spread[spread <= 1e-12 * squares] = 0
    else:
        dense = np.asarray(rankdata(x, axis=0) if ranks and n else x, np.float64)
        dense = dense - dense.mean(axis=0) if n else dense
        cross, squares = dense.T @ own, (np.asarray(x, np.float64) ** 2).sum(axis=0)
        spread = (dense**2).sum(axis=0)
        spread[spread <= 1e-12 * squares] = 0
    whole = np.sqrt(spread * (own**2).sum())
    return ratio(cross, whole)
