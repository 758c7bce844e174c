"""Which features go together: active at the same base, or at the same place when the other strand is read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock, encode_reading, side_by_side
from sae_tracks.jit import EXACT
from sae_tracks.names import feature_name
from sae_tracks.progress import track
from sae_tracks.reading import read_windows
from sae_tracks.regions import ReadStrand
from sae_tracks.source import Source

FAR = 10_000  # bases: the null compares places at least so far apart, beyond almost every gene of yeast
APART = 1_000  # bases from one shift of the null to the next
MARGIN = 2  # a partner scores so many times what the null reaches: of many features, some exceed 19 searches by chance
MOST_CELLS = 1 << 27  # counts held at once
ROWS = 1 << 14  # bases that are compared at once


@dataclass(frozen=True, slots=True, repr=False)
class Coactivation:
    """How often k features are active at the same base; see `coactivation`.

    Attributes
    ----------
    features : (k,) int64
        Feature ids, ascending.
    bases : int
        Readable bases, once per read strand.
    counts : (k, k) int64
        Bases at which both features are active; on the diagonal those of one feature. Symmetric.
    """

    features: NDArray[np.int64]
    bases: int
    counts: NDArray[np.int64]

    def __repr__(self) -> str:
        return f"Coactivation({len(self.features):,} features, {self.bases:,} bases)"

    @property
    def jaccard(self) -> NDArray[np.float64]:
        """(k, k) float64: bases at which both are active over those at which either is; 0 if neither ever is."""
        alone = np.diagonal(self.counts)
        return jaccard_index(self.counts, alone[:, None], alone[None])


def coactivation(
    source: Source, features: Iterable[int] | None = None, *, threshold: float = 0.15, scale: str = "max"
) -> Coactivation:
    """Count the bases at which features are active together, in one pass over the regions.

    If the source reads both strands, each base counts once per read strand.

    Parameters
    ----------
    source : Source
        Model, SAE, genome and regions.
    features : iterable of int, optional
        Feature ids; default all. The counts of k features take 8 k^2 bytes.
    threshold, scale
        See `SAE.cutoffs`.

    Returns
    -------
    Coactivation
        The counts, and the Jaccard index of each pair.

    Raises
    ------
    SaeTracksError
        A feature is not in the SAE.

    Examples
    --------
    >>> found = coactivation(source, [357, 12, 8])
    >>> found.jaccard[0, 1]
    """
    sae = source.sae
    ids = sae.check_features(range(sae.d_sae) if features is None else features).numpy()
    cutoffs, counts, bases = sae.cutoffs(threshold, scale), np.zeros((len(ids), len(ids)), np.int64), 0
    for block in source.blocks(ids.tolist()):
        active = _active(block, cutoffs, ids)
        together = (active.T @ active).tocoo()
        counts[together.row, together.col] += together.data
        bases += int(block.readable.sum())
    return Coactivation(ids, bases, counts)


def reverse_complement_partner(
    source: Source,
    features: int | Iterable[int] | None = None,
    *,
    max_lag: int = 64,
    shifts: int = 19,
    threshold: float = 0.15,
    scale: str = "max",
) -> pd.DataFrame:
    """Find the feature that is active at the same place when the other strand is read.

    For each feature f on read strand +, every feature g on read strand - is compared with it at every lag. A causal
    model shows a thing at its right edge when it reads +, and at its left edge when it reads -, so the best lag of a
    thing of w bases is about w - 1. As a null, the same search is made with places that lie 10 kb and more apart.

    Parameters
    ----------
    source : Source
        Model, SAE, genome and regions. Both strands are read, whatever `Source.read_strands` says.
    features : int or iterable of int, optional
        Feature ids on read strand +; default all. If the counts of all pairs and lags are too many for the memory,
        the regions are read several times.
    max_lag : int
        Lags of up to so many bases in either direction are compared.
    shifts : int
        Number of searches of the null. The smallest p is 1 / (shifts + 1).
    threshold, scale
        Where a feature counts as active; see `SAE.cutoffs`.

    Returns
    -------
    DataFrame
        One row per feature: ``feature``; ``partner``, missing if the score is at most twice that of the null;
        ``best``, the feature that scored highest; ``lag``, position on + less position on -, in forward bases;
        ``score``, the Jaccard index of the active bases at this lag; ``null``, the highest score of the null; ``p``,
        the share of searches, this one included, that scored at least as high; ``bases``, ``best_bases`` and ``both``,
        the active bases behind the score. If the lag is `max_lag`, a larger one may score higher.

    Raises
    ------
    SaeTracksError
        A feature is not in the SAE, or no stretch of the regions is long enough for the null.
    """
    sae = source.sae
    asked = range(sae.d_sae) if features is None else [features] if isinstance(features, int) else list(features)
    ids, cutoffs = sae.check_features(asked).numpy(), sae.cutoffs(threshold, scale)
    if max_lag < 0 or shifts < 1:
        raise SaeTracksError(f"max_lag is at least 0 and shifts at least 1, not {max_lag} and {shifts}")
    offsets = np.array([0, *(FAR + APART * i for i in range(shifts))])
    most = max(MOST_CELLS // (len(offsets) * (2 * max_lag + 1) * sae.d_sae), 1)
    parts = []
    for first in range(0, len(ids), most):
        lags = _Lags(ids[first : first + most], sae.d_sae, offsets, max_lag)
        for plus, minus, continues in _both_strands(source, lags.ids, cutoffs):
            lags.add(plus, minus, continues=continues)
        parts.append(lags.table())
    return pd.concat(parts, ignore_index=True)


def _active(block: FeatureBlock, cutoffs: NDArray[np.float32], ids: NDArray[np.int64] | None = None) -> csr_array:
    """(n, k) int64 matrix of ones where features are active; its columns are all features, or `ids`, ascending."""
    above = block.value > cutoffs[block.feature]
    columns = block.feature[above] if ids is None else np.searchsorted(ids, block.feature[above])
    indptr = np.concatenate(([0], np.cumsum(above)))[block.indptr]
    shape = len(block.region), block.d_sae if ids is None else len(ids)
    return csr_array((np.ones(len(columns), np.int64), columns, indptr), shape=shape)


def jaccard_index(both, one, other) -> NDArray[np.float64]:
    """Jaccard indices from the number of bases of both, of the one and of the other; 0 where all are 0."""
    either = one + other - both
    return np.divide(both, either, out=np.zeros(either.shape), where=either > 0)


def _stream(source: Source, strand: ReadStrand, ids: list[int] | None, *, bar: bool) -> Iterator[FeatureBlock]:
    """Yield the blocks of one read strand; only one of two streams that advance together can draw a bar."""
    encoder, windows = source.encoder(ids), source.windows(strand)
    readings = read_windows(source.lm, source.genome, windows, source.black_list, source.min_context)
    for reading in track(readings, "reading + and -", len(windows)) if bar else readings:
        yield from encode_reading(encoder, reading)


def _both_strands(
    source: Source, ids: NDArray[np.int64], cutoffs: NDArray[np.float32]
) -> Iterator[tuple[csr_array, csr_array, bool]]:
    """Yield the same bases as read on + and on -, and whether they continue the ones before without a gap.

    The windows of the two read strands lie differently, so blocks are cut where one of either strand ends.
    """
    reached = ("", 0)
    streams = _stream(source, "+", ids.tolist(), bar=True), _stream(source, "-", None, bar=False)
    for plus, minus in side_by_side(*streams):
        region = plus.region
        yield _active(plus, cutoffs, ids), _active(minus, cutoffs), reached == (region.contig, region.start)
        reached = region.contig, region.end


class _Lags:
    """Counts of bases at which f is active on + and g on -, for k features f, all g, some shifts, and all lags.

    A row of + waits until the rows of - that it is compared with are there.
    """

    def __init__(self, ids: NDArray[np.int64], d_sae: int, offsets: NDArray[np.int64], max_lag: int) -> None:
        self.ids, self.offsets, self.max_lag = ids, offsets, max_lag
        self.both = np.zeros((len(offsets), len(ids), d_sae, 2 * max_lag + 1), np.int32)
        # of the rows that a shift compares: on + those with a row so far before them, on - those with one behind them
        self.plus, self.minus = np.zeros((len(offsets), len(ids)), np.int64), np.zeros((len(offsets), d_sae), np.int64)
        self.compared = np.zeros(len(offsets), np.int64)
        self._start_stretch()

    def _start_stretch(self) -> None:
        self._plus: list[csr_array] = []
        self._minus: list[csr_array] = []
        self._done = self._first = self._end = 0  # rows of the stretch: counted, first one held, read so far

    def add(self, plus: csr_array, minus: csr_array, *, continues: bool) -> None:
        """Take in the next bases, (n, k) on + and (n, d_sae) on -."""
        if not continues:
            self._count(last=True)
            self._start_stretch()
        self._plus.append(plus)
        self._minus.append(minus)
        self._end += len(plus.indptr) - 1
        if self._end - self._done >= ROWS + self.max_lag:
            self._count(last=False)

    def _count(self, *, last: bool) -> None:
        """Compare the rows of + that can be; forget those of - that no later row is compared with."""
        if not self._plus:
            return
        plus, minus = (cast(csr_array, vstack(held, format="csr")) for held in (self._plus, self._minus))
        end = self._end if last else self._end - self.max_lag
        held = plus.indptr, plus.indices, minus.indptr, minus.indices
        rows = self._done - self._first, end - self._first, self._first
        _count_pairs(*held, *rows, self.offsets, self.both)
        self._count_rows(plus, minus, end, last=last)
        self._done = end
        first = max(end - int(self.offsets[-1]) - self.max_lag, self._first)
        self._plus, self._minus = [plus[first - self._first :]], [minus[first - self._first :]]
        self._first = first

    def _count_rows(self, plus: csr_array, minus: csr_array, end: int, *, last: bool) -> None:
        for s, offset in enumerate(self.offsets.tolist()):
            # rows of + in done:end that have a row `offset` before them, which are then compared
            start = max(self._done, offset)
            if start < end:
                self.plus[s] += plus[start - self._first : end - self._first].sum(axis=0)
                self.minus[s] += minus[start - offset - self._first : end - offset - self._first].sum(axis=0)
                self.compared[s] += end - start

    def table(self) -> pd.DataFrame:
        """The best partner of each feature."""
        self._count(last=True)
        if not self.compared.all():
            raise SaeTracksError(
                f"the regions are too short for the null: a stretch without long runs of N must have more than "
                f"{int(self.offsets[-1]):,} bases; read more of a contig or lower shifts"
            )
        rows = []
        for f, feature in enumerate(self.ids.tolist()):
            scores = [self._scores(s, f) for s in range(len(self.offsets))]
            best, at = np.unravel_index(scores[0].argmax(), scores[0].shape)
            score, null = float(scores[0].max()), [float(one.max()) for one in scores[1:]]
            p = (1 + sum(one >= score for one in null)) / (1 + len(null))
            found = score > MARGIN * max(null)
            name = feature_name(int(best))
            row = {
                "feature": feature_name(feature),
                "partner": name if found else None,
                "best": name if score else None,
            }
            row |= {"lag": int(at) - self.max_lag, "score": score, "null": max(null), "p": p}
            counts = self.plus[0, f], self.minus[0, best], self.both[0, f, best, at]
            rows.append(row | dict(zip(("bases", "best_bases", "both"), map(int, counts), strict=True)))
        return pd.DataFrame(rows)

    def _scores(self, shift: int, f: int) -> NDArray[np.float64]:
        """(d_sae, lags) float64: the Jaccard index of one feature with every other."""
        return jaccard_index(self.both[shift, f].astype(np.int64), self.plus[shift, f], self.minus[shift][:, None])


@njit(**EXACT)
def _count_pairs(plus_start, plus, minus_start, minus, first, end, before, offsets, both):
    """Add to (shifts, k, d_sae, lags) `both` the pairs of features at rows ``first:end`` of + and at those of -.

    Row i of + is compared with row ``i - offset - lag`` of -, for lags from -L to L, if the row that lies `offset`
    before it is in the stretch; `before` is the number of rows of the stretch that are no longer held.
    """
    reach, n = both.shape[3] // 2, len(minus_start) - 1
    for i in range(first, end):
        for a in range(plus_start[i], plus_start[i + 1]):
            for s in range(len(offsets)):
                if before + i - offsets[s] < 0:
                    continue
                for lag in range(-reach, reach + 1):
                    j = i - offsets[s] - lag
                    if 0 <= j < n:
                        for b in range(minus_start[j], minus_start[j + 1]):
                            both[s, plus[a], minus[b], lag + reach] += 1
