"""The features of a batch that may be active, and nothing of the others."""

import numpy as np
from numpy.typing import NDArray

from sae_tracks.train.step import kernels
from sae_tracks.train.step.compress import LANES


class Entries:
    """Pre-activations that exceed their bounds, block of rows by block, ascending by feature and then by row.

    Attributes
    ----------
    indptr : (blocks, d_sae + 1) int32
        Feature f owns entries ``indptr[b, f]:indptr[b, f + 1]`` of block b.
    rows : (blocks, capacity) int32
        Counted in their block.
    values : (blocks, capacity) float
    limit : int
        The most entries of a block.
    """

    def __init__(self, blocks: int, size: int, d_sae: int, share: float, spare: int, dtype: np.dtype) -> None:
        self.limit, self.spare = int(share * size * d_sae), spare
        capacity = self.limit + spare + LANES
        self.indptr = np.zeros((blocks, d_sae + 1), np.int32)
        self.rows = np.empty((blocks, capacity), np.int32)
        self.values = np.empty((blocks, capacity), dtype)

    def append(self, block: int, first: int, h: NDArray, bias: NDArray, cut: NDArray, low: NDArray) -> int:
        """Take in the tile of features that begins with `first`, see `kernels.compact`; -1 where the block is full."""
        indptr = self.indptr[block, first : first + len(h) + 1]
        limit = self.limit + self.spare
        return kernels.compact(h, bias, cut, low, limit, indptr, self.rows[block], self.values[block], int(indptr[0]))

    def retain(self, block: int, least: NDArray) -> bool:
        """Drop what is below the least of its row, (r,); whether the rest is within the limit."""
        return kernels.retain(self.indptr[block], self.rows[block], self.values[block], least) <= self.limit

    def count(self) -> int:
        """Entries in all."""
        return int(self.indptr[:, -1].sum())

    def all_values(self) -> NDArray:
        """(count,) values of all blocks."""
        return np.concatenate([values[: ends[-1]] for values, ends in zip(self.values, self.indptr)])
