"""The one stream: sparse feature activations along the genome, for sinks to take in."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from sae_tracks.jit import HOW
from sae_tracks.reading.reader import Reading
from sae_tracks.reading.windows import ReadStrand
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae.largest import cut_to_largest
from sae_tracks.sae.model import SAE

ROWS = 1024  # bases encoded at once
COLUMNS = 512  # features encoded at once: the tile and its weights stay in the second-level cache
LANES = 8  # marks that are looked at together
MOST_NONZEROS = 1 << 23  # a denser block is split


@dataclass(frozen=True, slots=True)
class FeatureBlock:
    """Feature activations of consecutive bases, as a CSR matrix (bases x features).

    Attributes
    ----------
    region : GenomicRegion
        n bases, forward coordinates.
    read_strand : "+" or "-"
        The direction in which the model read.
    readable : (n,) bool
        False on N, other IUPAC letters and black-listed bases; such a base has no non-zeros.
    indptr : (n + 1,) int64
        Base i owns the non-zeros ``indptr[i]:indptr[i + 1]``.
    feature : (nnz,) int32
        Feature ids, ascending within a base.
    value : (nnz,) float32
        Activations, > 0.
    """

    region: GenomicRegion
    read_strand: ReadStrand
    readable: NDArray[np.bool_]
    indptr: NDArray[np.int64]
    feature: NDArray[np.int32]
    value: NDArray[np.float32]


class Sink(Protocol):
    """Takes in a stream of blocks, ascending, one read strand or several."""

    def add(self, block: FeatureBlock) -> None: ...


def stream_features(
    readings: Iterable[Reading], sae: SAE, *, features: Sequence[int] | None = None
) -> Iterator[FeatureBlock]:
    """Encode readings with a sparse autoencoder.

    The encoder runs in tiles whose place is fixed by the window and by the feature id, so a clipped reading, a subset
    of the features or a mirrored genome give the same bits as the whole. Of a ``topk`` all features are encoded,
    whatever is asked for; where values tie for the last of the k places, the lower feature ids have them.

    Parameters
    ----------
    readings : iterable of Reading
        From `read`.
    sae : SAE
        From `load_sae`; its width must be that of the activations.
    features : sequence of int, optional
        Feature ids to encode; default all.

    Yields
    ------
    FeatureBlock
        In the order of the readings and covering them exactly.
    """
    encode = TiledEncoder(sae, features)
    for reading in readings:
        yield from encode(reading)


class TiledEncoder:
    """The encoder of an SAE, tile by tile; see `stream_features`."""

    def __init__(self, sae: SAE, features: Sequence[int] | None = None) -> None:
        ids = sae.check_features(range(sae.d_sae) if features is None else features)
        self.k = sae.k
        weight, bias = sae.folded_encoder()
        encoded = ids if sae.k is None else torch.arange(sae.d_sae)  # which k are largest all features decide
        tiles = torch.unique(encoded // COLUMNS).tolist()
        columns = torch.cat([torch.arange(t * COLUMNS, min((t + 1) * COLUMNS, sae.d_sae)) for t in tiles])
        padding = -len(columns) % COLUMNS
        self.weight = torch.nn.functional.pad(weight[:, columns], (0, padding)).split(COLUMNS, dim=1)
        self.weight = [tile.contiguous() for tile in self.weight]
        self.bias = torch.nn.functional.pad(bias[columns], (0, padding)).split(COLUMNS)
        cutoff = torch.full((sae.d_sae,), torch.inf)
        cutoff[ids] = 0 if sae.threshold is None else sae.threshold[ids]
        cutoff = torch.nn.functional.pad(cutoff[columns], (0, padding), value=torch.inf)
        self.sparse = Compaction(cutoff.numpy(), torch.nn.functional.pad(columns, (0, padding)).int().numpy())
        self.rows = torch.zeros(ROWS, sae.d_in)
        self.tile = torch.empty(ROWS, COLUMNS)
        self.encoded = torch.empty(ROWS if sae.k else 0, len(columns) + padding)

    @torch.inference_mode()
    def __call__(self, reading: Reading) -> Iterator[FeatureBlock]:
        """The blocks of one reading, ascending."""
        place = reading.context // ROWS
        edges = [0, *(np.flatnonzero(np.diff(place)) + 1).tolist(), len(place)]
        pending, first, nonzeros = [], 0, 0
        for start, end in zip(edges, edges[1:]):
            at, readable = reading.context[start:end] % ROWS, reading.readable[start:end]
            counts, feature, value = self._encode(reading.activations[start:end], at, readable)
            if pending and nonzeros + len(feature) > MOST_NONZEROS:
                yield _block(reading, first, start, pending)
                pending, first, nonzeros = [], start, 0
            pending.append((counts, feature, value))
            nonzeros += len(feature)
        yield _block(reading, first, edges[-1], pending)

    def _encode(self, activations: torch.Tensor, at: NDArray[np.int32], readable: NDArray[np.bool_]):
        """Non-zeros of the rows of one tile, in forward order: counts a row, feature ids, values."""
        self.rows.zero_()
        self.rows[torch.from_numpy(at).long()] = activations
        lowest = np.where(readable, np.float32(-np.inf), np.float32(np.inf))
        for i, (weight, bias) in enumerate(zip(self.weight, self.bias)):
            torch.addmm(bias, self.rows, weight, out=self.tile)
            if self.k is None:
                self.sparse.add(self.tile.numpy(), at, lowest)
            else:
                self.encoded[:, i * COLUMNS : (i + 1) * COLUMNS] = self.tile
        if self.k is not None:
            encoded = self.encoded.numpy()
            self.sparse.add(encoded, at, np.maximum(lowest, cut_to_largest(encoded, at, self.k)))
        return self.sparse.take()


class Compaction:
    """From dense values, which come as tiles of columns of the same rows, to their non-zeros row by row.

    Parameters
    ----------
    cutoff : (columns,) float32
        What a value must exceed; infinite for columns that are not wanted.
    feature : (columns,) int32
        Ids, ascending.
    rows : int
        The most rows at once.
    """

    def __init__(self, cutoff: NDArray[np.float32], feature: NDArray[np.int32], rows: int = ROWS) -> None:
        self.cutoff, self.feature = cutoff, feature
        self._kept = np.empty((rows * len(cutoff),), np.int32), np.empty((rows * len(cutoff),), np.float32)
        self._counts: list[NDArray[np.int64]] = []  # kept of every row, a tile each
        self._columns = self._used = 0

    def add(self, values: NDArray[np.float32], at: NDArray[np.int32], lowest: NDArray[np.float32]) -> None:
        """Take in the next tile.

        Parameters
        ----------
        values : (m, width) float32
            The next columns; the width is a multiple of 8.
        at : (n,) int32
            Which of the m rows are wanted, in their order in the result.
        lowest : (n,) float32
            What values of each must exceed too.
        """
        here = slice(self._columns, self._columns + values.shape[1])
        counts = np.empty(len(at), np.int64)
        kept = self._kept
        self._used = _keep(values, at, lowest, self.cutoff[here], self.feature[here], *kept, self._used, counts)
        self._counts.append(counts)
        self._columns = here.stop

    def take(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Counts a row, features and values of all tiles; the next tile begins anew."""
        counts, used = np.array(self._counts), self._used
        self._counts, self._columns, self._used = [], 0, 0
        feature, value = np.empty(used, np.int32), np.empty(used, np.float32)
        _by_row(counts, *self._kept, feature, value)
        return counts.sum(axis=0), feature, value


@njit(**HOW)
def _keep(values, at, lowest, cutoff, ids, features, kept, used, counts):
    """Append what exceeds both its cut-offs, row by row; the numbers kept of every row, and how many there are now."""
    width = values.shape[1]
    marks = np.empty(width, np.uint8)
    groups = marks.view(np.uint64)
    for i in range(len(at)):
        row, low, before = values[at[i]], lowest[i], used
        for j in range(width):  # compared in vectors; then eight at a time are passed over where none is kept
            marks[j] = row[j] > max(cutoff[j], low)
        for g in range(len(groups)):
            if groups[g]:
                for j in range(LANES * g, LANES * (g + 1)):
                    features[used], kept[used] = ids[j], row[j]
                    used += marks[j]
        counts[i] = used - before
    return used


@njit(**HOW)
def _by_row(counts, features, kept, feature, value):
    """Entries of one tile after the other, (tiles, n) counts, put together row by row."""
    tiles, n = counts.shape
    at = np.zeros(tiles, np.int64)
    for t in range(1, tiles):
        at[t] = at[t - 1] + counts[t - 1].sum()
    put = 0
    for i in range(n):
        for t in range(tiles):
            for j in range(at[t], at[t] + counts[t, i]):
                feature[put], value[put] = features[j], kept[j]
                put += 1
            at[t] += counts[t, i]


def _block(reading: Reading, start: int, end: int, parts: list) -> FeatureBlock:
    counts, feature, value = (np.concatenate(arrays) for arrays in zip(*parts))
    region = GenomicRegion(reading.region.contig, reading.region.start + start, reading.region.start + end)
    indptr = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
    return FeatureBlock(region, reading.read_strand, reading.readable[start:end], indptr, feature, value)


def run(blocks: Iterable[FeatureBlock], *sinks: Sink) -> None:
    """Feed every block to every sink."""
    for block in blocks:
        for sink in sinks:
            sink.add(block)
