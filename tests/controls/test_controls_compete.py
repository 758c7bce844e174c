"""Motifs against decoys: the best feature of each, from the sites that compete, against loops and walks."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from chance_oracle import slow_competition
from control_scenes import Scene, average_precision, best_by_loops, draw_counts, draw_scene, labels_of, pairs_on
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sae_tracks.controls.compete import Competition, compete
from sae_tracks.controls.items import lag_of
from sae_tracks.controls.verdict import LEAST_INSTANCES
from sae_tracks.metrics import Counts

COLUMNS = ("decoys", "decoy_ap", "decoy_q", "least_q", "decoy_win")


class DrawnCompetitors:
    """Two motifs with three and two decoys; sites of drawn places, of which some are cut off."""

    names, missing = ["w", "x"], {"z": "it has no site"}
    decoys = np.array([3, 2])
    widths = (6, 6, 6, 6, 9, 9, 9)

    def __init__(self, rng, n, borders):
        self.motifs = [SimpleNamespace(width=width) for width in self.widths]
        rows = []
        for motif, width in enumerate(self.widths):
            starts = {0, n - width, *rng.integers(0, n - width, int(rng.integers(1, 25))).tolist()}
            rows += [(motif, s, s + width, (1, -1)[rng.integers(2)], rng.random() < 0.7) for s in starts]
        rows = [row for row in rows if not any(row[1] < border < row[2] for border in borders)]
        self.rows = sorted(rows, key=lambda row: (row[0], -row[3], row[1]))

    def sites(self, genome, region):
        """Those that start in the region."""
        inside = [row for row in self.rows if region.start <= row[1] < region.end]
        types = (np.int32, np.int64, np.int64, np.int8, bool)
        return tuple(np.array(column, dtype) for column, dtype in zip(zip(*inside) if inside else [[]] * 5, types))


def check(seed, read_strand, causal, few):
    rng = np.random.default_rng(seed)
    scene = draw_scene(seed, read_strand, n=500, causal=causal)
    competitors = DrawnCompetitors(rng, 500, scene.edges[1:2])
    concepts = [(letter, "+") for letter in "ACGT"] + [(f"m{i}", strand) for i in range(7) for strand in "+-"]
    counts = draw_counts(
        rng, pd.DataFrame(concepts, columns=["concept", "site_strand"]).assign(tf=""), 4, 3, density=0.2
    )
    counts.tp[1] = 0  # all have their best feature on the first read strand
    chosen = [(4, 1, 0), (5, 2, 0), (0, 1, 0), (6, 1, 0)]  # w +, x -, A and y, which has no matrix
    rows = scene.labels.concepts.iloc[[c for c, *_ in chosen]][["concept", "site_strand"]].reset_index(drop=True)
    enough = rng.random() < 0.8
    rows["instances"] = [LEAST_INSTANCES, LEAST_INSTANCES - (not enough), 99, 99]
    pairs = pairs_on(scene, chosen, motifs=[4, 5])
    part = scene.through(Competition(pairs, counts, None, competitors, causal=causal))
    found = compete(rows, competitors, [part.average_precision], few=few)

    average = np.full((4, 4), np.nan)
    for target, (motif, decoys) in enumerate(((0, 3), (4, 2))):
        for side, strand in enumerate((1, -1)):
            for k in range(decoys + 1):
                number, width = motif + k, competitors.widths[motif + k]
                column, _ = best_by_loops(counts, 0, 4 + 2 * number + side, range(4), False)
                sites = [(s, e, c) for m, s, e, sign, c in competitors.rows if m == number and sign == strand]
                levels = scene.features[:, max(column, 0)]
                items, windows = scene.items(0, levels, sites, width, lag_of(width, causal))
                ap = average_precision(*[[level for level, *_ in part] for part in (items, windows)])
                average[2 * target + side, k] = 0 if column < 0 else ap
    average[[1, 2]] = np.nan  # w - and x + are no rows of the table
    if not enough:
        average[3] = np.nan
    expected = slow_competition(average, few)
    for row, target in ((0, 0), (1, 3)):
        for name in COLUMNS:
            value = expected[target][name]
            if value is None or isinstance(value, bool):
                assert found[name][row] is value
            else:
                assert found[name][row] == pytest.approx(value, nan_ok=True), name
    assert found.loc[2:, [name for name in COLUMNS if name != "decoy_win"]].isna().all(axis=None)
    assert found["decoy_win"].tolist()[2:] == [None, None]


@given(st.integers(0, 10**6), st.sampled_from("+-"), st.booleans(), st.booleans())
@example(8279, "+", True, False)  # a site that ends before the second tile, and is extended into it
@example(3079, "-", True, True)  # a motif and a decoy have an average precision of 2 / 5, from other sums
@settings(deadline=None, max_examples=40)
def test_the_outcome_is_that_of_loops_over_matrices_and_a_walk_over_sites(seed, read_strand, causal, few):
    check(seed, read_strand, causal, few)


class OneDecoy:
    """A motif without sites, and a decoy of six bases with two sites, the second across a border at 50."""

    names, decoys, motifs = ("m",), np.array([1]), [SimpleNamespace(width=6)] * 2

    def sites(self, genome, region):
        starts = [start for start in (10, 47) if region.start <= start < region.end]
        n = len(starts)
        motif, strand = np.ones(n, np.int32), np.ones(n, np.int8)
        return motif, np.array(starts, int), np.array(starts, int) + 6, strand, np.ones(n, bool)


@pytest.mark.parametrize(("read_strand", "on"), [("+", [10, 58]), ("-", [12])])
def test_a_site_across_the_border_of_two_tiles_counts_as_one_of_the_annotation(read_strand, on):
    """On + no window may touch it in the second tile, of which base 58 is active; on - it is an item of that tile."""
    dense, nothing = np.zeros((100, 1), int), np.zeros(100, int)
    dense[on] = 1
    labels = labels_of([(10, 16, "m", 1, "+")])
    scene = Scene("A" * 100, labels, {"features": dense}, nothing == 0, nothing, [0, 50, 100], read_strand)
    names = [(x, "+") for x in "ACGT"] + [(x, strand) for x in ("m#0", "m#1") for strand in "+-"]
    concepts = pd.DataFrame(names, columns=["concept", "site_strand"]).assign(tf="")
    counts = Counts.zeros(("+",), ("select", "report"), concepts, [0], ["f0"], hits=False)
    for name in ("tp", "active", "labelled"):
        getattr(counts, name)[...] = 5
    pairs = pairs_on(scene, [(4, 0, 0)], motifs=[4], levels=1)
    part = scene.through(Competition(pairs, counts, None, OneDecoy(), causal=True))
    items, windows = scene.items(4, dense[:, 0], [(10, 16, 1), (47, 53, 1)], 6, 3)
    found = part._best.histogram
    assert found.items[2].sum(axis=(0, 1)).tolist() == [sum(x[0] == level for x in items) for level in (0, 1)]
    assert found.windows[2].sum(axis=(0, 1)).tolist() == [sum(x[0] == level for x in windows) for level in (0, 1)]


def test_a_motif_and_its_decoys_have_their_best_feature_of_all_read_strands():
    """The first decoy fits a feature best on -, the motif and the second one on +."""
    names = [(x, "+") for x in "ACGT"] + [(f"m#{i}", strand) for i in range(3) for strand in "+-"]
    concepts = pd.DataFrame(names, columns=["concept", "site_strand"]).assign(tf="")
    counts = Counts.zeros(("+", "-"), ("select", "report"), concepts, [0], ["f0"], hits=False)
    counts.labelled[...], counts.active[...], counts.tp[...] = 10, 10, 2
    counts.tp[1, :, 6] = 5
    counts.tp[0, :, [4, 8]] = 5
    scene = Scene("A" * 40, labels_of([(1, 7, "m", 1, "+")]), {}, np.ones(40, bool), np.zeros(40, int), [0, 40])
    rows = pd.DataFrame({"concept": ["m"], "site_strand": "+", "instances": 99})
    forward = pairs_on(scene, [(4, 0, 0)], motifs=[4], levels=1)
    motifs = [SimpleNamespace(width=6)] * 3
    competitors = SimpleNamespace(motifs=motifs, names=["m"], decoys=np.array([2]), missing={})
    parts = [
        Competition(replace(forward, strand=strand), counts, None, competitors, causal=True) for strand in range(2)
    ]
    columns = [part.wanted()["features"].tolist() for part in parts]
    assert columns == [[0, 0, -1, 0, 0, 0], [-1, -1, 0, -1, -1, -1]]  # the first of equal ones
    measured = [np.array([0.9, 0.1, np.nan, 0.1, 0.4, 0.1]), np.array([np.nan, np.nan, 0.7, np.nan, np.nan, np.nan])]
    assert compete(rows, competitors, measured, few=True)["decoy_ap"].tolist() == [0.7]


def test_a_motif_without_decoys_has_none():
    rows = pd.DataFrame({"concept": ["m", "n"], "site_strand": "+", "instances": 99}, index=[7, 3])
    nothing = SimpleNamespace(motifs=[], names=[], decoys=np.empty(0, np.int64), missing={"m": "it has no site"})
    found = compete(rows, nothing, [np.empty(0)], few=True)
    assert found["decoys"].tolist()[0] == 0 and np.isnan(found["decoys"].tolist()[1])
    assert found["decoy_q"].isna().all() and found["decoy_win"].tolist() == [None, None]
    assert found.index.tolist() == [7, 3]
