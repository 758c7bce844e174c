"""Items, windows and what is computed from their levels, against plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.controls.items import Histogram, Tile, auroc, average_precision, items_of, recall_at
from sae_tracks.regions import GenomicRegion


@given(st.integers(0, 10**6), st.sampled_from("+-"))
@settings(deadline=None)
def test_items_and_windows_are_those_of_a_walk(seed, read_strand):
    rng = np.random.default_rng(seed)
    n, origin, width, lag = 300, int(rng.integers(0, 50)), int(rng.integers(1, 9)), int(rng.integers(0, 4))
    readable, inside = rng.random(n) < 0.95, np.repeat(rng.random(6) < 0.3, 50)
    block = np.repeat([0, 1], n // 2)
    tile = Tile.of(GenomicRegion("c", origin, origin + n), read_strand, readable, block, inside)
    start = np.sort(rng.integers(-10, n, 12))
    end = start + rng.integers(1, 150, 12)
    copies = rng.integers(0, 3, 12)
    base = np.flatnonzero(rng.random(n) < 0.1).astype(np.int32)
    level = rng.integers(1, 4, len(base)).astype(np.uint8)
    dense = np.zeros(n, int)
    dense[base] = level
    found = Histogram(1, 2, 3)
    found.add(0, tile, items_of(tile, start, end, copies, width, lag), base, level)

    expected, windows, touched = np.zeros((2, 2, 4), int), np.zeros((2, 2, 4), int), np.zeros(n, bool)
    for s, e, c in zip(start, end, copies):
        pieces = max(-(-(e - s) // 64), 1)
        for i in range(pieces):
            first, last = s + i * (e - s) // pieces, s + (i + 1) * (e - s) // pieces
            low, high = (first, last + lag) if read_strand == "+" else (first - lag, last)
            low, high = np.clip([low, high], 0, n)
            touched[low:high] = True
            begins = first if read_strand == "+" else last - 1
            if c and 0 <= begins < n and readable[begins]:
                first, last = np.clip([first, last], 0, n)
                expected[int(inside[first:last].any()), block[first], dense[low:high].max()] += c
    for s in range(-origin, n, 1):
        if (s + origin) % (width + lag) == 0 and s >= 0 and s + width + lag <= n:
            here = slice(s, s + width + lag)
            if readable[here].all() and not touched[here].any():
                windows[int(inside[here].any()), block[s], dense[here].max()] += 1
    assert (found.items[0] == expected).all()
    assert (found.windows[0] == windows).all()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=5))
def test_scores_of_levels_are_those_of_every_item(counts):
    items, windows = np.array(counts).T
    scores = [(level, True) for level, n in enumerate(items) for _ in range(n)]
    scores += [(level, False) for level, n in enumerate(windows) for _ in range(n)]
    positive = [s for s, good in scores if good]
    negative = [s for s, good in scores if not good]
    if not positive:
        assert np.isnan(average_precision(items, windows)) and np.isnan(recall_at(items, windows))
        return
    at = [np.mean([good for s, good in scores if s >= level]) for level in positive]
    assert average_precision(items, windows) == pytest.approx(np.mean(at))
    recalls = [0.0]
    for level in range(1, len(items)):
        chosen = [good for s, good in scores if s >= level]
        if chosen and np.mean(chosen) >= 0.5:
            recalls.append(sum(chosen) / len(positive))
    assert recall_at(items, windows) == pytest.approx(max(recalls))
    if negative:
        pairs = [(p > q) + (p == q) / 2 for p in positive for q in negative]
        assert auroc(items, windows) == pytest.approx(np.mean(pairs))
