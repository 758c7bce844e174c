"""Regions like those of an annotation: against walks, and p-values of annotations that mean nothing or everything."""

import numpy as np
import pytest
from control_scenes import Scene, draw_scene, labels_of, pairs_on
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from sae_tracks.controls.fit import Fit
from sae_tracks.controls.gather import FEATURES
from sae_tracks.controls.matched import LIKE, RegionControl, _gaps, _sums, _widths, empirical_p
from sae_tracks.intervals import merge


def scene_of(text, rows, active, read_strand="+", tile=20_000):
    n = len(text)
    levels, nothing = np.zeros((n, 1), int), np.zeros(n, int)
    levels[active] = 1
    edges = [*range(0, n, tile), n]
    return Scene(text, labels_of(rows), {FEATURES: levels}, nothing == 0, nothing, edges, read_strand)


def judged(scene, seed=0):
    """``regions``, ``regions_p`` and ``shift_p`` of the first annotation."""
    fit = Fit(pairs_on(scene, [(4, 0, 0)], levels=1, seed=seed))
    part = RegionControl(fit, scene)
    for view in scene.views(fit.wanted()):
        fit.add(view)
        part.add(view)
    return part.table().iloc[0]


@given(st.integers(0, 10**6), st.sampled_from("+-"))
@settings(deadline=None, max_examples=30)
def test_what_a_region_is_like_and_its_levels_are_those_of_a_walk(seed, read_strand):
    scene, rng = draw_scene(seed, read_strand, n=400), np.random.default_rng(seed)
    view = next(iter(scene.views({FEATURES: np.arange(2)})))
    n, items = len(view.tile), view.items(4)
    text = scene.text[:n]
    start = rng.integers(0, n - 100, 5)
    end = start + rng.integers(1, 100, 5)
    known = merge(np.sort(rng.integers(0, n, (3, 2)), axis=1))
    known = known[known[:, 1] > known[:, 0]]
    part = RegionControl(Fit(pairs_on(scene, [(4, 0, 0)], levels=9)), scene)
    _, traits, levels = part._regions(view, _sums(view), items, known, start, end, view.active(FEATURES, 0))
    for i, (low, high) in enumerate(zip(start.tolist(), end.tolist())):
        word = text[low:high]
        cpg = sum(text[b : b + 2] == "CG" for b in range(low, high))
        gaps = [low - b for a, b in known.tolist() if b <= low] + [a - high for a, b in known.tolist() if a >= high]
        shares = [(word.count("C") + word.count("G")) / len(word), cpg / len(word), scene.inside[low:high].mean()]
        expected = [*shares, np.log1p(max(min([*gaps, n]), 30)), np.log(len(word))]
        assert traits[i] == pytest.approx(np.array(expected) / LIKE, rel=1e-5, abs=1e-5)
        pieces = -(-len(word) // 64)
        found = [0] * 10
        for piece in range(pieces):
            a, b = low + piece * len(word) // pieces, low + (piece + 1) * len(word) // pieces
            a, b = (a, b + items.lag) if read_strand == "+" else (a - items.lag, b)
            found[scene.features[max(a, 0) : min(b, n), 0].max()] += 1
        assert levels[i].tolist() == found


def test_the_distance_to_the_next_region_leaves_out_those_that_overlap():
    known = np.array([[10, 20], [50, 60]])
    start, end = np.array([0, 15, 25, 20, 60]), np.array([10, 25, 40, 50, 70])
    assert _gaps(known, start, end, 99).tolist() == [0, 25, 5, 0, 0]
    assert _gaps(known[:0], start, end, 99).tolist() == [99] * 5


def test_overlapping_instances_are_one_region():
    labels = labels_of([(0, 10, "x", 1, "+"), (5, 30, "x", 1, "+"), (40, 44, "x", 1, "+"), (0, 9, "y", 1, "+")])
    assert _widths(labels.instances, 4).tolist() == [30, 4]


@pytest.mark.parametrize("read_strand", "+-")
def test_a_detector_of_the_regions_beats_every_draw(read_strand):
    rng = np.random.default_rng(1)
    text = "".join(rng.choice(list("ACGT"), 60_000))
    start = np.sort(rng.choice(np.arange(100, 59_000, 250), 80, replace=False))
    active = np.concatenate([np.arange(s, s + 100) for s in start])
    rows = [(int(s), int(s) + 100, "x", 1, "+") for s in start]
    found = judged(scene_of(text, rows, active, read_strand))
    assert found["regions"] > 60
    assert found["regions_p"] == found["shift_p"] == pytest.approx(1 / 201)


def composed(rng, n):
    """Letters with islands of C and G, and the share of G and C around each base."""
    gc = np.repeat(rng.choice([0.3, 0.7], n // 1000 + 1), 1000)[:n]
    draw = rng.random(n)
    letters = np.where(draw < gc, rng.choice(list("CG"), n), rng.choice(list("AT"), n))
    return "".join(letters), gc


def test_regions_that_only_share_their_composition_are_no_evidence():
    """A feature fires in islands of C and G; annotations are random places there. Shifts are fooled, draws are not."""
    low, shifted, drawn = 0, 0, 40
    for seed in range(drawn):
        rng = np.random.default_rng(seed)
        text, gc = composed(rng, 40_000)
        active = np.flatnonzero((gc > 0.5) & (rng.random(40_000) < 0.01))
        places = np.flatnonzero((gc[:-200] > 0.5) & (gc[200:] > 0.5))
        rows = [(int(s), int(s) + 80, "x", 1, "+") for s in rng.choice(places, 40, replace=False)]
        found = judged(scene_of(text, rows, active), seed)
        low, shifted = low + (found["regions_p"] <= 0.05), shifted + (found["shift_p"] <= 0.05)
    assert low <= binom.ppf(0.99, drawn, 0.05) < shifted


def codons(rng, n):
    """Every third base of genes of 300 bases, which take a third of the bases."""
    starts = [first + int(rng.integers(500)) for first in range(100, n - 900, 900)]
    return np.concatenate([np.arange(start, start + 300, 3) for start in starts])


def test_a_detector_of_most_third_bases_beats_every_draw():
    rng = np.random.default_rng(3)
    text, sites = "".join(rng.choice(list("ACGT"), 60_000)), codons(rng, 60_000)
    rows = [(int(base), int(base) + 1, "x", 1, "+") for base in sites]
    found = judged(scene_of(text, rows, sites[rng.random(len(sites)) < 0.8]))
    assert found["regions"] > 0.9 * len(sites)
    assert found["regions_p"] == pytest.approx(1 / 201)


def test_single_bases_that_mean_nothing_are_no_evidence():
    """Nearly all single bases are alike in everything: draws must not meet the same few of them again and again."""
    p = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        text = "".join(rng.choice(list("ACGT"), 20_000))
        rows = [(int(base), int(base) + 1, "x", 1, "+") for base in np.sort(rng.choice(20_000, 500, replace=False))]
        p.append(judged(scene_of(text, rows, np.flatnonzero(rng.random(20_000) < 0.1)), seed)["regions_p"])
    assert np.sum(np.less_equal(p, 0.05)) <= binom.ppf(0.99, 40, 0.05)
    assert np.sum(np.greater_equal(p, 0.95)) <= binom.ppf(0.99, 40, 0.05)


def test_instances_without_regions_like_them_are_left_out():
    """All C and G among A and T: nothing else is like it, and no region is compared with one that overlaps it."""
    rng = np.random.default_rng(2)
    letters = rng.choice(list("AT"), 30_000)
    letters[1000:1060] = "G"
    found = judged(scene_of("".join(letters), [(1000, 1060, "x", 1, "+")], []))
    assert found["regions"] == 0 and np.isnan(found["regions_p"])


def test_an_empirical_p_counts_ties_against_the_match():
    assert empirical_p(0.5, np.array([0.5, 0.4, 0.6])) == 3 / 4
    assert empirical_p(0.7, np.zeros(199)) == 1 / 200
    assert np.isnan(empirical_p(np.nan, np.zeros(3))) and np.isnan(empirical_p(0.1, np.array([np.nan, 1])))
