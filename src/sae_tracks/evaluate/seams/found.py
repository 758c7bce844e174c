"""What a check of seams found: tables, and the least context that is enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.files import atomic
from sae_tracks.names import feature_name
from sae_tracks.regions import ReadStrand

TABLE, BY_FEATURE = "seams.tsv", "seams_by_feature.parquet"
AGREEMENT = 0.95  # Jaccard index from which on two sets of bases pass for the same


@dataclass(frozen=True, slots=True)
class Seams:
    """Readings with little context against readings with much, in b bins of context, for k features.

    Attributes
    ----------
    read_strand : "+" or "-"
        The direction in which the model read.
    window : int
        Bases read at once.
    causal : bool
        False: context is the distance to the nearer end of the window.
    context : (b, 2) int64
        Bins: from, to, half-open, in bases, ascending; bins that no base fell in are left out.
    bases : (b,) int64
        Readings compared.
    features : (k,) int64
        Feature ids, ascending.
    total, largest : (b, k) float64, float32
        Sum and maximum of the absolute differences: fractions of the feature's maximum or, with ``scale="raw"``,
        activations.
    both, either : (b, k) int64
        Bases active in both readings, and in at least one.
    """

    read_strand: ReadStrand
    window: int
    causal: bool
    context: NDArray[np.int64]
    bases: NDArray[np.int64]
    features: NDArray[np.int64]
    total: NDArray[np.float64]
    largest: NDArray[np.float32]
    both: NDArray[np.int64]
    either: NDArray[np.int64]

    def by_context(self) -> pd.DataFrame:
        """One row a bin: the columns of ``seams.tsv``.

        ``mean_difference`` is the mean over bases and features, ``p95_difference`` what the means of 95 % of the
        features stay below, ``max_difference`` the largest of any base and feature. ``jaccard`` is bases active in both
        readings over those active in either, summed over the features; NaN where nothing is active.
        """
        mean = self.total / self.bases[:, None]
        columns = {
            "read_strand": self.read_strand,
            "context_from": self.context[:, 0],
            "context_to": self.context[:, 1],
            "bases": self.bases,
            "mean_difference": mean.mean(axis=1),
            "p95_difference": np.quantile(mean, 0.95, axis=1),
            "max_difference": self.largest.max(axis=1),
            "jaccard": _ratio(self.both.sum(axis=1), self.either.sum(axis=1)),
        }
        return pd.DataFrame(columns)

    def by_feature(self) -> pd.DataFrame:
        """One row a (feature, bin): the columns of ``seams_by_feature.parquet``."""
        bins, features = len(self.context), len(self.features)
        columns = {
            "feature": np.repeat([feature_name(i) for i in self.features.tolist()], bins),
            "read_strand": self.read_strand,
            "context_from": np.tile(self.context[:, 0], features),
            "context_to": np.tile(self.context[:, 1], features),
            "bases": np.tile(self.bases, features),
            "mean_difference": (self.total / self.bases[:, None]).T.ravel(),
            "max_difference": self.largest.T.ravel(),
            "active_both": self.both.T.ravel(),
            "active_either": self.either.T.ravel(),
            "jaccard": _ratio(self.both, self.either).T.ravel(),
        }
        return pd.DataFrame(columns)

    def smallest_context(self) -> int | None:
        """The least ``--context`` from which on the Jaccard index of every bin is at least `AGREEMENT`, if any is.

        A bin speaks for its contexts on average: the first base after a seam has the least of them. One in which no
        feature is active says nothing and is left out.
        """
        jaccard = self.by_context()["jaccard"].to_numpy()
        told = np.flatnonzero(~np.isnan(jaccard))
        agrees = jaccard[told] >= AGREEMENT
        from_here_on = np.logical_and.accumulate(agrees[::-1])[::-1]
        if not from_here_on.any():
            return None
        return int(self.context[told[from_here_on.argmax()], 0]) * (1 if self.causal else 2)

    def advice(self, context: int) -> str:
        """One line: the least context that is enough and what it costs, beside what `context` gives and costs."""
        enough, top = self.smallest_context(), int(self.context[-1, 1]) * (1 if self.causal else 2)
        found = f"not reached below --context {top:,}"
        if enough is not None:
            found = f"reached from --context {enough:,} on ({_cost(self.window, enough)})"
        distance = context if self.causal else context // 2
        mine = np.flatnonzero((self.context[:, 0] <= distance) & (distance < self.context[:, 1]))
        said = "was not measured"
        for i in mine.tolist():
            jaccard = self.by_context()["jaccard"][i]
            value = "no active feature" if np.isnan(jaccard) else f"{jaccard:.3f}"
            said = f"has {value} at {bin_text(*self.context[i].tolist())} bases"
        now = f"--context {context:,} {said} ({_cost(self.window, context)})"
        return f"read strand {self.read_strand}: a Jaccard index of {AGREEMENT} is {found}; {now}"


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def bin_text(start: int, end: int) -> str:
    """A half-open bin for people: its first and last context."""
    return f"{start:,}" if end == start + 1 else f"{start:,}-{end - 1:,}"


def _cost(window: int, context: int) -> str:
    return f"bases read {window / (window - context):.2f} times"


def write_seams(measured: Sequence[Seams], folder: Path) -> pd.DataFrame:
    """Write ``seams.tsv`` and ``seams_by_feature.parquet``, the read strands one after the other; returns the first."""
    table = pd.concat([seams.by_context() for seams in measured], ignore_index=True)
    by_feature = pd.concat([seams.by_feature() for seams in measured], ignore_index=True)
    with atomic(folder / BY_FEATURE) as temporary:
        by_feature.to_parquet(temporary, index=False)
    with atomic(folder / TABLE) as temporary:
        table.to_csv(temporary, sep="\t", index=False, float_format="%.6g")
    return table
