"""Sorted half-open intervals as arrays: runs of a mask, union, intersection, difference.

Spans are (k, 2) int64: start and end of each interval, 0-based half-open, start < end. pyranges joins the tables of
users' intervals. These functions serve masks of bases and regions of one contig.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Spans = NDArray[np.int64]
NO_SPANS: Spans = np.empty((0, 2), np.int64)


def as_spans(pairs: ArrayLike) -> Spans:
    """(k, 2) int64 of pairs of start and end."""
    return np.asarray(pairs, np.int64).reshape(-1, 2)


def runs_of(mask: NDArray[np.bool_]) -> Spans:
    """The maximal runs of True.

    Parameters
    ----------
    mask : (n,) bool

    Returns
    -------
    (k, 2) int64
        Ascending and disjoint, counted from the first element.
    """
    padded = np.concatenate(([False], mask, [False]))
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)


def runs_of_chunks(chunks: Iterable[NDArray[np.bool_]]) -> Spans:
    """The maximal runs of True in a mask that comes in consecutive chunks; see `runs_of`."""
    offset, found = 0, [NO_SPANS]
    for chunk in chunks:
        found.append(runs_of(chunk) + offset)
        offset += len(chunk)
    return merge(np.concatenate(found))


def merge(spans: Spans) -> Spans:
    """Disjoint ascending spans that cover the same positions; spans that overlap or touch are joined.

    Parameters
    ----------
    spans : (k, 2) int64
        In any order.
    """
    if not len(spans):
        return NO_SPANS
    start, end = spans[np.argsort(spans[:, 0], kind="stable")].T
    end = np.maximum.accumulate(end)
    first = np.concatenate(([0], np.flatnonzero(start[1:] > end[:-1]) + 1))
    return np.stack([start[first], end[np.append(first[1:], len(spans)) - 1]], axis=1)


def intersect(spans: Spans, others: Spans) -> Spans:
    """The parts of spans that lie in others, in the order of the spans.

    Parameters
    ----------
    spans : (k, 2) int64
        In any order.
    others : (m, 2) int64
        Ascending and disjoint.
    """
    first = np.searchsorted(others[:, 1], spans[:, 0], side="right")
    last = np.searchsorted(others[:, 0], spans[:, 1], side="left")
    count = np.maximum(last - first, 0)
    span = np.repeat(np.arange(len(spans)), count)
    other = np.arange(len(span)) + np.repeat(first - np.cumsum(count) + count, count)
    start = np.maximum(spans[span, 0], others[other, 0])
    end = np.minimum(spans[span, 1], others[other, 1])
    return np.stack([start, end], axis=1)[start < end]


def subtract(spans: Spans, others: Spans) -> Spans:
    """The parts of spans that lie in none of the others, in the order of the spans; see `intersect`."""
    everywhere = np.iinfo(np.int64)
    edges = np.concatenate(([everywhere.min], others.ravel(), [everywhere.max])).reshape(-1, 2)
    return intersect(spans, edges[edges[:, 0] < edges[:, 1]])


def overlapping(start: NDArray[np.int64], end: NDArray[np.int64], first: int, last: int) -> slice:
    """The slice of ascending disjoint intervals that overlap ``first:last``."""
    return slice(int(np.searchsorted(end, first, side="right")), int(np.searchsorted(start, last, side="left")))


def cover(spans: Spans, start: int, end: int) -> NDArray[np.bool_]:
    """(end - start,) bool: which positions of ``start:end`` lie in ascending disjoint spans."""
    mask = np.zeros(end - start, np.bool_)
    for first, last in (intersect(as_spans([start, end]), spans) - start).tolist():
        mask[first:last] = True
    return mask


def hold(spans: Spans, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,) bool: which positions lie in ascending disjoint spans."""
    return np.searchsorted(spans.ravel(), positions, side="right") % 2 == 1


def overlapping_pairs(spans: Spans, others: Spans) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of all pairs of spans that overlap; both may be in any order and overlap among themselves.

    Returns
    -------
    span, other : (p,) int64
        Rows of the two arrays.
    """
    by_start, others_by_start = np.argsort(spans[:, 0], kind="stable"), np.argsort(others[:, 0], kind="stable")
    start, other_start = spans[by_start, 0], others[others_by_start, 0]
    # either the other one starts in the span, or the span starts behind the start of the other one
    inside = np.searchsorted(other_start, spans[:, 0]), np.searchsorted(other_start, spans[:, 1])
    behind = np.searchsorted(start, others[:, 0], side="right"), np.searchsorted(start, others[:, 1])
    span, place = _expanded(*inside)
    other, other_place = _expanded(*behind)
    return np.concatenate([span, by_start[other_place]]), np.concatenate([others_by_start[place], other])


def _expanded(first: NDArray[np.int64], last: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each row as often as ``first:last`` is long, and the numbers in it."""
    count = np.maximum(last - first, 0)
    row = np.repeat(np.arange(len(first)), count)
    return row, np.arange(len(row)) + np.repeat(first - np.cumsum(count) + count, count)
