"""How well features fit, in and outside of repeats: against walks over items, windows and bases."""

import numpy as np
import pytest
from control_scenes import Scene, average_precision, draw_scene, every_pair, labels_of, pairs_on
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.bootstrap import draws_of
from sae_tracks.controls.fit import Fit, InRepeats, _in_and_outside

seeds, strands = st.integers(0, 10**6), st.sampled_from("+-")
few = settings(deadline=None, max_examples=12)


def levels_in(rows, repeats=None):
    return [level for level, _, inside in rows if repeats is None or inside == repeats]


@given(seeds, strands, st.booleans())
@few
def test_the_columns_are_those_of_a_walk_over_items_and_windows(seed, read_strand, causal):
    scene = draw_scene(seed, read_strand, causal=causal)
    chosen = every_pair(scene)
    fit = scene.through(Fit(pairs_on(scene, chosen)))
    table = fit.table()
    for i, (concept, feature, threshold) in enumerate(chosen):
        items, windows = map(levels_in, scene.items(concept, scene.features[:, feature]))
        row = table.loc[i]
        assert row["items"] == len(items)
        assert row["site_average_precision"] == pytest.approx(average_precision(items, windows), nan_ok=True)
        expected = np.mean([level > threshold for level in items]) if items else np.nan
        assert row["site_share"] == pytest.approx(expected, nan_ok=True)
        recall = [0.0]
        for cut in (1, 2, 3):
            hit, other = sum(x >= cut for x in items), sum(x >= cut for x in windows)
            if hit and hit >= other:
                recall.append(hit / len(items))
        assert row["recall_at_half"] == pytest.approx(max(recall) if items else np.nan, nan_ok=True)
        assert fit.windows[i].tolist() == [windows.count(level) for level in range(4)]


@given(seeds, strands)
@settings(deadline=None, max_examples=3)
def test_the_interval_is_that_of_average_precision_over_drawn_blocks(seed, read_strand):
    scene = draw_scene(seed, read_strand, blocks=3, n=400)
    chosen = [(4, 1, 1), (6, 2, 1), (0, 0, 0)]
    table = scene.through(Fit(pairs_on(scene, chosen, seed=seed))).table()
    for i, (concept, feature, _) in enumerate(chosen):
        items, windows = scene.items(concept, scene.features[:, feature])
        values, known = [], {}
        for times in map(tuple, draws_of(3, seed).astype(int).tolist()):
            if times not in known:
                drawn = [[level for level, b, _ in rows for _ in range(times[b])] for rows in (items, windows)]
                known[times] = average_precision(*drawn)
            values.append(known[times])
        expected = np.nanpercentile(values, [2.5, 97.5])
        assert table.loc[i, ["site_ap_low", "site_ap_high"]].tolist() == pytest.approx(expected)


@given(seeds, strands)
@few
def test_outside_of_repeats_the_ratio_of_windows_to_items_is_that_of_inside(seed, read_strand):
    scene = draw_scene(seed, read_strand, n=1200, sites=30)
    chosen = every_pair(scene)
    fit = Fit(pairs_on(scene, chosen))
    table, seen = scene.through(InRepeats(scene.through(fit), [*scene.repeats])).table(), 0
    for i, (concept, feature, _) in enumerate(chosen):
        items, windows = scene.items(concept, scene.features[:, feature])
        (out, far), (inn, near) = ([levels_in(rows, inside) for rows in (items, windows)] for inside in (False, True))
        row = table.loc[i]
        assert row["items_outside_repeats"] == len(out)
        assert row["ap_inside_repeats"] == pytest.approx(average_precision(inn, near), nan_ok=True)
        if len(out) < 10:
            assert np.isnan(row["ap_outside_repeats"])
        elif inn and near and far:
            weight = len(near) / len(inn) * len(out) / len(far)
            assert row["ap_outside_repeats"] == pytest.approx(average_precision(out, far, weight))
            seen += 1
        hit = [inside for level, _, inside in items if level]
        assert row["repeat_share"] == pytest.approx(np.mean(hit) if hit else np.nan, nan_ok=True)
    assert seen


@given(seeds, strands)
@few
def test_the_class_of_repeats_is_that_with_the_most_true_positives(seed, read_strand):
    scene = draw_scene(seed, read_strand)
    chosen = every_pair(scene) + every_pair(scene, 0)
    fit = Fit(pairs_on(scene, chosen))
    table = scene.through(InRepeats(fit, [*scene.repeats])).table()
    for i, (concept, feature, threshold) in enumerate(chosen):
        hit = (scene.features[:, feature] > threshold) & scene.labelled(concept)
        counts = {name: (hit & mask).sum() for name, mask in scene.repeats.items()}
        best = max(counts, key=lambda name: counts[name])  # the first if several tie
        expected = (best, counts[best] / hit.sum()) if counts[best] else ("", 0)
        assert tuple(table.loc[i, ["repeat_class", "repeat_class_share"]]) == expected


def test_as_good_a_feature_outside_has_the_same_precision_although_items_are_rarer_there():
    """Inside one window to an item, outside twenty: the raw precisions are 1/2 and 1/21."""
    items, windows = np.zeros((2, 2, 1, 2), int)
    items[:, 0, 1], windows[1, 0, 1], windows[0, 0, 1] = 20, 20, 400
    share, number, inside, outside, high = _in_and_outside(items, windows, np.ones((5, 1)))
    assert (share, number, inside) == (0.5, 20, 0.5)
    assert outside == high == pytest.approx(0.5)


def test_ten_items_outside_are_enough_and_nine_are_not():
    for n in (9, 10):
        items, windows = np.ones((2, 2, 1, 2), int)
        items[0] = [n, 0]
        outside = _in_and_outside(items, windows, np.ones((5, 1)))[3:]
        assert np.isnan(outside).tolist() == [n == 9] * 2


@pytest.mark.parametrize("inside", [(0, 0), (5, 0), (0, 50)])
def test_without_items_and_windows_in_repeats_those_outside_keep_their_own_ratio(inside):
    items, windows = np.zeros((2, 2, 1, 2), int)
    items[0, 0, 1], windows[0, 0, 1] = 20, 400  # everything is active
    items[1, 0, 1], windows[1, 0, 1] = inside
    assert _in_and_outside(items, windows, np.ones((5, 1)))[3] == pytest.approx(20 / 420)


def test_a_run_without_repeats_on_the_tiles_has_none():
    scene = draw_scene(0)
    scene.repeats = {name: np.zeros(len(scene.text), bool) for name in scene.repeats}
    scene.__post_init__()
    fit = Fit(pairs_on(scene, [(4, 1, 0)]))
    row = scene.through(InRepeats(scene.through(fit), [*scene.repeats])).table().loc[0]
    assert row["repeat_class"] == "" and row["repeat_share"] == 0 and np.isnan(row["ap_inside_repeats"])


@given(st.integers(0, 17), st.integers(1, 18), strands)
@settings(deadline=None, max_examples=30)
def test_the_precision_does_not_depend_on_the_width_of_firing(first, width, read_strand):
    """Sites of 12 bases, extended by 6 in the direction of reading: firing anywhere on these finds all of them."""
    starts = range(20, 1960, 40)
    dense = np.zeros((2000, 1), int)
    for start in starts:
        on = [base for base in range(first, first + width) if base < 18]
        dense[[start + base if read_strand == "+" else start + 11 - base for base in on]] = 1
    labels, every = labels_of([(start, start + 12, "m", 1, "+") for start in starts]), np.ones(2000, bool)
    scene = Scene("ACGT" * 500, labels, {"features": dense}, every, np.zeros(2000, int), [0, 2000], read_strand)
    row = scene.through(Fit(pairs_on(scene, [(4, 0, 0)], levels=1))).table().loc[0]
    assert row[["site_average_precision", "site_share", "recall_at_half"]].tolist() == [1, 1, 1]


def test_without_any_repeat_no_hit_lies_in_one():
    scene = draw_scene(3, "+")
    scene.repeats.clear()
    table = scene.through(InRepeats(scene.through(Fit(pairs_on(scene, [(4, 1, 1)]))), [])).table()
    assert table.loc[0, ["repeat_class", "repeat_class_share"]].tolist() == ["", 0]
