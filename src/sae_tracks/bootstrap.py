"""Draws of whole blocks with replacement, and the intervals of what follows from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sae_tracks.regions import GenomicRegion

DRAWS = 1000
INTERVAL = (2.5, 97.5)  # percentiles
BLOCK, MOST_BLOCKS = 10_000, 200  # bases of a block of the genome, at least; blocks, about
FEW = 5  # blocks, which would tell too little about others


def block_size(bases: int) -> int:
    """Bases per block of the genome: `BLOCK`, or a multiple of it if so many bases are more than `MOST_BLOCKS`."""
    return BLOCK * max(-(-bases // (BLOCK * MOST_BLOCKS)), 1)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of contigs that the bootstrap draws."""

    size: int
    number: dict[tuple[str, int], int]  # (contig, start // size): place in the arrays

    @classmethod
    def of(cls, regions: Sequence[GenomicRegion]) -> "Blocks":
        """The blocks that regions touch."""
        size = block_size(sum(map(len, regions)))
        places = ((r.contig, i) for r in regions for i in range(r.start // size, -(-r.end // size)))
        return cls(size, {place: i for i, place in enumerate(dict.fromkeys(places))})


@lru_cache(maxsize=1)  # the rows of a table ask for the same ones, one after the other
def draws_of(blocks: int, seed: int) -> NDArray[np.float64]:
    """(draws, B) float64, read-only: how often each block is drawn; B blocks are, with replacement."""
    draws = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), DRAWS).astype(np.float64)
    draws.flags.writeable = False
    return draws


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % percentile interval of draws; those that are NaN are left out, (NaN, NaN) if all are."""
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, INTERVAL) if len(values) else (np.nan, np.nan)
    return float(low), float(high)
