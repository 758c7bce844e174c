"""A linear probe of concepts on the 31 letters that the model had read last, fitted on the select half.

Least squares on 0 and 1: all concepts share one matrix to solve with, and only the order of the scores counts.
"""

from collections.abc import Iterator
from typing import cast

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from sae_tracks.controls import dictionaries
from sae_tracks.dna import codes
from sae_tracks.jit import FAST
from sae_tracks.metrics import Evaluation, Labels
from sae_tracks.regions import GenomicRegion, ReadStrand, subtract_regions

LETTERS = 31
INPUTS = 4 * LETTERS
RIDGE = 1e-4  # of the variance of an input
BASES = 1 << 16  # fitted at once, so that sums of 0 and 1 are exact in float32
SAMPLE = 1 << 20  # scores at least, if there are as many, from which the quantiles are taken
QUANTILES = np.append([0.5, 0.75, 0.9], dictionaries.QUANTILES)  # the levels of a score


class SequenceProbe:
    """Probes of some concepts, fitted; see `levels`.

    If the model is causal, the letters end at the base in the direction of reading; else 15 lie on either side.
    """

    def __init__(
        self, evaluation: Evaluation, concepts: NDArray[np.int64], read_strand: ReadStrand, *, causal: bool
    ) -> None:
        self.concepts = concepts
        self._before = (LETTERS - 1 if read_strand == "+" else 0) if causal else LETTERS // 2
        self._genome = evaluation.genome
        self._weights = np.zeros((len(concepts), LETTERS, 4), np.float32)
        self._cuts = np.full((len(concepts), len(QUANTILES)), np.inf, np.float32)
        if len(concepts):
            # a sample of all tiles could consist of N alone
            tiles = [tile for tile in _select_tiles(evaluation) if (self._letters(tile)[1] < 4).any()]
            self._fit(tiles, evaluation.labels)
            some = [self._letters(tile) for tile in tiles[:: max(1, sum(map(len, tiles)) // SAMPLE)]]
            for concept, weights in enumerate(self._weights):
                score = np.concatenate([_score(around, weights, len(own))[own < 4] for around, own in some])
                self._cuts[concept] = np.quantile(score, QUANTILES)

    def levels(self, region: GenomicRegion) -> Iterator[NDArray[np.uint8]]:
        """Yield for each concept (n,): at each base of a region, how many quantiles of the select half it exceeds."""
        around, own = self._letters(region)
        for cuts, weights in zip(self._cuts, self._weights):
            yield np.searchsorted(cuts, _score(around, weights, len(own)), "left").astype(np.uint8)

    def _letters(self, region: GenomicRegion) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The letters around a region, (n + 30,), 4 beyond the contig; and its own, (n,)."""
        start, end = region.start - self._before, region.end + LETTERS - 1 - self._before
        there = GenomicRegion(region.contig, max(start, 0), min(end, self._genome.lengths[region.contig]))
        around = np.full(end - start, 4, np.uint8)
        around[there.start - start : there.end - start] = codes(self._genome.sequence(there))
        return around, around[self._before : self._before + len(region)]

    def _fit(self, tiles: list[GenomicRegion], labels: Labels) -> None:
        total, squares = np.zeros(INPUTS), np.zeros((INPUTS, INPUTS))
        products, count, m = np.zeros((len(self.concepts), INPUTS)), np.zeros(len(self.concepts)), 0
        one_hot = np.eye(5, 4, dtype=np.float32)
        for tile in tiles:
            around, own = self._letters(tile)
            y = labels_on(labels, tile, own, self.concepts)
            x = one_hot[np.lib.stride_tricks.sliding_window_view(around, LETTERS)].reshape(len(tile), INPUTS)
            known = own < 4
            x, y = x[known], y[:, known].astype(np.float32)
            total += x.sum(axis=0, dtype=np.float64)
            squares += x.T @ x
            products += y @ x
            count += y.sum(axis=1)
            m += len(x)
        mean = total / max(m, 1)
        covariance = squares / max(m, 1) - np.outer(mean, mean)
        scale = 1 / np.sqrt(np.where(covariance.diagonal() > 1e-12, covariance.diagonal(), 1))
        slopes = (products / max(m, 1) - np.outer(count / max(m, 1), mean)) * scale
        solved = np.linalg.solve(covariance * scale * scale[:, None] + RIDGE * np.eye(INPUTS), slopes.T).T
        self._weights = np.ascontiguousarray((solved * scale).reshape(-1, LETTERS, 4), np.float32)


def labels_on(
    labels: Labels, region: GenomicRegion, letters: NDArray[np.uint8], concepts: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(C, n) bool: the bases of a region that each concept labels; `letters` are its codes."""
    found, there = np.zeros((len(concepts), len(region)), np.bool_), labels.overlapping(region)
    for i, concept in enumerate(concepts.tolist()):
        if concept < 4:
            found[i] = letters == concept
            continue
        mine = cast(pd.DataFrame, there[there["concept"] == concept])
        for start, end in zip(mine["Start"] - region.start, mine["End"] - region.start):
            found[i, max(start, 0) : max(end, 0)] = True
    return found


def _select_tiles(evaluation: Evaluation) -> Iterator[GenomicRegion]:
    """The select half without black-listed bases, in pieces that are fitted at once."""
    for region in subtract_regions(evaluation.regions, evaluation.black_list):
        for tile, half in evaluation.halves.tiles(region):
            if half == 0:
                for start in range(tile.start, tile.end, BASES):
                    yield GenomicRegion(tile.contig, start, min(start + BASES, tile.end))


@njit(**FAST)
def _score(around, weights, n):
    """(n,) float32: the sum of the weights, (31, 4), of the letters before and around each base."""
    score = np.zeros(n, np.float32)
    for i in range(n):
        total = np.float32(0)
        for j in range(len(weights)):
            if around[i + j] < 4:
                total += weights[j, around[i + j]]
        score[i] = total
    return score
