"""Sums over bases of the features of two SAEs and of all their pairs, from which correlations follow.

All pairs of 8,192 and 8,192 features take 0.8 GB: 512 MB of products (float64) and 256 MB of counts (uint32). They are
dense, because on a chromosome most pairs of features meet somewhere. Beside them, 1,024 features of the first SAE are
multiplied with the second SAE's stream *shifted* by some kb on the circle of all bases. What still correlates does so
by chance: each feature keeps its density and its runs, and only the places differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from sae_tracks.errors import SaeTracksError
from sae_tracks.jit import FAST

SHIFT = 10_007  # bases: beyond most genes and repeats, and no multiple of a codon
SHIFTED = 1024  # features that are also paired with the shifted stream
BATCH = 1 << 14  # bases whose products are added at once
MOST_PAIRS = 1 << 28  # of features: 3 GB
NONE = -1e6  # where there is no correlation: lower than any sum of correlations


@dataclass(slots=True)
class Moments:
    """Sums of each of n features over bases."""

    active: NDArray[np.int64]  # (n,) bases on which the feature is above 0
    total: NDArray[np.float64]  # (n,) of the activations
    squares: NDArray[np.float64]  # (n,) of their squares

    @classmethod
    def zeros(cls, features: int) -> "Moments":
        return cls(np.zeros(features, np.int64), np.zeros(features), np.zeros(features))

    def add(self, rows: csr_array) -> None:
        """Add (k, n) rows of activations."""
        n, value = len(self.total), rows.data.astype(np.float64)
        self.active += np.bincount(rows.indices, minlength=n)
        self.total += np.bincount(rows.indices, value, minlength=n)
        self.squares += np.bincount(rows.indices, value * value, minlength=n)

    def mean_and_deviation(self, bases: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n,) means and standard deviations; the deviation of a feature that never changes is 0."""
        mean = self.total / bases
        variance = self.squares / bases - mean**2
        rounding = 1e-12 * self.squares / bases  # of sums that ought to be equal
        return mean, np.sqrt(np.where(variance > rounding, variance, 0))


@dataclass(slots=True)
class Stretch:
    """The ends of a stretch of the circle of bases, which find their partners in the shifted null beyond it."""

    shift: int
    bases: int = 0
    head: list[csr_array] = field(default_factory=list)  # the first `shift` rows of the chosen features
    behind: csr_array | None = None  # the last `shift` rows of the second stream, which the first has not reached

    def add(self, ours: csr_array, theirs: csr_array, products: NDArray[np.float64], bases: int) -> None:
        """Add the next bases: rows of the chosen features and of the second SAE, to (s, Fb) products.

        Of `bases` that were paired among themselves, such as those of another stretch, the rows are its two ends.
        """
        first = min(max(self.shift - self.bases, 0), height(ours))  # rows before it have no partner yet
        self.head += [ours[:first]] if first else []
        behind = theirs if self.behind is None else stacked([self.behind, theirs])
        reached = height(ours) - first
        add_products(ours[first:], behind[:reached], products)
        self.behind = behind[reached:]
        self.bases += bases


@dataclass(slots=True)
class JointSums:
    """Sums over the bases of two streams, which may be read in parts: `merge` adds the `arrays` of the next part.

    Parameters
    ----------
    features : (int, int)
        Number of features of the first and of the second SAE.
    shift : int
        Bases by which the second stream is shifted for the null.
    """

    features: tuple[int, int]
    shift: int = SHIFT
    bases: int = 0
    ours: Moments = field(init=False)
    theirs: Moments = field(init=False)
    joint: NDArray[np.uint32] = field(init=False)  # (Fa, Fb) bases on which both are active
    products: NDArray[np.float64] = field(init=False)  # (Fa, Fb)
    chosen: NDArray[np.int64] = field(init=False)  # (s,) features of the first that the null takes, ascending
    shifted: NDArray[np.float64] = field(init=False)  # (s, Fb) products with the shifted stream
    _stretches: dict[int, list[Stretch]] = field(default_factory=dict)  # by read strand, ascending

    def __post_init__(self) -> None:
        a, b = self.features
        if a * b > MOST_PAIRS:
            raise SaeTracksError(f"{a:,} by {b:,} features are too many to compare: at most {MOST_PAIRS:,} pairs")
        self.ours, self.theirs = Moments.zeros(a), Moments.zeros(b)
        self.joint, self.products = np.zeros((a, b), np.uint32), np.zeros((a, b))
        self.chosen = np.sort(np.random.default_rng(0).choice(a, min(a, SHIFTED), replace=False))
        self.shifted = np.zeros((len(self.chosen), b))

    def add(self, ours: csr_array, theirs: csr_array, strand: int = 0) -> None:
        """Add the next k bases of a read strand, by its number: (k, Fa) and (k, Fb) activations."""
        self.ours.add(ours)
        self.theirs.add(theirs)
        add_products(ours, theirs, self.products, self.joint)
        stretch = self._stretches.setdefault(strand, [Stretch(self.shift)])[-1]
        stretch.add(cast(csr_array, ours[:, self.chosen]), theirs, self.shifted, height(ours))
        self.bases += height(ours)

    def arrays(self) -> dict[str, NDArray]:
        """All sums, and the ends of the stretches, for `merge`."""
        sums = {"bases": np.array(self.bases), **{name: getattr(self, name) for name in SUMS}}
        for side in SIDES:
            sums |= {f"{side}_{name}": getattr(getattr(self, side), name) for name in MOMENTS}
        for strand, (stretch,) in self._stretches.items():
            sums[f"stretch_{strand}"] = np.array(stretch.bases)
            behind = cast(csr_array, stretch.behind)
            head = stacked([csr_array((0, len(self.chosen)), dtype=np.float32), *stretch.head])
            for name, rows in (("head", head), ("behind", behind)):
                sums |= {f"{name}_{strand}_{part}": getattr(rows, part) for part in CSR}
        return sums

    def merge(self, arrays: Mapping[str, NDArray]) -> None:
        """Add the part that follows this one on every read strand."""
        self.bases += int(arrays["bases"])
        for name in SUMS:
            getattr(self, name)[...] += arrays[name]
        for side in SIDES:
            for name in MOMENTS:
                getattr(getattr(self, side), name)[...] += arrays[f"{side}_{name}"]
        for strand in (int(name.removeprefix("stretch_")) for name in arrays if name.startswith("stretch_")):
            ends = []
            for name, width in (("head", len(self.chosen)), ("behind", self.features[1])):
                data, indices, indptr = (arrays[f"{name}_{strand}_{part}"] for part in CSR)
                ends.append(csr_array((data, indices, indptr), shape=(len(indptr) - 1, width)))
            stretch = Stretch(self.shift, int(arrays[f"stretch_{strand}"]), [ends[0]], ends[1])
            self._stretches.setdefault(strand, []).append(stretch)

    def close_circle(self) -> bool:
        """Pair the first bases with the last ones of the shifted stream; False if the bases do not go round.

        The circle is that of all bases of the first read strand, then those of the second, however they were read.
        """
        if self.bases <= self.shift or self.shift == 0:
            return False
        circle = Stretch(self.shift)
        for _, stretches in sorted(self._stretches.items()):
            for one in stretches:
                circle.add(stacked(one.head), cast(csr_array, one.behind), self.shifted, one.bases)
        add_products(stacked(circle.head), cast(csr_array, circle.behind), self.shifted)
        self._stretches = {}
        return True

    def correlations(self) -> NDArray[np.float64]:
        """(Fa, Fb) Pearson correlations over bases; `NONE` if one of the two never changes.

        They replace `products`, to save memory.
        """
        return _correlate(self.products, self.ours.mean_and_deviation(self.bases), self._theirs(), self.bases)

    def shifted_correlations(self) -> NDArray[np.float64]:
        """(s, Fb) the same of the chosen features and the shifted stream; they replace `shifted`."""
        mean, deviation = self.ours.mean_and_deviation(self.bases)
        return _correlate(self.shifted, (mean[self.chosen], deviation[self.chosen]), self._theirs(), self.bases)

    def _theirs(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.theirs.mean_and_deviation(self.bases)


SUMS, SIDES, MOMENTS = ("joint", "products", "shifted"), ("ours", "theirs"), ("active", "total", "squares")
CSR = ("data", "indices", "indptr")  # of a sparse matrix


def _correlate(products: NDArray[np.float64], ours, theirs, bases: int) -> NDArray[np.float64]:
    """Turn sums of products into correlations, in place and row by row, because copies would be large."""
    (mean, deviation), (other_mean, other_deviation) = ours, theirs
    constant = other_deviation == 0
    for i, row in enumerate(products):
        if deviation[i] == 0:
            row[:] = NONE
            continue
        row /= bases
        row -= mean[i] * other_mean
        row /= deviation[i] * np.where(constant, 1, other_deviation)
        np.clip(row, -1, 1, out=row)
        row[constant] = NONE
    return products


def height(rows: csr_array) -> int:
    """Number of rows of a sparse matrix."""
    return len(rows.indptr) - 1


def stacked(rows: Sequence[csr_array]) -> csr_array:
    """Matrices below one another."""
    return cast(csr_array, vstack(rows, format="csr"))


def add_products(
    ours: csr_array, theirs: csr_array, products: NDArray[np.float64], joint: NDArray[np.uint32] | None = None
) -> None:
    """Add (k, n) and (k, m) rows of the same bases to (n, m) sums of products and, if given, counts of both active."""
    mine = ours.tocsc()
    columns = [array.astype(np.int32) for array in (mine.indptr, mine.indices, theirs.indptr, theirs.indices)]
    counts = np.zeros((0, 0), np.uint32) if joint is None else joint
    _add_products(columns[0], columns[1], mine.data, columns[2], columns[3], theirs.data, products, counts)


@njit(**FAST)
def _add_products(indptr, base, value, their_indptr, their_feature, their_value, products, joint):
    """Go feature by feature of the first stream, so that a row of the sums stays in the cache."""
    for i in range(len(indptr) - 1):
        for p in range(indptr[i], indptr[i + 1]):
            x = np.float64(value[p])
            for q in range(their_indptr[base[p]], their_indptr[base[p] + 1]):
                products[i, their_feature[q]] += x * their_value[q]
        if len(joint):
            for p in range(indptr[i], indptr[i + 1]):
                for q in range(their_indptr[base[p]], their_indptr[base[p] + 1]):
                    joint[i, their_feature[q]] += np.uint32(1)
