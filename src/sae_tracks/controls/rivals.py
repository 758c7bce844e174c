"""What could explain a match instead: the best column of another dictionary, or a probe on the letters."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.controls.dictionaries import QUANTILES, RANDOM, dimension_name, word_name
from sae_tracks.controls.gather import DIRECTIONS, WORDS, Gathered
from sae_tracks.controls.items import Histogram, average_precision
from sae_tracks.controls.probe import QUANTILES as PROBE_QUANTILES
from sae_tracks.controls.probe import SequenceProbe
from sae_tracks.controls.view import Pairs, View
from sae_tracks.metrics import Counts, Evaluation
from sae_tracks.metrics.counts import at_thresholds

KMER, SEED = "kmer", "seed"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The column with the best score on the select half for each of C concepts; -1 if there is none."""

    column: NDArray[np.int64]
    score: NDArray[np.float64]
    f1: NDArray[np.float64]  # on the report half, per base; NaN if nothing is active or labelled there


def choose(
    counts: Counts, strand: int, concepts: NDArray[np.int64], columns: slice = slice(None), *, sites: bool = False
) -> Chosen:
    """Choose by F1 per base or, for columns that are active on one base of a site, by 2 TP / (sites + active).

    The first column and its lowest threshold win if several tie.
    """
    found, best, f1 = np.full(len(concepts), -1), np.zeros(len(concepts)), np.full(len(concepts), np.nan)
    active = at_thresholds(counts.active[strand], 1)[:, :, columns]
    for i, concept in enumerate(concepts.tolist()):
        tp = at_thresholds(counts.tp[strand, :, concept], 1)[:, :, columns]
        size = counts.instances if sites else counts.labelled
        score = 2 * tp[0] / np.maximum(size[strand, 0, concept] + active[0], 1)
        column, threshold = divmod(int(score.T.argmax()), score.shape[0])
        best[i] = score[threshold, column]
        if best[i] > 0:
            found[i] = (columns.start or 0) + column
            both = counts.labelled[strand, -1, concept] + active[-1, threshold, column]
            f1[i] = 2 * tp[-1, threshold, column] / both if both else np.nan
    return Chosen(found, best, f1)


@dataclass
class Column:
    """One column of another dictionary per concept, and its items and windows."""

    name: str  # of the rival: kmer, dimension, random-0
    source: str  # of the levels
    chosen: Chosen
    histogram: Histogram

    @property
    def average_precision(self) -> NDArray[np.float64]:
        """(C,) float64: on the report half; 0 where no column fits, NaN without items."""
        ap = average_precision(self.histogram.items.sum(axis=(1, 2)), self.histogram.windows.sum(axis=(1, 2)))
        return np.where(self.chosen.column < 0, 0.0, ap)


class Rivals:
    """The best columns of all dictionaries but the SAE's own."""

    def __init__(self, pairs: Pairs, gathered: Gathered) -> None:
        self.pairs, self.columns = pairs, list[Column]()

        def add(name: str, source: str, levels: int, columns: slice = slice(None)) -> None:
            chosen = choose(gathered.counts[source], pairs.strand, pairs.concept, columns, sites=source == WORDS)
            self.columns.append(Column(name, source, chosen, Histogram(len(pairs), 1, levels)))

        add(KMER, WORDS, 1)
        dimensions = len(gathered.counts[DIRECTIONS].features) - RANDOM
        add("dimension", DIRECTIONS, len(QUANTILES), slice(0, dimensions))
        add("random_sae", DIRECTIONS, len(QUANTILES), slice(dimensions, None))
        for name in sorted(gathered.counts):
            if name.split("-")[0] in ("random", "permuted", SEED):
                add(name, name, pairs.levels)

    @property
    def words(self) -> NDArray[np.int64]:
        """(p,) int64: the word that fits the sites best; -1 if none does."""
        return self.columns[0].chosen.column

    def wanted(self) -> Mapping[str, NDArray[np.int64]]:
        found: dict[str, NDArray[np.int64]] = {}
        for rival in self.columns:
            found[rival.source] = np.append(found.get(rival.source, []), rival.chosen.column).astype(np.int64)
        return found

    def add(self, view: View) -> None:
        for rival in self.columns:
            for pair, column in enumerate(rival.chosen.column.tolist()):
                if column >= 0:
                    items = view.items(int(self.pairs.concept[pair]))
                    rival.histogram.add(pair, view.tile, items, *view.active(rival.source, column))

    def table(self) -> pd.DataFrame:
        found: dict[str, NDArray] = {}
        for rival in self.columns:
            kind = rival.name.split("-")[0]
            for column, values in (("f1", rival.chosen.f1), ("ap", rival.average_precision)):
                if kind == SEED:
                    low, high = f"seeds_{column}_min", f"seeds_{column}_max"
                    found[low] = np.fmin(found.get(low, values), values)
                    found[high] = np.fmax(found.get(high, values), values)
                else:
                    name = f"{'untrained' if kind == 'random' else kind}_{column}"
                    found[name] = np.fmax(found.get(name, values), values)
            if kind == KMER:
                found[KMER] = np.array([word_name(c) for c in rival.chosen.column.tolist()], object)
            if kind == "dimension":
                found[kind] = np.array([dimension_name(c) for c in rival.chosen.column.tolist()], object)
        return pd.DataFrame(found)


class Probed:
    """A linear probe on 31 letters of each concept that is no motif."""

    def __init__(self, pairs: Pairs, evaluation: Evaluation, *, causal: bool) -> None:
        self.pairs, self._rows = pairs, np.flatnonzero(~pairs.motif)
        self._probe = SequenceProbe(evaluation, pairs.concept[self._rows], pairs.read_strand, causal=causal)
        self._histogram = Histogram(len(self._rows), 1, len(PROBE_QUANTILES))

    def wanted(self) -> Mapping[str, NDArray[np.int64]]:
        return {}

    def add(self, view: View) -> None:
        if not len(self._rows):
            return
        for i, level in enumerate(self._probe.levels(view.tile.region)):
            level[~view.tile.readable] = 0
            base = np.flatnonzero(level).astype(np.int32)
            self._histogram.add(i, view.tile, view.items(int(self.pairs.concept[self._rows[i]])), base, level[base])

    def table(self) -> pd.DataFrame:
        found = np.full(len(self.pairs), np.nan)
        items, windows = (counts.sum(axis=(1, 2)) for counts in (self._histogram.items, self._histogram.windows))
        found[self._rows] = average_precision(items, windows)
        return pd.DataFrame({"probe_ap": found})
