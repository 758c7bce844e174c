"""Features on changed copies of a part of the genome."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.edits import WholeCopies, begin_edits
from sae_tracks.lm.protocol import Edits
from sae_tracks.regions import GenomicRegion, ReadStrand
from sae_tracks.sae.encoder import Sparse, SparseEncoder
from sae_tracks.source import Source

MOST_ROWS = 1 << 15  # activations in memory at once


@dataclass(frozen=True, slots=True)
class Frame:
    """A part of the genome as a model reads it on one strand, ready for changes.

    Attributes
    ----------
    fed : GenomicRegion
        The n bases that the model reads.
    read_strand : "+" or "-"
        On ``-`` the model reads the reverse complement.
    letters : (n,) uint8
        Upper-case letters in the direction of reading. Offsets count in this direction, from 0.
    edits : Edits
        What was read, and changed copies of it.
    """

    fed: GenomicRegion
    read_strand: ReadStrand
    letters: NDArray[np.uint8]
    edits: Edits

    def offsets(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Offsets of forward positions, 0-based."""
        return positions - self.fed.start if self.read_strand == "+" else self.fed.end - 1 - positions

    def positions(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Forward positions of offsets."""
        return self.fed.start + offsets if self.read_strand == "+" else self.fed.end - 1 - offsets


def open_frame(source: Source, region: GenomicRegion, read_strand: ReadStrand) -> Frame:
    """Read a region with its context, up to the nearest long run of N.

    The context lies before the region in the direction of reading; with a model that is not causal, on both sides. So
    activations differ from those of `read` by what the borders of windows change (``sae-tracks check-seams``).

    Raises
    ------
    SaeTracksError
        See `with_context`.
    """
    fed = with_context(source, region, read_strand)
    forward = source.genome.sequence(fed)
    oriented = forward if read_strand == "+" else reverse_complement(forward)
    return Frame(fed, read_strand, np.frombuffer(oriented, np.uint8), begin_edits(source.lm, oriented))


def with_context(source: Source, region: GenomicRegion, read_strand: ReadStrand) -> GenomicRegion:
    """Return what `open_frame` reads of the genome.

    Raises
    ------
    SaeTracksError
        The region reaches into a run of 100 N or more, or is too long to be read at once with its context.
    """
    layout = source.layout
    around = [stretch for stretch in source.genome.stretches(region.contig) if stretch.overlap(region) == region]
    if not around:
        raise SaeTracksError(f"{region} reaches into a long run of N: name a region without one")
    before, after = layout.before, 0 if source.lm.causal else layout.after
    left, right = (before, after) if read_strand == "+" else (after, before)
    start, end = max(region.start - left, around[0].start), min(region.end + right, around[0].end)
    if end - start > source.lm.max_length:
        most = source.lm.max_length - before - after
        raise SaeTracksError(
            f"{region} has {len(region):,} bases; this model reads at most {most:,} beside the context"
        )
    return GenomicRegion(region.contig, start, end)


class FeatureReader:
    """Some features of a sequence and of changed copies of it.

    Parameters
    ----------
    encoder : SparseEncoder
        Of the features.
    features : sequence of int
        The k features, each once, in this order in every result.
    """

    def __init__(self, encoder: SparseEncoder, features: Sequence[int]) -> None:
        self._encoder, self._k = encoder, len(features)
        self._column = np.full(encoder.d_sae, -1)
        self._column[list(features)] = np.arange(len(features))

    def values(self, rows: torch.Tensor) -> NDArray[np.float32]:
        """(n, d_model) activations -> (n, k) float32."""
        return self._dense(len(rows), self._encoder.encode(rows))

    def copies(
        self, edits: Edits, starts: NDArray[np.int64], letters: NDArray[np.uint8], before: int = 0
    ) -> NDArray[np.float32]:
        """(m, before + s, k) float32: the features of copies, see `Edits.read`.

        Where the model's activations are those of the sequence itself, the features are too, bit for bit.
        """
        m, span = len(starts), before + letters.shape[1]
        found = np.empty((m, span, self._k), np.float32)
        read = len(edits.activations) if isinstance(edits, WholeCopies) else span
        step = max(MOST_ROWS // read, 1)
        for first in range(0, m, step):
            part = slice(first, first + step)
            found[part] = self._some(edits, starts[part], letters[part], before)
        return found

    def _some(
        self, edits: Edits, starts: NDArray[np.int64], letters: NDArray[np.uint8], before: int
    ) -> NDArray[np.float32]:
        rows = edits.read(starts, letters, before)
        at = starts[:, None] + np.arange(-before, letters.shape[1])
        # by numpy: torch's threads would still be waiting for work when the next copies are read
        changed = (rows.numpy() != edits.activations.numpy()[at]).any(2)
        first, last = int(at.min()), int(at.max()) + 1
        found = self.values(edits.activations[first:last])[at - first]
        if changed.any():
            found[changed] = self.values(torch.from_numpy(rows.numpy()[changed]))
        return found

    def _dense(self, n: int, sparse: Sparse) -> NDArray[np.float32]:
        indptr, feature, value = sparse
        found = np.zeros((n, self._k), np.float32)
        column = self._column[feature]
        row = np.repeat(np.arange(n), np.diff(indptr))
        found[row[column >= 0], column[column >= 0]] = value[column >= 0]
        return found
