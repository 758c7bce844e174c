"""The one stream: sparse feature activations along the genome, for sinks to take in."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.reading import Reading
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae.model import SAE
from sae_tracks.windows import ReadStrand

ROWS = 1024  # bases encoded at once
COLUMNS = 512  # features encoded at once: the tile and its weights stay in the second-level cache
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
        self.ids = sae.check_features(range(sae.d_sae) if features is None else features)
        self.k, self.cutoff = sae.k, 0 if sae.threshold is None else sae.threshold[self.ids]
        weight, bias = sae.folded_encoder()
        encoded = self.ids if sae.k is None else torch.arange(sae.d_sae)  # which k are largest all features decide
        tiles = torch.unique(encoded // COLUMNS).tolist()
        columns = torch.cat([torch.arange(t * COLUMNS, min((t + 1) * COLUMNS, sae.d_sae)) for t in tiles])
        padding = -len(columns) % COLUMNS
        self.weight = torch.nn.functional.pad(weight[:, columns], (0, padding)).split(COLUMNS, dim=1)
        self.weight = [tile.contiguous() for tile in self.weight]
        self.bias = torch.nn.functional.pad(bias[columns], (0, padding)).split(COLUMNS)
        self.wanted = torch.searchsorted(columns, self.ids)
        self.all_wanted = len(self.wanted) == len(columns)
        self.rows = torch.zeros(ROWS, sae.d_in)
        self.tile = torch.empty(ROWS, COLUMNS)
        self.encoded = torch.empty(ROWS, len(columns) + padding)

    @torch.inference_mode()
    def __call__(self, reading: Reading) -> Iterator[FeatureBlock]:
        """The blocks of one reading, ascending."""
        place = reading.context // ROWS
        edges = [0, *(np.flatnonzero(np.diff(place)) + 1).tolist(), len(place)]
        pending, first, nonzeros = [], 0, 0
        for start, end in zip(edges, edges[1:]):
            at = torch.from_numpy(reading.context[start:end] % ROWS).long()
            readable = torch.from_numpy(reading.readable[start:end])
            counts, feature, value = self._encode(reading.activations[start:end], at, readable)
            if pending and nonzeros + len(feature) > MOST_NONZEROS:
                yield _block(reading, first, start, pending)
                pending, first, nonzeros = [], start, 0
            pending.append((counts, feature, value))
            nonzeros += len(feature)
        yield _block(reading, first, edges[-1], pending)

    def _encode(self, activations: torch.Tensor, at: torch.Tensor, readable: torch.Tensor):
        """Non-zeros of the rows of one tile, in forward order: counts a row, feature ids, values."""
        self.rows.zero_()
        self.rows[at] = activations
        for i, (weight, bias) in enumerate(zip(self.weight, self.bias)):
            torch.addmm(bias, self.rows, weight, out=self.tile)
            self.encoded[:, i * COLUMNS : (i + 1) * COLUMNS] = self.tile
        encoded = self.encoded[at]
        cutoff = self.cutoff if self.k is None else _cutoffs(encoded, self.k)
        encoded = encoded[:, : len(self.wanted)] if self.all_wanted else encoded[:, self.wanted]
        active = (encoded > cutoff) & readable[:, None]
        row, column = active.nonzero(as_tuple=True)
        counts = torch.bincount(row, minlength=len(at)).numpy()
        return counts, self.ids[column].to(torch.int32).numpy(), encoded[row, column].numpy()


def _cutoffs(h: torch.Tensor, k: int) -> torch.Tensor:
    """(n, 1) cutoffs above which lie the k largest positive values of each row of h.

    Where more values tie for the last places than there are places, those of the higher columns are set to 0 in h.
    """
    last = h.topk(k, sorted=False).values.amin(1, keepdim=True)
    cutoffs = last.nextafter(last.new_tensor(-torch.inf)).clamp_(min=0)
    crowded = np.count_nonzero((h > cutoffs).numpy(), axis=1) > k  # torch counts along rows ten times slower
    if crowded.any():
        rows, last = h[crowded], last[crowded]
        places = k - (rows > last).sum(1, keepdim=True)
        tied = rows == last
        h[crowded] = rows.masked_fill_(tied & (tied.cumsum(1) > places), 0)
    return cutoffs


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
