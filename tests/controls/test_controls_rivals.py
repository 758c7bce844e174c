"""The best column of another dictionary: the choice against a loop over all, and what is measured of it."""

import numpy as np
import pandas as pd
import pytest
from control_scenes import ALL_WORDS, average_precision, best_by_loops, draw_counts, draw_scene, pairs_on
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.controls.dictionaries import RANDOM
from sae_tracks.controls.gather import Gathered
from sae_tracks.controls.items import Histogram
from sae_tracks.controls.rivals import Chosen, Column, Rivals, choose
from sae_tracks.metrics import Counts

seeds, strands = st.integers(0, 10**6), st.sampled_from("+-")


def concepts_of(*names):
    return pd.DataFrame({"concept": names, "site_strand": "+", "tf": ""}, dtype=object)


@given(seeds, st.sampled_from([(0, None), (0, 3), (3, None), (2, 5)]), st.booleans(), st.sampled_from([0.05, 0.5]))
@settings(deadline=None, max_examples=60)
def test_the_best_column_is_that_of_trying_all_columns_and_thresholds(seed, part, sites, density):
    rng = np.random.default_rng(seed)
    counts = draw_counts(rng, concepts_of(*"abcd"), 6, 3, density=density)
    concepts = np.array([3, 0, 0, 2])  # one may come twice
    for strand in (0, 1):
        found = choose(counts, strand, concepts, slice(*part), sites=sites)
        for i, concept in enumerate(concepts.tolist()):
            column, f1 = best_by_loops(counts, strand, concept, range(6)[slice(*part)], sites)
            assert found.column[i] == column
            assert found.f1[i] == pytest.approx(f1, nan_ok=True)


def test_the_first_column_and_its_lowest_threshold_win_if_several_tie():
    counts = Counts.zeros(("+",), ("select", "report"), concepts_of("a"), [0, 1], ["f0", "f1", "f2"], hits=False)
    counts.tp[0, 0, 0, 1, 1:] = counts.active[0, 0, 1, 1:] = 5  # at both thresholds, in two columns
    counts.active[0, 1, 0, 1], counts.active[0, 1, 1, 1], counts.tp[0, 1, 0, 0, 1] = 6, 2, 4
    counts.labelled[0] = [[5], [4]]
    found = choose(counts, 0, np.array([0]))
    assert (found.column[0], found.f1[0]) == (1, 2 * 4 / (4 + 8))


def test_a_choice_without_a_split_is_reported_on_the_same_bases():
    rng = np.random.default_rng(0)
    counts = draw_counts(rng, concepts_of("a"), 4, 2)
    one = Counts.zeros(("+",), ("all",), counts.concepts, counts.thresholds, counts.features, hits=False)
    for name in ("tp", "active", "labelled"):
        getattr(one, name)[...] = getattr(counts, name)[:1, :1]
    found = choose(one, 0, np.array([0]))
    assert (found.column[0], found.f1[0]) == best_by_loops(one, 0, 0, range(4), False)


def test_a_column_that_was_not_found_has_no_precision_and_a_concept_without_items_none_at_all():
    histogram = Histogram(3, 1, 1)
    histogram.items[0, 0, 0, 1], histogram.windows[0, 1, 0] = 6, [4, 3]
    histogram.items[1, 0, 0, 0] = 5
    column = Column("kmer", "words", Chosen(np.array([7, -1, 2]), np.ones(3), np.zeros(3)), histogram)
    assert column.average_precision.tolist() == pytest.approx([6 / 9, 0, np.nan], nan_ok=True)


WORDS = len(ALL_WORDS)
D = 3
SOURCES = {"directions": 2 * D + RANDOM, "random-0": 4, "random-1": 4, "permuted-0": 4, "seed-0": 5, "seed-1": 5}


def gathered_for(scene, rng):
    counts = {"features": draw_counts(rng, scene.labels.concepts, 4, 3)}
    for name, columns in SOURCES.items():
        density = 0 if name == "permuted-0" else 0.3
        counts[name] = draw_counts(rng, scene.labels.concepts, columns, 3, density=density)
    counts["words"] = draw_counts(rng, scene.labels.concepts, WORDS, 1, density=0.001)
    counts["words"].active[...] += 1
    return Gathered(counts, {})


@given(seeds, strands)
@settings(deadline=None, max_examples=6)
def test_the_table_has_the_best_of_every_rival(seed, read_strand):
    rng = np.random.default_rng(seed)
    scene = draw_scene(seed, read_strand, n=400, sites=8, others=SOURCES)
    gathered = gathered_for(scene, rng)
    pairs = pairs_on(scene, [(c, 1, 0) for c in range(8)])
    rivals = Rivals(pairs, gathered)
    table = scene.through(rivals).table()
    words = scene.words(type(scene.regions[0])("c", 0, len(scene.text)), scene.readable)
    parts = {"directions": slice(0, 2 * D), "random": slice(2 * D, None)}
    for i, concept in enumerate(pairs.concept.tolist()):

        def best(source, columns=slice(None), concept=concept):
            counts = gathered.counts[source]
            every = range(len(counts.features))[columns]
            column, f1 = best_by_loops(counts, 0, concept, every, source == "words")
            if source == "words":
                dense = (words == column).any(axis=0).astype(int) if column >= 0 else words[0] * 0
            else:
                dense = scene.levels_of[source][:, column] if column >= 0 else words[0] * 0
            items, windows = scene.items(concept, dense)
            ap = average_precision(*[[level for level, *_ in rows] for rows in (items, windows)])
            return column, f1, ap if column >= 0 or np.isnan(ap) else 0.0

        row = table.loc[i]
        column, *values = best("words")
        assert row["kmer"] == (ALL_WORDS[column] if column >= 0 else "") and rivals.words[i] == column
        assert row[["kmer_f1", "kmer_ap"]].tolist() == pytest.approx(values, nan_ok=True)
        column, *values = best("directions", parts["directions"])
        assert row["dimension"] == ("" if column < 0 else f"{'+-'[column % 2]}{column // 2}")
        assert row[["dimension_f1", "dimension_ap"]].tolist() == pytest.approx(values, nan_ok=True)
        _, *values = best("directions", parts["random"])
        assert row[["random_sae_f1", "random_sae_ap"]].tolist() == pytest.approx(values, nan_ok=True)
        both = np.array([best("random-0")[1:], best("random-1")[1:]])
        assert row[["untrained_f1", "untrained_ap"]].tolist() == pytest.approx(list(np.fmax(*both)), nan_ok=True)
        assert np.isnan(row["permuted_f1"]) and row["permuted_ap"] in (0, pytest.approx(np.nan, nan_ok=True))
        both = np.array([best("seed-0")[1:], best("seed-1")[1:]])
        for name, expected in (("min", np.fmin(*both)), ("max", np.fmax(*both))):
            found = row[[f"seeds_f1_{name}", f"seeds_ap_{name}"]].tolist()
            assert found == pytest.approx(list(expected), nan_ok=True)


def test_without_untrained_models_and_seeds_there_are_no_columns_of_them():
    scene = draw_scene(0, n=300, sites=3, others=SOURCES)
    gathered = gathered_for(scene, np.random.default_rng(0))
    gathered.counts = {name: gathered.counts[name] for name in ("features", "words", "directions")}
    table = scene.through(Rivals(pairs_on(scene, [(4, 1, 0)]), gathered)).table()
    kinds = ("kmer", "dimension", "random_sae")
    assert set(table) == {"kmer", "dimension", *(f"{kind}_{score}" for kind in kinds for score in ("f1", "ap"))}
