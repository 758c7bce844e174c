"""The bases that controls look at: a sample of both halves in memory, of one read strand.

Controls compare a feature with many other explanations of the same labels. They measure all of them on the same bases,
so the sample keeps the letters, the activations of the language model, and every feature.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.features import FeatureBlock
from sae_tracks.genome import Genome
from sae_tracks.metrics import Evaluation, Halves
from sae_tracks.reading import Reading
from sae_tracks.regions import GenomicRegion, ReadStrand
from sae_tracks.sae import SAE
from sae_tracks.sae.encoder import SparseEncoder
from sae_tracks.source import Source

SELECT, REPORT = 0, 1
BIN = 32_768  # bases at least of a bin, the unit that the bootstrap draws
BASES = 1_000_000  # kept of each half, unless one bin is longer
Entries = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]  # bases, features, values


@dataclass(frozen=True, slots=True)
class Columns:
    """A sparse matrix (bases x columns) by column."""

    indptr: NDArray[np.int64]  # column c owns the entries indptr[c]:indptr[c + 1]
    base: NDArray[np.int32]  # ascending within a column
    value: NDArray[np.float32]

    def __getitem__(self, column: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Bases and values of one column."""
        inside = slice(self.indptr[column], self.indptr[column + 1])
        return self.base[inside], self.value[inside]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def dense(self, column: int, n: int) -> NDArray[np.float32]:
        """(n,) float32: one column at every base, 0 if it has no entry there."""
        values = np.zeros(n, np.float32)
        base, value = self[column]
        values[base] = value
        return values

    def matrix(self, n: int) -> csc_array:
        """The same as a scipy matrix with n rows."""
        return csc_array((self.value, self.base, self.indptr), shape=(n, len(self)))


@dataclass(frozen=True, slots=True)
class Sample:
    """n bases, numbered from 0, ascending along the genome, as the model read them in one direction."""

    read_strand: ReadStrand
    bins: list[GenomicRegion]  # disjoint, ascending, each in one half; bases that no window covers are not readable
    half: NDArray[np.int8]  # of each bin: SELECT or REPORT
    offset: NDArray[np.int64]  # (bins + 1,): the first base of each bin, and n
    readable: NDArray[np.bool_]  # only such bases count
    letters: NDArray[np.uint8]  # forward, upper case, as ASCII
    activations: NDArray[np.float16]  # (n, d_model) of the language model; 0 if the base was not read
    features: Columns  # (n x d_sae), values > 0

    def __len__(self) -> int:
        return len(self.readable)

    def bin_of_base(self) -> NDArray[np.int32]:
        """(n,) int32: the bin of every base."""
        return np.repeat(np.arange(len(self.bins), dtype=np.int32), np.diff(self.offset))

    def half_of_base(self) -> NDArray[np.int8]:
        """(n,) int8: the half of every readable base, -1 on the others."""
        return np.where(self.readable, np.repeat(self.half, np.diff(self.offset)), -1).astype(np.int8)

    def in_half(self, half: int) -> NDArray[np.bool_]:
        """(n,) bool: the readable bases of one half."""
        return self.half_of_base() == half


@dataclass(frozen=True, slots=True)
class Sites:
    """Annotated instances as bases of a sample: those that lie whole inside one of its bins.

    Concept c owns the instances ``indptr[c]:indptr[c + 1]``, ascending by start. `start` and `end` are numbers of
    bases, half-open; `score` is in the units of the annotation, or NaN. `labels`, (n x concepts) with value 1, are the
    readable bases that instances cover, those included that only reach into a bin.
    """

    indptr: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    score: NDArray[np.float64]
    labels: Columns

    def of(self, concept: int) -> slice:
        """The instances of one concept."""
        return slice(int(self.indptr[concept]), int(self.indptr[concept + 1]))


def sites_in(sample: Sample, sites: pd.DataFrame, concept: NDArray[np.int64], concepts: int) -> Sites:
    """Lay an annotation over a sample.

    Parameters
    ----------
    sites : DataFrame
        ``Chromosome``, ``Start``, ``End``, ``Score`` of m instances.
    concept : (m,) int64
        The concept of every instance.
    concepts : int
        Number of concepts.
    """
    row, start, end, number = _overlaps(sample, sites)
    first, last = sample.offset[number], sample.offset[number + 1]
    whole = np.flatnonzero((start >= first) & (end <= last))
    which = concept[row]
    order = whole[np.lexsort((start[whole], which[whole]))]
    indptr = np.searchsorted(which[order], np.arange(concepts + 1))
    labels = _covered(sample, start, end, number, which, concepts)
    score = sites["Score"].to_numpy(np.float64)
    return Sites(indptr, start[order], end[order], score[row[order]], labels)


def instances_in(
    sample: Sample, half: int, sites: pd.DataFrame, concept: NDArray[np.int64], concepts: int
) -> NDArray[np.int64]:
    """(concepts,) int64: instances whose first base is readable and in one half of a sample, as in `Counter`."""
    row, start, _, number = _overlaps(sample, sites)
    begun = start >= sample.offset[number]
    row, start = row[begun], start[begun]
    return np.bincount(concept[row[sample.in_half(half)[start]]], minlength=concepts)


def cover(sample: Sample, sites: pd.DataFrame, concept: NDArray[np.int64], concepts: int) -> Columns:
    """The labels alone of `sites_in`; ``Score`` is not needed."""
    row, start, end, number = _overlaps(sample, sites)
    return _covered(sample, start, end, number, concept[row], concepts)


def _overlaps(sample: Sample, sites: pd.DataFrame):
    """Return, for every overlap of an instance with a bin, the row, start and end in the sample, and the bin's number.

    An instance that reaches out of its bin has a start or end outside of the bin's bases.
    """
    contig = sites["Chromosome"].to_numpy(object)
    begin, stop = sites["Start"].to_numpy(np.int64), sites["End"].to_numpy(np.int64)
    longest = int((stop - begin).max(initial=0))
    rows_of = {name: np.flatnonzero(contig == name) for name in {region.contig for region in sample.bins}}
    rows_of = {name: rows[np.argsort(begin[rows], kind="stable")] for name, rows in rows_of.items()}
    overlaps = []
    for number, region in enumerate(sample.bins):
        rows = rows_of[region.contig]
        rows = rows[slice(*np.searchsorted(begin[rows], (region.start - longest, region.end)))]
        rows = rows[stop[rows] > region.start]
        shift = sample.offset[number] - region.start
        overlaps.append((rows, begin[rows] + shift, stop[rows] + shift, np.full(len(rows), number)))
    return tuple(np.concatenate(arrays) for arrays in zip(*overlaps, strict=True))


def _covered(sample: Sample, start, end, number, concept, concepts: int) -> Columns:
    """The readable bases of intervals within their bins, each once per concept."""
    start, end = np.maximum(start, sample.offset[number]), np.minimum(end, sample.offset[number + 1])
    length = end - start
    base = np.arange(length.sum()) + np.repeat(start - (np.cumsum(length) - length), length)
    column, base = np.divmod(np.unique(np.repeat(concept, length) * len(sample) + base), len(sample))
    counted = sample.readable[base]
    indptr = np.searchsorted(column[counted], np.arange(concepts + 1))
    return Columns(indptr, base[counted].astype(np.int32), np.ones(int(counted.sum()), np.float32))


def label_sites(sample: Sample, sites: pd.DataFrame, concepts: pd.DataFrame) -> Sites:
    """The sites of an annotation by the concepts of `Labels`, with A, C, G and T from the letters."""
    laid = sites_in(sample, sites, numbers_of(concepts, sites["Name"], sites["Strand"]), len(concepts))
    bases = [np.flatnonzero((sample.letters == letter) & sample.readable) for letter in NUCLEOTIDES.encode()]
    base = np.concatenate([*bases, laid.labels.base]).astype(np.int32)
    indptr = laid.labels.indptr + sum(map(len, bases))
    indptr[: len(bases) + 1] = np.cumsum([0, *map(len, bases)])
    return replace(laid, labels=Columns(indptr, base, np.ones(len(base), np.float32)))


def numbers_of(concepts: pd.DataFrame, name, strand) -> NDArray[np.int64]:
    """(m,) int64: the numbers of concepts by name and site strand, two columns of m rows; -1 for unknown ones."""
    index = pd.MultiIndex.from_frame(cast(pd.DataFrame, concepts[["concept", "site_strand"]]))
    return index.get_indexer(pd.MultiIndex.from_arrays([name.astype(str), strand.astype(str)]))


def bins_of(tiles: Iterable[GenomicRegion]) -> list[GenomicRegion]:
    """Tiles cut into bins of equal length, `BIN` bases or a little more (a shorter tile is one bin)."""
    bins = []
    for tile in tiles:
        edges = np.linspace(tile.start, tile.end, max(1, len(tile) // BIN) + 1).astype(int).tolist()
        bins += [GenomicRegion(tile.contig, start, end) for start, end in zip(edges, edges[1:])]
    return bins


def spread(bins: Sequence[GenomicRegion], most: int) -> list[GenomicRegion]:
    """As many bins as hold at most `most` bases, but at least one, evenly spread over all of them."""
    total = sum(map(len, bins))
    if total <= most:
        return list(bins)
    n = max(1, int(len(bins) * most / total))
    return [bins[i] for i in np.linspace(0, len(bins) - 1, n).round().astype(int)]


def choose_bins(
    genome: Genome, regions: Sequence[GenomicRegion], halves: Halves, most: int = BASES
) -> tuple[list[GenomicRegion], list[int]]:
    """Choose bins of at most `most` bases per half, spread evenly over each half of what is streamed.

    Returns
    -------
    bins, half : list
        The bins in the order of the genome, each covered by a window at least in part, and the half of each.
    """
    order = {name: i for i, name in enumerate(genome.lengths)}
    tiles = [pair for region in regions for pair in halves.tiles(region)]
    chosen = []
    for half in (SELECT, REPORT):
        bins = bins_of(tile for tile, h in tiles if h == half)
        read = [one for one in bins if any(map(one.overlap, genome.stretches(one.contig)))]
        chosen += [(one, half) for one in spread(read, most)]
    chosen.sort(key=lambda pair: (order[pair[0].contig], pair[0].start))
    return [one for one, _ in chosen], [half for _, half in chosen]


class Sampler:
    """Keeps letters, activations and features of some bins, of readings and blocks of one read strand.

    Parameters
    ----------
    genome : Genome
        Letters are looked up in it.
    bins, half
        See `choose_bins`.
    d_model, d_sae : int
        Dimensions of the language model and features of the SAE.
    read_strand : "+" or "-"
        Readings and blocks of the other one are ignored.
    """

    def __init__(
        self,
        genome: Genome,
        bins: Sequence[GenomicRegion],
        half: Sequence[int] | NDArray[np.int8],
        d_model: int,
        d_sae: int,
        read_strand: ReadStrand = "+",
    ) -> None:
        self.bins, self.half = list(bins), np.asarray(half, np.int8)
        self.offset = np.cumsum([0, *map(len, self.bins)])
        self.read_strand: ReadStrand = read_strand
        self.d_sae = d_sae
        n = int(self.offset[-1])
        self._genome, self._readable = genome, np.zeros(n, bool)
        self._activations = np.zeros((n, d_model), np.float16)
        self._entries: list[Entries] = []
        self._on = {region.contig: [] for region in self.bins}
        for number, region in enumerate(self.bins):
            self._on[region.contig].append(number)

    def add_activations(self, reading: Reading) -> None:
        """Keep the activations of a reading; called before its blocks are added."""
        for there, here in self._shared(reading):
            self._activations[here] = reading.activations[there].numpy()
            self._readable[here] = reading.readable[there]

    def add(self, block: FeatureBlock) -> None:
        """Keep the features of a block's bases."""
        for there, here in self._shared(block):
            entries = slice(block.indptr[there.start], block.indptr[there.stop])
            width = np.diff(block.indptr[there.start : there.stop + 1])
            base = np.repeat(np.arange(here.start, here.stop, dtype=np.int32), width)
            self._entries.append((base, block.feature[entries].copy(), block.value[entries].copy()))

    def sample(self) -> Sample:
        """Return what was kept, and forget the features."""
        letters = b"".join(self._genome.sequence(region) for region in self.bins)
        entries, self._entries = self._entries, []
        return Sample(
            read_strand=self.read_strand,
            bins=self.bins,
            half=self.half,
            offset=self.offset,
            readable=self._readable,
            letters=np.frombuffer(letters, np.uint8),
            activations=self._activations,
            features=_by_column(entries, int(self.offset[-1]), self.d_sae),
        )

    def _shared(self, read: Reading | FeatureBlock) -> Iterator[tuple[slice, slice]]:
        """The bases that each bin shares with a reading or block: their slice in it, and in the sample."""
        region = read.region
        for i in self._on.get(region.contig, ()) if read.read_strand == self.read_strand else ():
            both = region.overlap(self.bins[i])
            if both:
                shift = int(self.offset[i]) - self.bins[i].start
                there = slice(both.start - region.start, both.end - region.start)
                yield there, slice(both.start + shift, both.end + shift)


def samplers_of(source: Source, evaluation: Evaluation) -> list[Sampler]:
    """A sampler for each read strand of a source, on the same bins."""
    bins, half = choose_bins(source.genome, evaluation.regions, evaluation.halves)
    sizes = source.lm.d_model, source.sae.d_sae
    return [Sampler(source.genome, bins, half, *sizes, strand) for strand in source.read_strands]


def seen_through(sample: Sample, sae: SAE) -> Columns:
    """The features of another SAE of the same layer, from the activations that the sample keeps (float16)."""
    encoder, entries = SparseEncoder.of(sae), []
    for start, stop in zip(sample.offset.tolist(), sample.offset[1:].tolist()):
        rows = torch.from_numpy(sample.activations[start:stop])
        indptr, feature, value = encoder.encode(rows, sample.readable[start:stop])
        base = np.repeat(np.arange(start, stop, dtype=np.int32), np.diff(indptr))
        entries.append((base, feature, value))
    return _by_column(entries, len(sample), sae.d_sae)


def _by_column(entries: list[Entries], n: int, d_sae: int) -> Columns:
    """Entries that ascend by base as a matrix by feature."""
    base, feature, value = (np.concatenate(arrays) for arrays in zip(*entries, strict=True))
    indptr = np.concatenate(([0], np.cumsum(np.bincount(base, minlength=n))))
    columns = csr_array((value, feature, indptr), shape=(n, d_sae)).tocsc()
    values = cast(NDArray[np.float32], columns.data)
    return Columns(columns.indptr.astype(np.int64), columns.indices.astype(np.int32), values)
