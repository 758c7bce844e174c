"""Dictionaries that rival an SAE's: words of the sequence, and directions of the language model's activations.

Each is a stream of feature blocks beside that of the SAE, so it is counted and measured in the same way.
"""

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from sae_tracks.dna import kmer_letters, kmers
from sae_tracks.features import FeatureBlock
from sae_tracks.genome import Genome
from sae_tracks.jit import FAST
from sae_tracks.reading import Reading, Window, read_windows
from sae_tracks.regions import GenomicRegion, ReadStrand
from sae_tracks.source import Source

LONGEST = 6
FIRST = [(4**k - 4) // 3 for k in range(LONGEST + 2)]  # the column of the first word of each length, and their number
WORDS = FIRST[-1]


def word_block(genome: Genome, block: FeatureBlock) -> FeatureBlock:
    """The words of 1 to 6 letters that the model has just read at each base of a block, as features of value 1.

    On read strand ``+`` they end at the base, on ``-`` they begin there. All are read along the forward strand.
    """
    columns = words_read(genome, block.region, block.read_strand)
    columns[:, ~block.readable] = -1
    there = columns.T >= 0
    feature = columns.T[there].astype(np.int32)  # lengths ascend, so columns do
    indptr = np.concatenate(([0], np.cumsum(there.sum(axis=1)))).astype(np.int64)
    value = np.ones(len(feature), np.float32)
    return FeatureBlock(block.region, block.read_strand, block.readable, indptr, feature, value, WORDS)


def words_read(genome: Genome, region: GenomicRegion, read_strand: ReadStrand) -> NDArray[np.int64]:
    """(6, n) int64: the column of the word of each length that was read last at each base of a region; -1 if none."""
    reach, n = LONGEST - 1, len(region)
    before, after = (reach, 0) if read_strand == "+" else (0, reach)
    start, end = max(region.start - before, 0), min(region.end + after, genome.lengths[region.contig])
    code, run = kmers(genome.sequence(GenomicRegion(region.contig, start, end)), LONGEST)
    columns = np.full((LONGEST, n), -1, np.int64)
    for k in range(1, LONGEST + 1):
        last = region.start - start + np.arange(n) + (0 if read_strand == "+" else k - 1)
        inside = last < len(code)
        whole = inside.copy()
        whole[inside] = run[last[inside]] >= k
        columns[k - 1, whole] = FIRST[k] + (code[last[whole]] & np.uint32(4**k - 1)).astype(np.int64)
    return columns


def word_length(column: int) -> int:
    """Letters of the word of a column."""
    return next(k for k in range(1, LONGEST + 1) if column < FIRST[k + 1])


def word_name(column: int) -> str:
    """The word of a column; "" of -1."""
    if column < 0:
        return ""
    k = word_length(column)
    return kmer_letters(column - FIRST[k], k)


def word_places(columns: NDArray[np.int64], wanted: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The bases of each wanted word, ascending, from `words_read`."""
    places: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(wanted)
    for k in range(1, LONGEST + 1):
        mine = np.flatnonzero((wanted >= FIRST[k]) & (wanted < FIRST[k + 1]))
        if len(mine):
            order = np.argsort(columns[k - 1], kind="stable")
            ordered = columns[k - 1][order]
            for i in mine:
                places[i] = order[slice(*np.searchsorted(ordered, (wanted[i], wanted[i] + 1)))]
    return places


# Of x and of -x. Sites may be as rare as one base in ten thousand: up to the 0.999 quantile alone, even a perfect
# dimension would have a precision of a tenth.
QUANTILES = np.array([0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 0.99995])
RANDOM = 128  # random directions, of length 1
PILOT_WINDOWS, PILOT_ROWS = 16, 1 << 16  # in which quantiles are measured, at least, and rows of all together


class Directions:
    """Dimensions of a language model, each with both signs, and random directions: active above a quantile.

    Column ``2 i`` is dimension i, ``2 i + 1`` its negative, the rest are random. The value of a feature is 1 + the
    number of the highest quantile that it exceeds. Quantiles are those of `PILOT_ROWS` bases in windows spread over a
    source, the same ones for all its shards.
    """

    def __init__(self, source: Source, read_strand: ReadStrand, seed: int = 0) -> None:
        self.d_model, self.read_strand = source.lm.d_model, read_strand
        random = np.random.default_rng(seed).standard_normal((self.d_model, RANDOM), np.float32)
        self._random = torch.from_numpy(random / np.linalg.norm(random, axis=0))
        windows = _pilot(source, read_strand)
        readings = read_windows(source.lm, source.genome, windows, source.black_list, source.min_context)
        most = PILOT_ROWS // len(windows)
        rows = np.concatenate([_some(self._project(reading), most) for reading in readings])
        values = torch.from_numpy(rows).T.contiguous().numpy()  # numpy takes six times as long
        values.sort(axis=1)  # then quantiles take a third of the time
        negative = np.ascontiguousarray(-values[: self.d_model, ::-1])
        high = np.quantile(values, QUANTILES, axis=1).T.astype(np.float32)  # (columns, Q)
        low = -np.quantile(negative, QUANTILES, axis=1).T.astype(np.float32)
        self._high, self._low = np.ascontiguousarray(high), np.ascontiguousarray(low)

    def __len__(self) -> int:
        return 2 * self.d_model + RANDOM

    @property
    def cutoffs(self) -> NDArray[np.float32]:
        """(Q, columns) float32: what values exceed at each quantile."""
        return np.tile(np.arange(len(QUANTILES), dtype=np.float32)[:, None] + 0.5, (1, len(self)))

    def block(self, reading: Reading) -> FeatureBlock:
        """The features of a reading."""
        values = self._project(reading, whole=True)
        indptr = np.zeros(len(values) + 1, np.int64)
        _count_above(values, self._high, self._low, reading.readable, indptr)
        np.cumsum(indptr, out=indptr)
        feature, value = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
        _fill_above(values, self._high, self._low, reading.readable, indptr, feature, value)
        where = reading.region, reading.read_strand, reading.readable
        return FeatureBlock(*where, indptr, feature, value, len(self))

    def _project(self, reading: Reading, whole: bool = False) -> NDArray[np.float32]:
        """(n, d_model + RANDOM) float32, of the readable bases or of all."""
        rows = reading.activations.float()
        rows = rows if whole else rows[torch.from_numpy(reading.readable)]
        return torch.cat([rows, rows @ self._random], dim=1).contiguous().numpy()


def dimension_name(column: int) -> str:
    """``+17`` or ``-17`` of a column of `Directions`; "" of -1."""
    return "" if column < 0 else f"{'+-'[column % 2]}{column // 2}"


def _pilot(source: Source, read_strand: ReadStrand) -> list[Window]:
    """Windows spread over a source: as many as have `PILOT_ROWS` bases, and at least `PILOT_WINDOWS`."""
    windows = source.windows(read_strand)
    bases = max(1, sum(len(window.kept) for window in windows))
    number = max(PILOT_WINDOWS, -(-PILOT_ROWS * len(windows) // bases))
    return [windows[i] for i in np.unique(np.linspace(0, len(windows) - 1, number).round().astype(int))]


def _some(rows: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """At most so many rows, evenly spread, because windows may be long."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))] if len(rows) else rows


@njit(**FAST)
def _count_above(values, high, low, readable, indptr):
    """Write the number of active features of each base to ``indptr[i + 1]``."""
    for i in range(len(values)):
        if readable[i]:
            for j in range(values.shape[1]):
                indptr[i + 1] += values[i, j] > high[j, 0]
                indptr[i + 1] += j < len(low) and values[i, j] < low[j, 0]


@njit(**FAST)
def _fill_above(values, high, low, readable, indptr, feature, value):
    """Write the active features of each base, ascending, and 1 + the highest quantile that each exceeds."""
    d = len(low)
    for i in range(len(values)):
        at = indptr[i]
        if not readable[i]:
            continue
        for j in range(values.shape[1]):
            x = values[i, j]
            above, below = 0, 0
            while above < high.shape[1] and x > high[j, above]:
                above += 1
            while j < d and below < low.shape[1] and x < low[j, below]:
                below += 1
            if above > 0:
                feature[at], value[at] = (2 * j if j < d else d + j), above
                at += 1
            if below > 0:
                feature[at], value[at] = 2 * j + 1, below
                at += 1
