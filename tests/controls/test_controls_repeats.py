"""Matches inside and outside of repeats, and against other concepts: dense oracles, and planted truth."""

import numpy as np
import pandas as pd
import pytest
from control_samples import columns, draw_sample, make_sample, make_sites

from sae_tracks.controls.control import ControlData, ControlInputs, measure
from sae_tracks.controls.pairs import Pairs, Reported
from sae_tracks.controls.specificity import in_repeats, motif_clusters, selectivity

SEEDS = range(8)


def pairs_of(rows):
    """From (concept, feature, cutoff)."""
    concept, feature, cutoff = zip(*rows)
    return Pairs(np.array(concept, np.int64), np.array(feature, np.int64), np.array(cutoff, np.float32))


def concepts_of(*names):
    return pd.DataFrame({"concept": names, "site_strand": "+"}, dtype=object)


def every_pair(sample, sites):
    return pairs_of([(c, f, 0.75) for c in range(len(sites.labels)) for f in range(len(sample.features))])


def f1(active, labelled):
    both = active.sum() + labelled.sum()
    return 2 * (active & labelled).sum() / both if both else np.nan


def share(part, whole):
    return part / whole if whole else np.nan


@pytest.mark.parametrize("seed", SEEDS)
def test_what_lies_in_repeats(seed):
    sample, sites = draw_sample(seed, n=900, bins=14, instances=60)
    rng = np.random.default_rng(seed)
    classes = np.repeat(rng.random((30, 3)) < 0.2, 30, axis=0) & sample.readable[:, None]
    pairs = every_pair(sample, sites)
    table = in_repeats(Reported(sample, sites, pairs), columns(classes), ["SINE", "LINE", "LTR"])
    counted, free = sample.in_half(1), ~classes.any(axis=1)
    for i, (c, f) in enumerate(zip(pairs.concept, pairs.feature)):
        active = (sample.features.dense(f, 900) > 0.75) & counted
        labelled = (sites.labels.dense(c, 900) > 0) & counted
        tp = active & labelled
        by_class = [(tp & of).sum() for of in classes.T]
        of = sites.of(c)
        instances = [slice(s, e) for s, e in zip(sites.start[of], sites.end[of]) if counted[s:e].any()]
        outside = sum(free[inside].all() for inside in instances) if of.stop > of.start else (labelled & free).sum()
        f1_outside = f1(active & free, labelled & free) if outside >= 10 else np.nan
        row = table.loc[i]
        assert row["repeat_class"] == (["SINE", "LINE", "LTR"][np.argmax(by_class)] if any(by_class) else "")
        assert row.drop("repeat_class").astype(float).tolist() == pytest.approx(
            [
                share(max(by_class), tp.sum()),
                share((tp & ~free).sum(), tp.sum()),
                outside,
                f1_outside,
                share(f1_outside, f1(active, labelled)),
            ],
            nan_ok=True,
        )
    assert table["outside_ratio"].notna().any() and table["f1_outside_repeats"].isna().any()


def test_a_feature_of_a_repeat_has_no_f1_outside_and_one_of_the_motif_keeps_it():
    n, motif, repeat = 20_000, np.zeros(20_000, bool), np.zeros(20_000, bool)
    sites = [(start, start + 12) for start in range(300, n - 300, 400)]
    for i, (start, end) in enumerate(sites):
        motif[start:end] = True
        repeat[start - 150 : start + 150] |= i % 3 > 0  # two thirds of the sites lie in a repeat
    features = np.stack([motif & repeat, motif, repeat], axis=1).astype(float)
    sample = make_sample(features, bins=[5000] * 4, half=[1] * 4)
    reported = Reported(sample, make_sites(sample, [sites]), pairs_of([(0, 0, 0.5), (0, 1, 0.5), (0, 2, 0.5)]))
    table = in_repeats(reported, columns(np.stack([repeat * 0, repeat], axis=1)), ["LINE", "Alu"])
    assert set(table["repeat_class"]) == {"Alu"} and set(table["instances_outside_repeats"]) == {17}
    assert table["f1_outside_repeats"].tolist() == table["outside_ratio"].tolist() == [0, 1, 0]
    assert table["repeat_share"].tolist() == pytest.approx([1, 32 / 49, 1])


def test_where_too_few_sites_lie_outside_no_f1_is_told():
    features = np.ones((400, 1))
    sample = make_sample(features)
    for inside, expected in ((9, 11 / (11 + 200)), (11, np.nan)):
        sites = make_sites(sample, [[(20 * i, 20 * i + 1) for i in range(20)]])
        repeat = np.zeros((400, 1))
        repeat[[20 * i for i in range(inside)]] = 1
        table = in_repeats(Reported(sample, sites, pairs_of([(0, 0, 0)])), columns(repeat), ["Alu"])
        assert table["instances_outside_repeats"].tolist() == [20 - inside]
        active = 400 - inside
        expected = 2 * 11 / (11 + active) if inside == 9 else np.nan
        assert table["f1_outside_repeats"].tolist() == pytest.approx([expected], nan_ok=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_margin_is_to_the_best_concept_of_another_cluster(seed):
    sample, sites = draw_sample(seed, concepts=6, density=0.4)
    cluster, pairs = np.array([0, 1, 0, 2, 3, 3]), every_pair(sample, sites)
    table = selectivity(Reported(sample, sites, pairs), cluster)
    counted = sample.in_half(1)
    labels = [(sites.labels.dense(c, len(sample)) > 0) & counted for c in range(6)]
    for i, (c, f) in enumerate(zip(pairs.concept, pairs.feature)):
        active = (sample.features.dense(f, len(sample)) > 0.75) & counted
        of = {k: f1(active, labels[k]) for k in range(6) if cluster[k] != cluster[c] and labels[k].any()}
        own = f1(active, labels[c])
        if np.isnan(own) or not of:
            assert np.isnan(table["margin"][i]) and table["next_concept"][i] == -1
        else:
            assert table["margin"][i] == pytest.approx(own - max(of.values()))
            assert table["next_concept"][i] == max(of, key=of.__getitem__)


def test_motifs_of_the_same_bases_and_both_strands_of_a_name_are_one_cluster():
    sample = make_sample(np.zeros((900, 1)))
    spans = [(i, i + 10) for i in range(0, 400, 20)]
    moved = [(start + 2, end + 2) for start, end in spans]  # Jaccard 8 / 12
    far = [(start + 5, end + 5) for start, end in spans]  # 5 / 15 with the first, 7 / 13 with the second
    other = [(i, i + 10) for i in range(500, 800, 20)]
    sites = make_sites(sample, [spans, moved, far, other, [(810, 820)], []])
    # far is 1/3 and 7/13 alike to the first two: (1/3 + 7/13) / 2 < 1/2, which average linkage leaves alone
    assert motif_clusters(sites, concepts_of(*"abcdef")).tolist() == [0, 0, 1, 2, 3, 4]
    assert motif_clusters(sites, concepts_of("a", "b", "c", "d", "d", "a")).tolist() == [0, 0, 1, 2, 2, 0]
    assert motif_clusters(sites, concepts_of("a", "b", "c", "b", "e", "f")).tolist() == [0, 0, 1, 0, 2, 3]
    near = [(start + 4, end + 4) for start, end in spans]  # 6 / 14 and 8 / 12: more than half on average
    assert motif_clusters(make_sites(sample, [spans, moved, near]), concepts_of(*"abc")).tolist() == [0, 0, 0]
    assert motif_clusters(make_sites(sample, [spans]), concepts_of("a")).tolist() == [0]


def planted():
    """Two motifs with close relatives, features of one, of both and of a repeat; and the sites' scores."""
    rng = np.random.default_rng(0)
    n, starts = 60_000, np.arange(200, 59_800, 300)
    first, second = starts[::2], starts[1::2]
    strength = rng.uniform(400, 500, len(first))
    features = np.zeros((n, 3))
    for start, score in zip(first, strength):
        features[start : start + 10, 0] = score / 100
    for start in starts:
        features[start : start + 10, 1] = 1
    repeat = np.zeros((n, 1))
    for start in first[::2]:
        repeat[start - 50 : start + 50] = 1
    features[:, 2] = repeat[:, 0]
    sample = make_sample(features, bins=[5000] * 12)
    spans = [[(s, s + 10) for s in first], [(s, s + 9) for s in first], [(s, s + 10) for s in second]]
    sites = make_sites(sample, spans, [strength, strength, rng.uniform(400, 500, len(second))])
    return sample, sites, columns(repeat), pairs_of([(0, 0, 0.5), (0, 1, 0.5), (0, 2, 0.5), (2, 0, 0.5)])


def examine(sample, sites, pairs, concepts, *, repeats, repeat_names, seed):
    """All columns of the controls."""
    instances, cutoffs = np.diff(sites.indptr), np.zeros((1, len(sample.features)), np.float32)
    inputs, names = ControlInputs(seed=seed), concepts.assign(site_strand="+")
    known = {"repeats": repeats, "repeat_names": repeat_names}
    return measure(ControlData(sample, sites, pairs, names, instances, cutoffs, inputs, **known))


def test_planted_truth_in_one_table():
    sample, sites, repeats, pairs = planted()
    table = examine(sample, sites, pairs, concepts_of(*"abc"), repeats=repeats, repeat_names=["Alu"], seed=0)
    assert len(table) == 4 and set(table["bins"]) == {6}
    assert table["sample_f1"].tolist() == pytest.approx([1, 2 / 3, 2 * 10 / (100 + 2 * 10), 0], abs=0.02)
    assert table.loc[0, ["f1_low", "f1_high", "average_precision", "site_average_precision"]].tolist() == [1] * 4
    assert table["spearman"][0] == pytest.approx(1, abs=1e-6) and table["spearman"][1:3].isna().tolist() == [
        True,
        False,
    ]
    assert table["lag"].tolist() == pytest.approx([0, 0, 0, np.nan], nan_ok=True)
    assert table["shift_p"][0] <= 0.05 and table["shift_p"][3] == 1
    assert table["f1_outside_repeats"].tolist() == pytest.approx([1, 0.5, 0, 0], abs=0.02)
    assert table["repeat_share"].tolist() == pytest.approx([0.5, 0.5, 1, np.nan], abs=0.03, nan_ok=True)
    assert table["repeat_class"].tolist() == ["Alu", "Alu", "Alu", ""]
    # the relative of the first motif is in its cluster, so the third is next
    assert table["next_concept"].tolist() == [*"ccca"]
    assert table["margin"].tolist() == pytest.approx([1, 0, table["sample_f1"][2], -1], abs=0.02)


def test_without_repeats_nothing_is_said_of_them_and_the_seed_decides_all():
    sample, sites, repeats, pairs = planted()
    how = {"concepts": concepts_of(*"abc"), "repeat_names": ["Alu"]}
    with_repeats = examine(sample, sites, pairs, repeats=repeats, seed=1, **how)
    without = examine(sample, sites, pairs, repeats=None, seed=1, **how)
    assert list(without) == list(with_repeats)
    unknown = [name for name in without if "repeat" in name or name == "outside_ratio"]
    assert without[unknown].drop(columns="repeat_class").isna().all(axis=None) and len(unknown) == 6
    assert set(without["repeat_class"]) == {""}
    assert without.drop(columns=unknown).equals(with_repeats.drop(columns=unknown))
    assert examine(sample, sites, pairs, repeats=repeats, seed=1, **how).equals(with_repeats)
