"""How well the features of pairs fit: average precision with its interval, and the same in and outside of repeats."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.arrays import ratio
from sae_tracks.bootstrap import draws_of, interval
from sae_tracks.controls.gather import FEATURES
from sae_tracks.controls.items import Histogram, average_precision, recall_at
from sae_tracks.controls.view import Pairs, View
from sae_tracks.intervals import hold

MIN_OUTSIDE = 10  # items outside of repeats, for an average precision there


class Fit:
    """Items and windows of the pairs by level, block and repeats."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.histogram = Histogram(len(pairs), pairs.blocks, pairs.levels)

    def wanted(self) -> Mapping[str, NDArray[np.int64]]:
        return {FEATURES: self.pairs.feature}

    def add(self, view: View) -> None:
        for pair, (concept, feature) in enumerate(zip(self.pairs.concept.tolist(), self.pairs.feature.tolist())):
            self.histogram.add(pair, view.tile, view.items(concept), *view.active(FEATURES, feature))

    @property
    def windows(self) -> NDArray[np.int64]:
        """(p, L + 1): all windows by level."""
        return self.histogram.windows.sum(axis=(1, 2))

    def table(self) -> pd.DataFrame:
        items, windows = self.histogram.items.sum(axis=1), self.histogram.windows.sum(axis=1)  # (p, B, L + 1)
        draws = draws_of(self.pairs.blocks, self.pairs.seed)
        ends = [interval(average_precision(draws @ i, draws @ w)) for i, w in zip(items, windows)]
        low, high = np.array(ends).reshape(-1, 2).T
        total, others = items.sum(axis=1), windows.sum(axis=1)
        number = total.sum(axis=1)
        active = np.array([row[t + 1 :].sum() for row, t in zip(total, self.pairs.threshold)])
        return pd.DataFrame(
            {
                "items": number,
                "site_average_precision": average_precision(total, others),
                "site_ap_low": low,
                "site_ap_high": high,
                "site_share": ratio(active, number),
                "recall_at_half": recall_at(total, others),
            }
        )


class InRepeats:
    """Which repeats the hits of the pairs lie in, and how well the features fit in repeats and outside."""

    def __init__(self, fit: Fit, classes: list[str]) -> None:
        self.pairs, self._fit, self._classes = fit.pairs, fit, classes
        self._hits = np.zeros((len(fit.pairs), len(classes)), np.int64)  # labelled and active bases
        self._all = np.zeros(len(fit.pairs), np.int64)

    def wanted(self) -> Mapping[str, NDArray[np.int64]]:
        return {FEATURES: self.pairs.feature}

    def add(self, view: View) -> None:
        for pair, concept in enumerate(self.pairs.concept.tolist()):
            base, level = view.active(FEATURES, int(self.pairs.feature[pair]))
            on = base[level > self.pairs.threshold[pair]].astype(np.int64)
            hit = on[hold(view.labels.merged(concept), on)]
            self._all[pair] += np.count_nonzero(view.tile.readable[hit])
            for number, inside in enumerate(view.repeats):
                self._hits[pair, number] += np.count_nonzero(inside[hit])

    def table(self) -> pd.DataFrame:
        draws = draws_of(self.pairs.blocks, self.pairs.seed + 1)
        histogram = self._fit.histogram
        rows = [_in_and_outside(i, w, draws) for i, w in zip(histogram.items, histogram.windows)]
        names = ["repeat_share", "items_outside_repeats", "ap_inside_repeats", "ap_outside_repeats", "ap_outside_high"]
        most = self._hits.max(axis=1, initial=0)
        name = [self._classes[row.argmax()] if k else "" for row, k in zip(self._hits, most)]  # there may be no class
        found = pd.DataFrame(rows, columns=names)
        return found.assign(repeat_class=np.array(name, object), repeat_class_share=most / np.maximum(self._all, 1))


def _in_and_outside(items: NDArray[np.int64], windows: NDArray[np.int64], draws: NDArray[np.float64]) -> tuple:
    """The columns of one pair, from its (2, B, L + 1) items and windows outside of repeats and inside."""
    weight = 1.0  # of windows outside, so that there are as many to an item as inside
    if all(counts.sum() for counts in (*items, *windows)):
        weight = windows[1].sum() / items[1].sum() * items[0].sum() / windows[0].sum()
    outside = high = np.nan
    if items[0].sum() >= MIN_OUTSIDE:
        outside = average_precision(items[0].sum(axis=0), weight * windows[0].sum(axis=0))
        high = interval(average_precision(draws @ items[0], weight * (draws @ windows[0])))[1]
    inside = average_precision(items[1].sum(axis=0), windows[1].sum(axis=0))
    hit = items[:, :, 1:].sum(axis=(1, 2))
    share = hit[1] / hit.sum() if hit.sum() else np.nan
    return share, items[0].sum(), inside, outside, high
