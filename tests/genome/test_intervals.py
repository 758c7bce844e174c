import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sae_tracks.intervals import (
    NO_SPANS,
    as_spans,
    cover,
    hold,
    intersect,
    merge,
    overlapping,
    runs_of,
    runs_of_chunks,
    subtract,
)
from sae_tracks.regions import GenomicRegion, intersect_regions, merge_regions, subtract_regions

N = 30
pairs = st.tuples(st.integers(0, N - 1), st.integers(1, N)).map(lambda p: (p[0], min(p[0] + p[1], N)))
any_spans = st.lists(pairs, max_size=8).map(as_spans)
disjoint = st.lists(st.integers(0, N), unique=True, max_size=12).map(
    lambda edges: as_spans(sorted(edges)[: len(edges) // 2 * 2])
)


def bases(spans):
    """The positions in spans, by walking along each."""
    return {base for start, end in spans.tolist() for base in range(start, end)}


@given(st.lists(st.booleans(), max_size=40))
def test_runs_equal_a_walk_along_the_bases(mask):
    expected, open_at = [], None
    for i, on in enumerate([*mask, False]):
        if on and open_at is None:
            open_at = i
        if not on and open_at is not None:
            expected.append([open_at, i])
            open_at = None
    assert runs_of(np.array(mask, bool)).tolist() == expected


@given(st.lists(st.tuples(st.sampled_from("AN"), st.integers(1, 6)), min_size=1, max_size=12), st.integers(1, 7))
def test_runs_of_chunks_equal_a_regular_expression(runs, chunk):
    sequence = "".join(letter * n for letter, n in runs)
    chunks = [sequence[i : i + chunk] for i in range(0, len(sequence), chunk)]
    found = runs_of_chunks(np.array([letter == "N" for letter in part]) for part in chunks)
    assert found.tolist() == [list(match.span()) for match in re.finditer("N+", sequence)]


@pytest.mark.parametrize("spans", [runs_of(np.zeros(0, bool)), runs_of_chunks([]), merge(NO_SPANS), as_spans([])])
def test_no_spans_are_two_empty_columns(spans):
    assert spans.shape == (0, 2) and spans.dtype == np.int64


@given(any_spans)
def test_merged_spans_cover_the_same_bases_and_do_not_touch(spans):
    merged = merge(spans)
    assert bases(merged) == bases(spans)
    assert (merged[:, 0] < merged[:, 1]).all() and (merged[1:, 0] > merged[:-1, 1]).all()


@given(any_spans, disjoint)
def test_shared_and_remaining_parts_of_each_span_equal_a_walk_along_its_bases(spans, others):
    taken = bases(others)
    for keep, found in ((True, intersect(spans, others)), (False, subtract(spans, others))):
        expected = []
        for start, end in spans.tolist():
            for i in range(start, end):
                if (i in taken) != keep:
                    continue
                joins = expected and expected[-1][1] == i > start and not (keep and i in others[:, 0])
                if joins:
                    expected[-1][1] = i + 1
                else:
                    expected.append([i, i + 1])
        assert found.tolist() == expected


def test_touching_others_cut_a_span_and_edges_are_not_shared():
    others = as_spans([(0, 5), (5, 10)])
    assert intersect(as_spans([(3, 7), (10, 12)]), others).tolist() == [[3, 5], [5, 7]]
    assert subtract(as_spans([(0, 12)]), others).tolist() == [[10, 12]]
    assert subtract(as_spans([(4, 9)]), NO_SPANS).tolist() == [[4, 9]]
    assert subtract(NO_SPANS, others).shape == intersect(NO_SPANS, others).shape == (0, 2)


@given(disjoint, st.integers(0, N - 1), st.integers(1, N))
def test_cover_hold_and_overlapping_equal_the_set_of_bases(spans, start, length):
    end = start + length
    inside = [base in bases(spans) for base in range(start, end)]
    assert cover(spans, start, end).tolist() == inside
    assert hold(spans, np.arange(start, end)).tolist() == inside
    found = spans[overlapping(spans[:, 0], spans[:, 1], start, end)].tolist()
    assert found == [[a, b] for a, b in spans.tolist() if a < end and start < b]


def test_regions_are_compared_contig_by_contig_in_the_order_given():
    regions = [GenomicRegion("b", 0, 10), GenomicRegion("a", 5, 9)]
    others = [GenomicRegion("a", 0, 6), GenomicRegion("b", 3, 4), GenomicRegion("c", 0, 9)]
    assert intersect_regions(regions, others) == [GenomicRegion("b", 3, 4), GenomicRegion("a", 5, 6)]
    assert subtract_regions(regions, others) == [
        GenomicRegion("b", 0, 3), GenomicRegion("b", 4, 10), GenomicRegion("a", 6, 9)
    ]  # fmt: skip
    assert subtract_regions(regions, []) == regions and intersect_regions(regions, []) == []
    assert merge_regions([*others, *regions], "abc") == [
        GenomicRegion("a", 0, 9), GenomicRegion("b", 0, 10), GenomicRegion("c", 0, 9)
    ]  # fmt: skip
    with pytest.raises(KeyError):
        merge_regions(regions, "a")
