"""How often features are active along the genome: bases counted in bins of every contig."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.names import feature_name
from sae_tracks.regions import spans_by_contig

if TYPE_CHECKING:
    from sae_tracks.features import FeatureBlock
    from sae_tracks.source import Source

BINS = 400  # about, if no size is named


def activity_along(
    source: "Source",
    features: Sequence[int],
    *,
    threshold: float = 0.15,
    scale: str = "max",
    bin_size: int | None = None,
) -> pd.DataFrame:
    """Count the active bases of features along the genome.

    Parameters
    ----------
    source : Source
        Model, SAE, genome and regions.
    features : sequence of int
        Feature ids, in the order wanted.
    threshold, scale : float, str
        A feature is active if its value is strictly greater; see `SAE.cutoffs`.
    bin_size : int, optional
        Bases per bin. By default 1, 2 or 5 times a power of ten, so that there are at most 400 whole bins.

    Returns
    -------
    DataFrame
        One row per feature, read strand and bin with a readable base: ``feature`` (``f357``), ``read_strand``,
        ``contig``, ``start``, ``end`` (0-based half-open), ``readable`` and ``active`` (bases), and ``share``, their
        quotient.

    Raises
    ------
    SaeTracksError
        A feature is not in the SAE, or no base is readable.

    Examples
    --------
    >>> table = activity_along(Source(load_lm("demo"), load_sae("sae/"), Genome("hg38.fa")), [357, 12])
    >>> table.groupby(["feature", "contig"])[["active", "readable"]].sum()
    """
    source.sae.check_features(features)
    ids = list(dict.fromkeys(features))
    size = bin_size or round_size(sum(map(len, source.regions or ())) / BINS)
    cutoffs = source.sae.cutoffs(threshold, scale)
    counts = {strand: _Counts(source, size, ids, cutoffs) for strand in source.read_strands}
    for block in source.blocks(ids):
        counts[block.read_strand].add(block)
    tables = [counts[strand].table(k).assign(read_strand=strand) for k in range(len(ids)) for strand in counts]
    table = pd.concat(tables, ignore_index=True)
    if not len(table):
        raise SaeTracksError("no base of the regions is readable")
    names = ["feature", "read_strand", "contig", "start", "end", "readable", "active"]
    return table[names].assign(share=table["active"] / table["readable"])


def round_size(least: float) -> int:
    """Return the smallest of 1, 2, 5, 10, 20 ... that is not below a number."""
    power = 1
    while True:
        for times in (1, 2, 5):
            if times * power >= least:
                return times * power
        power *= 10


class _Counts:
    """Readable and active bases of K features per bin, from the first bin of the regions of a contig to the last."""

    def __init__(self, source: "Source", size: int, ids: Sequence[int], cutoffs: NDArray[np.float32]) -> None:
        self._size, self._ids, self._cutoffs, self._lengths = size, ids, cutoffs, source.genome.lengths
        self._column = np.full(len(cutoffs), -1)
        self._column[list(ids)] = np.arange(len(ids))
        spans = spans_by_contig(source.regions or ())  # ascending
        self._first = {contig: int(some[0, 0]) // size for contig, some in spans.items()}
        bins = {contig: -(-int(some[-1, 1]) // size) - self._first[contig] for contig, some in spans.items()}
        self._readable = {contig: np.zeros(n, np.int64) for contig, n in bins.items()}
        self._active = {contig: np.zeros((n, len(ids)), np.int64) for contig, n in bins.items()}

    def add(self, block: "FeatureBlock") -> None:
        first = block.region.start // self._size
        bin_of = (block.region.start + np.arange(len(block.region))) // self._size - first
        n, k = int(bin_of[-1]) + 1, len(self._ids)
        first -= self._first[block.region.contig]
        here = slice(first, first + n)
        self._readable[block.region.contig][here] += np.bincount(bin_of[block.readable], minlength=n)
        column = self._column[block.feature]
        on = (block.value > self._cutoffs[block.feature]) & (column >= 0)
        place = np.repeat(bin_of, np.diff(block.indptr))[on] * k + column[on]
        self._active[block.region.contig][here] += np.bincount(place, minlength=n * k).reshape(n, k)

    def table(self, k: int) -> pd.DataFrame:
        """The bins of one feature that have a readable base."""
        parts = []
        for contig, readable in self._readable.items():
            known = np.flatnonzero(readable)
            start = (self._first[contig] + known) * self._size
            end = np.minimum(start + self._size, self._lengths[contig])
            counted = {"readable": readable[known], "active": self._active[contig][known, k]}
            parts.append(pd.DataFrame({"contig": contig, "start": start, "end": end, **counted}))
        return pd.concat(parts).assign(feature=feature_name(self._ids[k]))
