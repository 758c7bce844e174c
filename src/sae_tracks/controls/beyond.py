"""Does a motif's feature know more than a word? Among the places of a word, does its level tell sites from the rest?

The word is the one that fits the sites best. If another one describes the feature, this is tried too: with the first
alone, a feature that marks another word of the motif would pass.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.bootstrap import draws_of, interval
from sae_tracks.controls.dictionaries import WORDS as WORD_COLUMNS
from sae_tracks.controls.dictionaries import word_length, word_name
from sae_tracks.controls.gather import FEATURES, WORDS
from sae_tracks.controls.items import auroc, highest
from sae_tracks.controls.verdict import DESCRIBES
from sae_tracks.controls.view import Pairs, Tiles, View
from sae_tracks.regions import ReadStrand

INSIDE, OUTSIDE = 0, 1  # places in a site; places that touch none


class BeyondWord:
    """The levels at the places of both words of each motif's pair, in sites and elsewhere."""

    def __init__(self, pairs: Pairs, words: NDArray[np.int64], tiles: Tiles) -> None:
        """`words` are those that fit the sites best, (p,); -1 is none."""
        self.pairs = pairs
        self._shape = tiles.shape
        marked, self._fit = _marked_words(pairs, tiles)
        self._marked = marked
        self.words = np.stack([np.where(pairs.motif, words, -1), np.where(self._fit >= DESCRIBES, marked, -1)])
        self._places = np.zeros((2, len(pairs), 2, pairs.blocks, pairs.levels + 1), np.int64)

    def wanted(self) -> Mapping[str, NDArray[np.int64]]:
        return {FEATURES: self.pairs.feature, WORDS: self.words.ravel()}

    def add(self, view: View) -> None:
        for number, pair in zip(*np.nonzero(self.words >= 0)):
            self._add(int(number), int(pair), view)

    def _add(self, number: int, pair: int, view: View) -> None:
        tile, concept, word = view.tile, int(self.pairs.concept[pair]), int(self.words[number, pair])
        items, k, forward = view.items(concept), word_length(word), tile.read_strand == "+"
        width, lag = int(self._shape.width[concept]), int(self._shape.lag[concept])
        start = view.active(WORDS, word)[0].astype(np.int64) - (k - 1 if forward else 0)
        spare = max(width - k, 0)  # bases on either side that a site may have around the word
        before, after = (0, lag) if forward else (lag, 0)
        low, high = np.maximum(start - spare - before, 0), np.minimum(start + k + spare + after, len(tile))
        reached = highest(low, high, *view.active(FEATURES, int(self.pairs.feature[pair])))
        at = np.searchsorted(items.touched[:, 1], start, side="right")
        free = np.append(items.touched[:, 0], 2 * len(tile))[at] >= start + k
        last = np.searchsorted(items.first, start, side="right") - 1
        inside = (last >= 0) & (start + k <= np.append(items.last, 0)[last])
        for side, which in ((INSIDE, inside), (OUTSIDE, free)):
            into = self._places[number, pair, side]
            np.add.at(into, (tile.block[start[which].clip(0)], reached[which]), 1)

    def table(self) -> pd.DataFrame:
        draws = draws_of(self.pairs.blocks, self.pairs.seed + 2)
        rows = np.full((len(self.pairs), 3), np.nan)
        for pair in np.flatnonzero(self.words[0] >= 0):
            both = [_beyond(self._places[number, pair], draws) for number in range(2)]
            rows[pair] = min(both, key=lambda one: one[1] if np.isfinite(one[1]) else np.inf)
        found = pd.DataFrame(rows, columns=["word_auroc", "word_auroc_low", "word_auroc_high"])
        names = np.array([word_name(c) for c in self._marked.tolist()], object)
        return found.assign(feature_kmer=names, feature_kmer_f1=self._fit)


def _beyond(places: NDArray[np.int64], draws: NDArray[np.float64]) -> tuple[float, float, float]:
    """AUROC of the places of a word in sites against the others, with its interval; NaN without one in a site."""
    sites, others = places[INSIDE], places[OUTSIDE]
    if sites.sum() and not others.sum():
        return 0.5, 0.5, 0.5  # the word occurs in sites alone: nothing is beyond it
    return float(auroc(sites.sum(axis=0), others.sum(axis=0))), *interval(auroc(draws @ sites, draws @ others))


def _marked_words(pairs: Pairs, tiles: Tiles) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For the feature of every motif the word that ends with its activity most often, in sites or not, and the F1.

    A run of active bases is right if its last base to be read completes the word. (p,) int64, -1 if the feature is
    never active or the concept is no motif, and (p,) float64, NaN there.
    """
    wanted, features = np.flatnonzero(pairs.motif), np.unique(pairs.feature)
    hits, places = np.zeros((len(wanted), WORD_COLUMNS), np.int64), np.zeros(WORD_COLUMNS, np.int64)
    runs = np.zeros(len(wanted), np.int64)
    for region in tiles.regions if len(wanted) else []:
        readable, levels = tiles.columns(FEATURES, region, features)
        if not readable.any():
            continue
        columns = tiles.words(region, readable)
        places += np.bincount(columns[columns >= 0], minlength=WORD_COLUMNS)
        for i, pair in enumerate(wanted):
            base, level = levels[int(np.searchsorted(features, pairs.feature[pair]))]
            here = columns[:, _ends(base[level > pairs.threshold[pair]], pairs.read_strand)]
            hits[i] += np.bincount(here[here >= 0], minlength=WORD_COLUMNS)
            runs[i] += here.shape[1]
    fit = 2 * hits / np.maximum(places + runs[:, None], 1)
    best, f1 = np.full(len(pairs), -1), np.full(len(pairs), np.nan)
    best[wanted], f1[wanted] = fit.argmax(axis=1), fit.max(axis=1, initial=0)
    best[~(f1 > 0)], f1[~(f1 > 0)] = -1, np.nan
    return best, f1


def _ends(base: NDArray[np.int32], read_strand: ReadStrand) -> NDArray[np.int32]:
    """Of ascending bases the one of each run that is read last."""
    apart = np.diff(base) > 1
    one = np.ones(min(len(base), 1), np.bool_)
    return base[np.concatenate([apart, one] if read_strand == "+" else [one, apart])]
