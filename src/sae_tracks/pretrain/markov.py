"""Markov models of the next base, the baseline of a language model's loss.

A base's probability after a context c of k bases is the smoothed frequency ::

    p_k(x | c) = (n(c, x) + a p_{k-1}(x | c')) / (n(c) + a)

with c' the context without its oldest base and the uniform distribution below order 0: the predictive distribution of
a hierarchical Dirichlet model (MacKay and Peto 1995, Natural Language Engineering 1:289). If a context reaches over a
letter other than A, C, G, T or over the start of its stretch, the highest order with a whole context counts.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sae_tracks.dna import kmers, reverse_complement
from sae_tracks.genome import Genome
from sae_tracks.pretrain.windows import overlapping_chunks
from sae_tracks.regions import GenomicRegion

ORDER = 12
# Of 1 to 256, the best for order 12 over three stretches of human sequence (2.1 Mb) after 4.5 Mb of training; from 96
# to 192 none moves by more than 0.004 nats, and a weight that grows with the letters seen after c gains under 0.003.
BACK_OFF = 128.0  # the weight a of the next lower order, in observations
CHUNK = 1 << 21  # bases counted at once


class MarkovModels:
    """Markov models of orders 0 to `order`, as a `NextBaseModel`.

    Parameters
    ----------
    counts : list of (4 ** (k + 1),) integers
        Of every (k + 1)-mer, k = 0 .. order, by its code in `sae_tracks.dna.kmers`.
    """

    window = 1 << 18

    def __init__(self, counts: list[NDArray[np.integer]]) -> None:
        self.counts = counts
        self.shape, self.context = (len(counts),), len(counts) - 1

    @classmethod
    def trained(cls, genome: Genome, stretches: Iterable[GenomicRegion], order: int = ORDER) -> "MarkovModels":
        """Count both strands of disjoint stretches of a genome; about 0.5 GB at order 12."""
        # 4^13 counts take half the memory in uint32, and no 13-mer of any genome occurs 2^32 times
        types = [np.int64 if k < ORDER else np.uint32 for k in range(order + 1)]
        counts: list[NDArray[np.integer]] = [np.zeros(4 ** (k + 1), dtype) for k, dtype in enumerate(types)]
        for stretch in stretches:
            for chunk in overlapping_chunks(stretch, CHUNK, order):
                sequence = genome.sequence(chunk)
                _count(counts, sequence, order if chunk.start > stretch.start else 0)
                _count(counts, reverse_complement(sequence), order if chunk.end < stretch.end else 0)
        for k in range(order, 0, -1):
            counts[k - 1] += counts[k].reshape(4, -1).sum(axis=0, dtype=np.int64)  # over the oldest base
        return cls(counts)

    def losses(self, sequence: bytes) -> NDArray[np.float32]:
        """(order + 1, n) nats; see `NextBaseModel.losses`."""
        codes, runs = kmers(sequence, len(self.counts))
        p = np.full(len(codes), 0.25)
        out = np.empty((len(self.counts), len(codes)), np.float32)
        for k, counts in enumerate(self.counts):
            code = codes & np.uint32(len(counts) - 1)
            after = counts.reshape(-1, 4)[code >> 2]
            longer = (counts[code] + BACK_OFF * p) / (after.sum(axis=1, dtype=np.int64) + BACK_OFF)
            p = np.where(runs > k, longer, p)
            out[k] = -np.log(p)
        return out


def _count(counts: list[NDArray[np.integer]], sequence: bytes, skip: int) -> None:
    """Add the longest whole k-mer that ends at each base but the first `skip`, which another chunk has counted."""
    codes, runs = kmers(sequence, len(counts))
    codes, runs = codes[skip:], np.minimum(runs[skip:], len(counts))
    _add(counts[-1], codes[runs == len(counts)])
    short = np.flatnonzero(runs < len(counts))
    for k in range(len(counts) - 1):
        _add(counts[k], codes[short[runs[short] == k + 1]] & np.uint32(len(counts[k]) - 1))


def _add(table: NDArray[np.integer], codes: NDArray[np.unsignedinteger]) -> None:
    code, times = np.unique(codes, return_counts=True)
    table[code] += times.astype(table.dtype)
