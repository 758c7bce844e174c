"""The sparse encoder: from rows of activations to the features that are active on them.

What reads a genome runs `SparseEncoder`, or `DeviceEncoder` if the language model is on a GPU; what measures an SAE
after its training runs the first. A training step encodes whole batches in another order (feature by feature, because
gradients are summed so), and shares the kernel that drops inactive features.
"""

from collections.abc import Iterable

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from sae_tracks.jit import FAST
from sae_tracks.sae.model import SAE

ROWS = 1024  # rows encoded at once
FIRST_ROWS = 256  # the same near the start of a window, so that few rows are multiplied in vain where windows are short
COLUMNS = 512  # features encoded at once: the tile and its weights stay in the second-level cache
LANES = 8  # marks that are tested together
WIDEST = 32  # values per group at most, in the search for the k largest
SPARE = 4  # groups for each of the k: the more there are, the fewer values are compared for nothing
NAN = np.float32(np.nan)
Sparse = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]


class SparseEncoder:
    """Features of rows of activations, without the zeros.

    The product runs in tiles of `ROWS` x `COLUMNS`, and of `FIRST_ROWS` before row `ROWS` of a window. A value depends
    on its row, on the row's place in the window and on the feature alone, so a subset of the rows or of the features
    gives the same bits as the whole.

    Parameters
    ----------
    weight : (d_in, d_sae) float32
    bias : (d_sae,) float32
    cutoff : (d_sae,) float32
        A feature is active if its value is greater; infinite for features that are not wanted.
    k : int, optional
        Keep at most the k largest positive values of a row. If values tie for the last place, lower ids have it.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, cutoff: torch.Tensor, k: int | None = None) -> None:
        self.k, self.d_sae, features = k, len(cutoff), torch.arange(len(cutoff))
        encoded = features[cutoff < torch.inf] if k is None else features  # all features decide which k are largest
        tiles = torch.unique(encoded // COLUMNS)
        columns = features[torch.isin(features // COLUMNS, tiles)]
        padding = 0, -len(columns) % COLUMNS
        pad = torch.nn.functional.pad
        self._weights = [tile.contiguous() for tile in pad(weight[:, columns], padding).split(COLUMNS, dim=1)]
        self._biases = pad(bias[columns], padding).split(COLUMNS)
        cutoffs = pad(cutoff[columns], padding, value=torch.inf)
        self._compaction = Compaction(cutoffs.numpy(), pad(columns, padding).int().numpy())
        self._rows, self._tile = torch.zeros(ROWS, len(weight)), torch.empty(ROWS, COLUMNS)
        self._encoded = torch.empty(ROWS if k else 0, len(cutoffs))

    @classmethod
    def of(cls, sae: SAE, features: Iterable[int] | None = None, device: torch.device | str = "cpu") -> "SparseEncoder":
        """The encoder of an SAE on the CPU that computes on a device, for some of its features or, by default, all."""
        ids = sae.check_features(range(sae.d_sae) if features is None else features)
        cutoff = torch.full((sae.d_sae,), torch.inf)
        cutoff[ids] = 0 if sae.threshold is None else sae.threshold[ids].clamp(min=0)  # as `SAE.activate` has it
        made = *sae.folded_encoder(), cutoff, sae.k
        if cls is SparseEncoder and torch.device(device).type == "cpu":
            return cls(*made)
        return DeviceEncoder(*made, device)

    @torch.inference_mode()
    def encode_tile(self, rows: torch.Tensor, place: NDArray[np.integer], readable: NDArray[np.bool_]) -> Sparse:
        """Encode rows of one tile, (n, d_in) float32, at different places of the window, as `split_tiles` has them.

        Rows that are not readable have no features.

        Returns
        -------
        (n,) int64, (nnz,) int32, (nnz,) float32
            Number of features of each row; features and values, row by row, features ascending within a row.
        """
        height = FIRST_ROWS if place[0] < ROWS else ROWS
        place, padded, product = place % height, self._rows[:height], self._tile[:height]
        # by numpy: threads would have to wake up for so little
        padded.numpy()[:] = 0
        padded.numpy()[place] = rows.numpy()
        lowest = np.where(readable, np.float32(-np.inf), np.float32(np.inf))
        for i, (weight, bias) in enumerate(zip(self._weights, self._biases)):
            if self.k is not None:
                product = self._encoded[:height, i * COLUMNS : (i + 1) * COLUMNS]
            torch.addmm(bias, padded, weight, out=product)
            if self.k is None:
                self._compaction.add(product.numpy(), place, lowest)
        if self.k is not None:
            encoded = self._encoded.numpy()
            self._compaction.add(encoded, place, np.maximum(lowest, cut_to_largest(encoded, place, self.k)))
        return self._compaction.take()

    def encode(self, rows: torch.Tensor, readable: NDArray[np.bool_] | None = None) -> Sparse:
        """Encode one or more rows, (n, d_in) of any float type, the first of them at place 0; see `encode_tile`.

        Returns
        -------
        (n + 1,) int64, (nnz,) int32, (nnz,) float32
            ``indptr``, feature and value. Row i owns ``indptr[i]:indptr[i + 1]``, with ascending features.
        """
        readable = np.ones(len(rows), bool) if readable is None else readable
        place = np.arange(len(rows))
        tiles = [self.encode_tile(rows[tile].float(), place[tile], readable[tile]) for tile in split_tiles(place)]
        count, feature, value = (np.concatenate(arrays) for arrays in zip(*tiles, strict=True))
        return np.concatenate(([0], np.cumsum(count))), feature, value


class DeviceEncoder(SparseEncoder):
    """The same on a device of torch, such as a GPU. Only what is active leaves the device.

    All features are multiplied at once, because a GPU is not busy with less. As on the CPU, a value depends on its row,
    the row's place in the window and the feature alone.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        cutoff: torch.Tensor,
        k: int | None,
        device: torch.device | str,
    ) -> None:
        self.k, self.d_sae, self._device = k, len(cutoff), torch.device(device)
        self._weight, self._bias, self._cutoff = (tensor.to(device) for tensor in (weight, bias, cutoff))

    @torch.inference_mode()
    def encode_tile(self, rows: torch.Tensor, place: NDArray[np.integer], readable: NDArray[np.bool_]) -> Sparse:
        height = FIRST_ROWS if place[0] < ROWS else ROWS
        at = torch.tensor(place % height, dtype=torch.int64, device=self._device)
        padded = torch.zeros(height, len(self._weight), device=self._device)
        padded[at] = rows.to(self._device)
        h = torch.addmm(self._bias, padded, self._weight)[at]
        kept = (h > self._cutoff) & torch.tensor(readable, device=self._device)[:, None]
        if self.k is not None:
            kept &= _among_largest(h, self.k)
        found = kept.sum(1), kept.nonzero(as_tuple=True)[1].int(), h[kept]
        count, feature, value = (tensor.cpu().numpy() for tensor in found)
        return count, feature, value


def _among_largest(h: torch.Tensor, k: int) -> torch.Tensor:
    """(n, width) -> bool: the k largest of every row; ties and NaN as in `cut_to_largest`."""
    last = h.topk(min(k, h.shape[1]), dim=1).values[:, -1:]
    kept = h >= last
    surplus = kept.sum(1) > k
    if surplus.any():
        some, bound = h[surplus], last[surplus]
        tied = some == bound
        places = k - (some > bound).sum(1, keepdim=True)
        kept[surplus] &= ~tied | (tied.cumsum(1) <= places)
    return kept


def split_tiles(place: NDArray[np.integer]) -> list[slice]:
    """Split (n,) places in a window, ascending or descending and n > 0, where one tile of rows ends."""
    tile = np.where(place < ROWS, place // FIRST_ROWS, ROWS // FIRST_ROWS - 1 + place // ROWS)
    edges = [0, *(np.flatnonzero(np.diff(tile)) + 1).tolist(), len(place)]
    return [slice(start, end) for start, end in zip(edges, edges[1:])]


class Compaction:
    """Drops values that do not exceed their cutoff from tiles of columns of the same rows; returns the rest row by row.

    Cutoffs are infinite for columns that are not wanted. Feature ids ascend; `rows` are the most rows at once.
    """

    def __init__(self, cutoff: NDArray[np.float32], feature: NDArray[np.int32], rows: int = ROWS) -> None:
        self.cutoff, self.feature = cutoff, feature
        self._kept = np.empty((rows * len(cutoff),), np.int32), np.empty((rows * len(cutoff),), np.float32)
        self._counts: list[NDArray[np.int64]] = []  # kept of every row, one array per tile
        self._columns = self._used = 0

    def add(self, values: NDArray[np.float32], at: NDArray[np.integer], lowest: NDArray[np.float32]) -> None:
        """Take in the next tile of columns, (m, width).

        Parameters
        ----------
        at : (n,) int
            Which of the m rows are wanted, in their order in the result.
        lowest : (n,) float32
            A second cutoff, by row.
        """
        here = slice(self._columns, self._columns + values.shape[1])
        ends, (feature, value), before = np.empty(len(at), np.int64), self._kept, self._used
        tile = values, at, lowest, self.cutoff[here], self.feature[here]
        self._used = keep_above(*tile, feature, value, before, len(value), ends)
        self._counts.append(np.diff(ends, prepend=before))
        self._columns = here.stop

    def take(self) -> Sparse:
        """Return counts per row, features and values of all tiles, and forget them."""
        counts, used = np.array(self._counts), self._used
        self._counts, self._columns, self._used = [], 0, 0
        feature, value = np.empty(used, np.int32), np.empty(used, np.float32)
        _by_row(counts, *self._kept, feature, value)
        return counts.sum(axis=0), feature, value


@njit(**FAST)
def keep_above(values, at, lowest, cutoff, ids, kept_ids, kept, used, limit, ends):
    """Append the values of some rows of an (m, width) tile that exceed both their cutoffs, row by row.

    Returns the number of values kept so far, -1 if a row might exceed the limit.

    Parameters
    ----------
    at : (n,) int
        Which of the m rows are wanted.
    lowest, cutoff : (n,), (width,) float
        A value must exceed the one of its row and the one of its column.
    ids : (width,) int32
        Names of the columns.
    kept_ids, kept : int32, float
        Names and values that were kept; appended to. The first `used` of at most `limit` places are taken.
    ends : (n,) int
        Set to the number of values kept up to and including each row.
    """
    width = values.shape[1]
    marks = np.empty(width // LANES * LANES, np.uint8)
    groups = marks.view(np.uint64)
    for i in range(len(at)):
        if used + width > limit:
            return -1
        row, low = values[at[i]], lowest[i]
        for j in range(len(marks)):  # compared in vectors; then eight at a time are passed over if none is kept
            marks[j] = row[j] > max(cutoff[j], low)
        for g in range(len(groups)):
            if groups[g]:
                for j in range(LANES * g, LANES * (g + 1)):
                    kept_ids[used], kept[used] = ids[j], row[j]
                    used += marks[j]
        for j in range(len(marks), width):
            kept_ids[used], kept[used] = ids[j], row[j]
            used += row[j] > max(cutoff[j], low)
        ends[i] = used
    return used


@njit(**FAST)
def _by_row(counts, features, kept, feature, value):
    """Put entries that come tile after tile, with (tiles, n) counts, together row by row."""
    tiles, n = counts.shape
    at = np.zeros(tiles, np.int64)
    for t in range(1, tiles):
        at[t] = at[t - 1] + counts[t - 1].sum()
    put = 0
    for i in range(n):
        for t in range(tiles):
            for j in range(at[t], at[t] + counts[t, i]):
                feature[put], value[put] = features[j], kept[j]
                put += 1
            at[t] += counts[t, i]


def cut_to_largest(h: NDArray[np.float32], at: NDArray[np.integer], k: int) -> NDArray[np.float32]:
    """Cutoffs of some rows that their k largest positive values exceed, and none of their other values.

    If more values tie for the last places than there are places, those of the higher columns are set to 0 in h. NaN
    counts as larger than any number, as in torch; it takes a place and is never above a cutoff.

    (m, width) `h` is C-contiguous, its width a multiple of 8, and ``1 <= k <= width``. `at` are n different rows.

    Returns
    -------
    (n,) float32
        0 or more; 0 if fewer than k values are positive, NaN if k values are NaN.
    """
    groups = max(h.shape[1] // WIDEST, min(SPARE * k, h.shape[1]))
    last = np.empty(len(at), np.float32)
    _last_of_largest(h, at, k, groups, last)
    return np.maximum(np.nextafter(last, np.float32(-np.inf)), np.float32(0))


@njit(**FAST)
def _last_of_largest(h, at, k, groups, last):
    """Set (n,) `last` to the k-th largest positive value of each row, 0 if there are fewer; surplus ties become 0."""
    width = h.shape[1]
    highest, found, marks = np.empty(groups, np.float32), np.empty(width, np.float32), np.empty(width, np.uint8)
    for i in range(len(at)):
        row = h[at[i]]
        places = k - _highest_of_groups(row, highest)
        if places <= 0:
            last[i] = NAN
            continue
        # as many groups as places reach the bound, so all values that are looked for reach it
        bound = _nth(highest, groups, places) if places <= groups else np.float32(0)
        many = _reaching(row, max(bound, np.float32(0)), marks, found)
        last[i] = _nth(found, many, places) if many >= places else np.float32(0)
        if last[i] > 0 and (found[:many] >= last[i]).sum() > k:
            _drop_surplus(row, last[i], k)


@njit(**FAST)
def _highest_of_groups(row, highest):
    """Set (g,) `highest` to the highest value of each group of columns, which alternate; return the number of NaN."""
    groups, nans, one = len(highest), np.int32(0), np.int32(1)  # as wide as the values, for vectors
    highest[:] = -np.inf
    for start in range(0, len(row), groups):
        part = row[start : start + groups]
        for j in range(len(part)):  # in vectors: a group lies across them
            highest[j] = part[j] if part[j] > highest[j] else highest[j]
            nans += one if part[j] != part[j] else np.int32(0)
    return nans


@njit(**FAST)
def _reaching(row, bound, marks, found):
    """Collect the positive values of a row that reach a bound; return their number."""
    eight, many = marks.view(np.uint64), 0
    for j in range(len(row)):
        marks[j] = (row[j] >= bound) & (row[j] > 0)
    for g in range(len(eight)):
        if eight[g]:
            for j in range(LANES * g, LANES * (g + 1)):
                found[many] = row[j]
                many += marks[j]
    return many


@njit(**FAST)
def _nth(values, many, n):
    """Return the n-th largest (from 1) of the first `many` values, none NaN, by quickselect; their order changes."""
    low, high, place = 0, many - 1, n - 1
    while low < high:
        pivot, i, j = values[(low + high) // 2], low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i, j = i + 1, j - 1
        if place <= j:
            high = j
        elif place >= i:
            low = i
        else:
            break
    return values[place]


@njit(**FAST)
def _drop_surplus(row, last, k):
    """Set to 0 the values equal to `last` for which none of the k places is left."""
    places = k
    for j in range(len(row)):
        places -= row[j] > last
    for j in range(len(row)):
        if row[j] == last:
            if places <= 0:
                row[j] = 0
            places -= 1
