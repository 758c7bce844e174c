"""The one stream: sparse feature activations along the genome, which sinks store or count."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.reading import Reading
from sae_tracks.regions import GenomicRegion, ReadStrand
from sae_tracks.sae.encoder import Sparse, SparseEncoder, split_tiles
from sae_tracks.sae.model import SAE

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MOST_NONZEROS = 1 << 23  # per block; a denser one is split


@dataclass(frozen=True, slots=True, repr=False)
class FeatureBlock:
    """Feature activations of consecutive bases, as a CSR matrix (bases x features).

    Attributes
    ----------
    region : GenomicRegion
        The n bases.
    read_strand : "+" or "-"
        Direction in which the model read.
    readable : (n,) bool
        As in `Reading`. A base that is not readable has no non-zeros.
    indptr : (n + 1,) int64
        Base i owns the non-zeros ``indptr[i]:indptr[i + 1]``.
    feature : (nnz,) int32
        Feature ids, ascending within a base.
    value : (nnz,) float32
        Activations, > 0.
    d_sae : int
        Number of features of the SAE, which are the columns of the matrix.
    """

    region: GenomicRegion
    read_strand: ReadStrand
    readable: NDArray[np.bool_]
    indptr: NDArray[np.int64]
    feature: NDArray[np.int32]
    value: NDArray[np.float32]
    d_sae: int

    def to_scipy(self) -> "csr_array":
        """The activations as an (n, d_sae) sparse matrix of float32, whose values are this block's own, not a copy.

        Row i is base ``region.start + i``. Rows of bases that are not readable are empty.
        """
        from scipy.sparse import csr_array

        return csr_array((self.value, self.feature, self.indptr), shape=(len(self.region), self.d_sae))

    def part(self, region: GenomicRegion) -> "FeatureBlock":
        """Some of the bases, in the same memory."""
        first, last = region.start - self.region.start, region.end - self.region.start
        indptr = self.indptr[first : last + 1]
        held = slice(indptr[0], indptr[-1])
        arrays = self.readable[first:last], indptr - indptr[0], self.feature[held], self.value[held]
        return FeatureBlock(region, self.read_strand, *arrays, self.d_sae)

    def __repr__(self) -> str:
        counts = f"{len(self.value):,} non-zeros of {self.d_sae:,} features"
        return f"FeatureBlock({self.region}, read {self.read_strand}, {counts})"


class Sink(Protocol):
    """Stores or counts the feature blocks of a stream, which come ascending per read strand."""

    def add(self, block: FeatureBlock) -> None: ...


def stream_features(
    readings: Iterable[Reading],
    sae: SAE,
    *,
    features: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[FeatureBlock]:
    """Encode readings with a sparse autoencoder.

    The encoder runs in tiles whose place is fixed by the window and by the feature id, so a clipped reading, a subset
    of the features or a mirrored genome give the same bits as the whole. With a ``topk`` all features are encoded even
    if few are asked for; if values tie for the last of the k places, the lower feature ids take them.

    Parameters
    ----------
    readings : iterable of Reading
        From `read`.
    sae : SAE
        From `load_sae`; its width must be that of the activations.
    features : sequence of int, optional
        Feature ids to encode; default all.
    device : torch.device or str
        Where the encoder computes; the readings and the SAE are on the CPU. `Source.blocks` takes that of the model.

    Yields
    ------
    FeatureBlock
        In the order of the readings and covering them exactly.
    """
    encoder = SparseEncoder.of(sae, features, device)
    for reading in readings:
        yield from encode_reading(encoder, reading)


@torch.inference_mode()
def encode_reading(encoder: SparseEncoder, reading: Reading) -> Iterator[FeatureBlock]:
    """Yield the blocks of one reading, ascending; a base's context decides its place in the encoder's tiles."""
    pending, first, nonzeros = [], 0, 0
    for tile in split_tiles(reading.context):
        rows = reading.activations[tile], reading.context[tile], reading.readable[tile]
        counts, feature, value = encoder.encode_tile(*rows)
        if pending and nonzeros + len(feature) > MOST_NONZEROS:
            yield _block(reading, first, tile.start, pending, encoder.d_sae)
            pending, first, nonzeros = [], tile.start, 0
        pending.append((counts, feature, value))
        nonzeros += len(feature)
    yield _block(reading, first, len(reading.context), pending, encoder.d_sae)


def _block(reading: Reading, start: int, end: int, tiles: list[Sparse], d_sae: int) -> FeatureBlock:
    counts, feature, value = (np.concatenate(arrays) for arrays in zip(*tiles))
    region = GenomicRegion(reading.region.contig, reading.region.start + start, reading.region.start + end)
    indptr = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
    return FeatureBlock(region, reading.read_strand, reading.readable[start:end], indptr, feature, value, d_sae)


def side_by_side(
    ours: Iterator[FeatureBlock], theirs: Iterator[FeatureBlock]
) -> Iterator[tuple[FeatureBlock, FeatureBlock]]:
    """Yield two streams of the same bases as pairs of blocks of the same bases, cut where a block of either ends."""
    a, b = next(ours, None), next(theirs, None)
    while a and b:
        both = a.region.overlap(b.region)
        if both is None:
            break
        yield a.part(both), b.part(both)
        a = next(ours, None) if a.region.end == both.end else a
        b = next(theirs, None) if b.region.end == both.end else b
    if a or b:
        raise ValueError(f"two streams are not of the same bases: {a} and {b}")


def run(blocks: Iterable[FeatureBlock], *sinks: Sink) -> None:
    """Feed every block of a stream to every sink."""
    for block in blocks:
        for sink in sinks:
            sink.add(block)
