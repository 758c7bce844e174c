import dataclasses
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
import torch
from control_samples import columns, draw_sample, make_sample, make_sites
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.controls import baselines as module
from sae_tracks.controls.baselines import (
    QUANTILES,
    best_kmers,
    best_neurons,
    best_random_features,
    causal_reference,
    firing_bases,
    flanks,
    kmer_cells,
    kmer_name,
    probe_neurons,
    probe_sequence,
    random_cells,
)
from sae_tracks.controls.best import Best, Cells, best, best_cut
from sae_tracks.controls.linear import RIDGE, probe
from sae_tracks.controls.sample import Sites
from sae_tracks.motifs import Motif, causal_scores, loss_limit, markov2

NONE = np.zeros(0, np.int64)
seeds = st.integers(0, 2**32 - 1)


def labelled(dense: np.ndarray) -> Sites:
    """Sites with labels only."""
    return Sites(np.zeros(dense.shape[1] + 1, np.int64), NONE, NONE, NONE.astype(float), columns(dense))


def f1(active: np.ndarray, labels: np.ndarray) -> float:
    total = active.sum() + labels.sum()
    return 2 * (active & labels).sum() / total if total else np.nan


def dense(sites: Sites, n: int) -> np.ndarray:
    return np.stack([sites.labels.dense(c, n) > 0 for c in range(len(sites.labels))], axis=1)


def of_half(sample, half: int) -> np.ndarray:
    return np.array([bool(r) and sample.half[b] == half for r, b in zip(sample.readable, sample.bin_of_base())])


def wide_sample(n: int = 20_000, d_model: int = 6, seed: int = 0, features: int = 4, **kwargs):
    """Four bins, halves by turns."""
    drawn = np.random.default_rng(seed).random((n, features))
    active = np.where(drawn < 0.02 * np.arange(features), 1 + drawn, 0)
    return make_sample(active, bins=[n // 4] * 4, half=[0, 1, 0, 1], d_model=d_model, seed=seed, **kwargs)


# the choice


@given(seeds, st.integers(1, 5), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_the_best_column_and_threshold_are_those_of_trying_all(seed, k, depth):
    sample, sites = draw_sample(seed, n=200)
    rng = np.random.default_rng(seed)
    level = rng.integers(0, depth + 1, (len(sample), k))  # how many thresholds a base exceeds
    rows = [[j * depth + v - 1 for j, v in enumerate(row) if v] for row in level.tolist()]
    indptr = np.cumsum([0, *map(len, rows)])
    half = sample.half_of_base()
    found = best(Cells(indptr, np.int32([c for row in rows for c in row]), k, depth), sites.labels, half)

    select, report, labels = of_half(sample, 0), of_half(sample, 1), dense(sites, len(sample))
    for c in range(labels.shape[1]):
        chosen, most = (-1, -1), 0.0
        for j in range(k):
            for t in range(depth):
                here = f1((level[:, j] > t)[select], labels[select, c])
                if here > most:
                    chosen, most = (j, t), here
        assert (found.column[c], found.threshold[c]) == chosen
        assert found.select_f1[c] == pytest.approx(most)
        expected = f1((level[:, chosen[0]] > chosen[1])[report], labels[report, c]) if most else np.nan
        assert found.f1[c] == pytest.approx(expected, nan_ok=True)


def test_entries_that_exceed_nothing_and_unreadable_bases_do_not_count():
    sample = make_sample(np.zeros((4, 1)), bins=[2, 2], half=[0, 1], unreadable=[1, 3])
    cells = Cells(np.arange(5), np.int32([0, 0, 0, 0]), 1)
    half = sample.half_of_base()
    found = best(cells, columns(np.array([[1], [0], [1], [0]])), half)
    assert (found.select_f1[0], found.f1[0]) == (1, 1)
    none = best(dataclasses.replace(cells, cell=np.full(4, -1, np.int32)), columns(np.ones((4, 1))), half)
    assert (none.column[0], none.select_f1[0]) == (-1, 0)
    assert np.isnan(none.f1[0])


def test_of_two_results_the_first_stays_where_they_tie():
    one = Best(np.array([3, 3, -1]), np.array([1, 1, -1]), np.array([0.5, 0.5, 0]), np.array([0.4, 0.4, np.nan]))
    other = Best(np.array([0, 1, 2]), np.array([0, 2, 0]), np.array([0.5, 0.6, 0.1]), np.array([0.9, 0.3, 0.2]))
    both = one.or_better(other, 10)
    assert both.column.tolist() == [3, 11, 12]
    assert both.threshold.tolist() == [1, 2, 0]
    assert both.f1.tolist() == [0.4, 0.3, 0.2]


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_the_best_cut_is_that_of_trying_every_score(seed):
    sample, sites = draw_sample(seed, n=120)
    score = np.random.default_rng(seed).integers(0, 12, len(sample)) / 8
    select, report, labels = of_half(sample, 0), of_half(sample, 1), dense(sites, len(sample))
    for c in range(labels.shape[1]):
        cut, select_f1, report_f1 = best_cut(score, labels[:, c], sample.half_of_base())
        if not (select & labels[:, c]).any():
            assert np.isnan([cut, select_f1, report_f1]).all()
            continue
        assert select_f1 == pytest.approx(max(f1((score >= s)[select], labels[select, c]) for s in set(score.tolist())))
        assert report_f1 == pytest.approx(f1((score >= cut)[report], labels[report, c]), nan_ok=True)


# k-mers


def occurrences(sample) -> dict[str, np.ndarray]:
    """The bases that each k-mer covers, by a walk along every bin."""
    covered = defaultdict(lambda: np.zeros(len(sample), bool))
    for start, end in zip(sample.offset, sample.offset[1:]):
        text = sample.letters[start:end].tobytes().decode()
        for k in range(1, 7):
            for i in range(len(text) - k + 1):
                if set(text[i : i + k]) <= set("ACGT"):
                    covered[text[i : i + k]][start + i : start + i + k] = True
    return covered


@given(seeds, st.sampled_from([b"ACGT", b"AAAC", b"AN"]))
@settings(max_examples=30, deadline=None)
def test_the_best_kmer_is_that_of_a_walk_along_the_sequence(seed, alphabet):
    sample, sites = draw_sample(seed, n=150)
    letters = np.random.default_rng(seed).choice(np.frombuffer(alphabet, np.uint8), len(sample))
    sample = dataclasses.replace(sample, letters=letters)
    found, covered = best_kmers(sample, sites), occurrences(sample)
    ordered = sorted(covered, key=lambda kmer: (len(kmer), kmer))
    select, report, labels = of_half(sample, 0), of_half(sample, 1), dense(sites, len(sample))
    for c, row in enumerate(found.itertuples()):
        scores = [f1(covered[kmer][select], labels[select, c]) for kmer in ordered]
        most = max((s for s in scores if s > 0), default=0)
        assert row.kmer_select_f1 == pytest.approx(most)
        assert row.kmer == (ordered[int(np.argmax(scores))] if most else "")
        expected = f1(covered[row.kmer][report], labels[report, c]) if most else np.nan
        assert row.kmer_f1 == pytest.approx(expected, nan_ok=True)


def test_kmers_are_numbered_by_length_and_alphabet():
    names = [kmer_name(i) for i in range(5460)]
    assert names == sorted(names, key=lambda name: (len(name), name))
    assert len(set(names)) == 5460
    assert (names[0], names[4], names[-1], kmer_name(-1)) == ("A", "AA", "TTTTTT", "")


def test_kmers_do_not_run_over_borders_of_bins_nor_n():
    sample = make_sample(np.zeros((7, 1)), bins=[3, 4], unreadable=[5], letters=b"ACGACNA")
    cells = kmer_cells(sample)
    here = [sorted({kmer_name(c) for c in row if c >= 0}) for row in cells.cell.reshape(7, -1).tolist()]
    assert here[2] == ["ACG", "CG", "G"]
    assert here[3] == ["A", "AC"]
    assert here[5] == []
    assert here[6] == ["A"]


def test_a_label_that_is_a_word_is_found():
    sample = wide_sample(seed=1)
    words = ["A", "C", "G", "T", "GATA", "CCGTA"]
    found = best_kmers(sample, labelled(np.stack([occurrences(sample)[w] for w in words], axis=1)))
    assert found["kmer"].tolist() == words
    assert found["kmer_f1"].tolist() == [1] * 6


# linear probes


def ridge_by_least_squares(x: np.ndarray, y: np.ndarray, select: np.ndarray) -> np.ndarray:
    """Scores of a ridge regression, solved as least squares with rows added for the penalty."""
    m, scale = select.sum(), x[select].std(axis=0)
    z = (x - x[select].mean(axis=0)) / scale
    rows = np.vstack(
        [np.column_stack([z[select], np.ones(m)]), np.eye(x.shape[1], x.shape[1] + 1) * np.sqrt(m * RIDGE)]
    )
    solved = np.linalg.lstsq(rows, np.concatenate([y[select], np.zeros(x.shape[1])]), rcond=None)[0]
    return z @ solved[:-1] + solved[-1]


def test_a_probe_is_ridge_regression_with_the_best_cut():
    sample, rng = wide_sample(unreadable=range(100, 200)), np.random.default_rng(1)
    x = rng.normal(3, [1, 10, 0.1, 1], (len(sample), 4))
    x[:, 3] = x[:, 0] + 0.1 * x[:, 3]
    logit = x @ [2, 0.1, 4, -1] - 10
    shares = np.array([0.5, 0.9, 0.99])
    labels = (logit + rng.normal(0, 1, len(x)))[:, None] > np.quantile(logit, shares)
    labels &= sample.readable[:, None]
    found = probe(lambda part: x[part].astype(np.float32), 4, columns(labels), sample.half_of_base())

    select, report = of_half(sample, 0), of_half(sample, 1)
    for c in range(3):
        score = ridge_by_least_squares(x, labels[:, c].astype(float), select)
        cuts = np.quantile(score[select], np.linspace(0, 0.9999, 3000))
        cut = max(cuts, key=lambda s: f1((score > s)[select], labels[select, c]))
        assert found[c] == pytest.approx(f1((score > cut)[report], labels[report, c]), abs=0.01)


@pytest.mark.parametrize("shift", [0, 300])
def test_a_rare_label_that_one_input_tells_is_not_lost_among_the_highest_scores(shift):
    sample = wide_sample()
    labels = np.zeros((len(sample), 2), bool)
    labels[[50, 5050, 10050], 0] = True  # no more than 2 of 10,000 bases choose
    inputs = labels.astype(np.float32) + np.float32(shift)  # the second one is constant
    found = probe(lambda part: inputs[part], 2, columns(labels), sample.half_of_base())
    assert found[0] == 1
    assert np.isnan(found[1])


def test_the_flanks_of_a_base_are_its_one_hot_neighbours():
    sample = make_sample(np.zeros((60, 1)), bins=[25, 35], unreadable=[3, 30])
    design = flanks(sample)
    for i in range(60):
        row = np.zeros((31, 4))
        low, high = (0, 25) if i < 25 else (25, 60)
        for j in range(max(i - 15, low), min(i + 16, high)):
            if sample.readable[j]:
                row[j - i + 15, b"ACGT".index(sample.letters[j])] = 1
        assert np.array_equal(design(slice(i, i + 1)), row.reshape(1, -1))
    assert np.array_equal(design(slice(20, 60))[5:], design(slice(25, 60)))


def test_a_label_linear_in_the_sequence_is_learned_and_one_drawn_at_random_is_not():
    sample, rng = wide_sample(), np.random.default_rng(2)
    score = flanks(sample)(slice(0, len(sample))) @ rng.normal(size=124)
    labels = np.stack([score > np.quantile(score, 0.8), rng.random(len(score)) < 0.02], axis=1)
    linear, drawn = probe_sequence(sample, labelled(labels))
    assert linear > 0.93
    assert drawn < 0.08


# dimensions of the language model


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_the_best_dimension_is_that_of_trying_all(seed):
    sample, sites = draw_sample(seed, n=300)
    values = np.random.default_rng(seed).integers(-20, 20, sample.activations.shape).astype(np.float16)  # with ties
    sample = dataclasses.replace(sample, activations=values)
    found = best_neurons(sample, sites)
    select, report, labels = of_half(sample, 0), of_half(sample, 1), dense(sites, len(sample))
    for c, row in enumerate(found.itertuples()):
        tried = []
        for channel in range(values.shape[1]):
            for sign in (1, -1):
                x = sign * values[:, channel].astype(float)
                for q in QUANTILES:
                    above = x > sorted(x[select])[int(q * select.sum())]
                    name = f"{'+' if sign > 0 else '-'}{channel}"
                    tried.append((f1(above[select], labels[select, c]), name, f1(above[report], labels[report, c])))
        most = max(tried, key=lambda one: np.nan_to_num(one[0]))
        if np.nan_to_num(most[0]) > 0:
            assert row.neuron == most[1]
            assert row.neuron_f1 == pytest.approx(most[2], nan_ok=True)
        else:
            assert row.neuron == ""
            assert np.isnan(row.neuron_f1)


def test_a_label_that_is_one_dimension_beyond_a_value_is_found():
    sample = wide_sample(d_model=40)  # more than are looked at together
    x = sample.activations.astype(float)
    labels = np.stack([x[:, 5] > np.quantile(x[:, 5], 0.98), x[:, 33] < np.quantile(x[:, 33], 0.25)], axis=1)
    found = best_neurons(sample, labelled(labels))
    assert found["neuron"].tolist() == ["+5", "-33"]
    assert found["neuron_f1"].min() > 0.97


def test_a_linear_combination_of_dimensions_is_learned_by_the_probe_alone():
    sample = wide_sample(d_model=40)
    score = sample.activations.astype(float) @ np.random.default_rng(3).normal(size=40)
    sites = labelled((score > np.quantile(score, 0.9))[:, None])
    assert probe_neurons(sample, sites)[0] > 0.9
    assert best_neurons(sample, sites)["neuron_f1"][0] < 0.6


# a random autoencoder


def random_directions(d_sae: int, d_model: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((d_sae, d_model), np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_random_features_fire_as_often_as_the_trained_ones():
    sample = wide_sample(features=12, unreadable=range(5000, 5300))
    half = sample.half_of_base()
    wanted = firing_bases(sample.features, half)
    assert wanted.tolist() == [(sample.features.dense(i, len(sample)) > 0)[half == 0].sum() for i in range(12)]
    assert wanted[0] == 0
    cells = random_cells(sample, half, random_directions(11, 6, 4), wanted[1:])
    base = np.repeat(np.arange(len(sample)), np.diff(cells.indptr))
    feature, active = cells.cell // cells.depth, cells.cell >= 0
    fired = [np.bincount(feature[active & (half[base] == h)], minlength=11) for h in (0, 1)]
    assert np.abs(fired[0] - wanted[1:]).max() <= 2  # fp16 values tie
    share = wanted[1:] / (half == 0).sum()
    error = np.sqrt(share * (1 - share) * (half == 1).sum())
    assert (np.abs(fired[1] - share * (half == 1).sum()) < 6 * error).all()
    assert not np.bincount(base[active], minlength=len(sample))[5000:5300].any()


@pytest.mark.parametrize("few", [1 << 15, 400])
def test_the_best_random_feature_is_that_of_a_dense_encoder(monkeypatch, few):
    monkeypatch.setattr(module, "FEW", few)
    monkeypatch.setattr(module, "ENTRIES", 0.3)  # a few features at a time
    sample, rng = wide_sample(features=12), np.random.default_rng(5)
    x = sample.activations.astype(float)
    labels = (x @ rng.normal(size=(6, 3)) + rng.normal(size=(len(x), 3))) > 4
    found = best_random_features(sample, labelled(labels), 7)

    select, report = of_half(sample, 0), of_half(sample, 1)
    for c in range(3):
        tried = []
        for i, direction in enumerate(random_directions(12, 6, 7)):
            wanted = (sample.features.dense(i, len(sample)) > 0)[select].sum()
            if wanted:
                h = x @ direction
                h = np.maximum(h - np.sort(h[select])[-wanted] + 1e-9, 0)
                for t in (0, 0.15, 0.5, 0.6, 0.8):
                    active = h > t * h[select].max()
                    tried.append((f1(active[select], labels[select, c]), f1(active[report], labels[report, c])))
        assert found[c] == pytest.approx(max(tried)[1], abs=0.004)  # float32 and float64 differ in a base or two


def test_a_feature_that_fires_everywhere_and_one_that_never_does():
    n = 400
    sample = make_sample(np.column_stack([np.ones(n), np.zeros(n)]), bins=[200, 200], half=[0, 1])
    labels = np.random.default_rng(0).random((n, 1)) < 0.5
    found = best_random_features(sample, labelled(labels), 0)
    assert 0.5 < found[0] < 0.8  # at threshold 0 nearly all bases
    silent = dataclasses.replace(sample, features=columns(np.zeros((n, 2))))
    assert np.isnan(best_random_features(silent, labelled(labels), 0)).all()


def test_random_features_of_activations_that_tie_fire_on_all_of_a_tie():
    """Four activations in all: what fires, fires wherever a letter is."""
    n, rng = 4000, np.random.default_rng(0)
    sample = make_sample(rng.random((n, 3)) < 0.1, bins=[2000, 2000], half=[0, 1])
    letters = np.eye(4, dtype=np.float16)[rng.integers(0, 4, n)]
    sample = dataclasses.replace(sample, activations=letters)
    found = best_random_features(sample, labelled(letters > 0), 0)
    highest = {direction.argmax() for direction in random_directions(3, 4, 0)}  # the letter that each fires on
    assert [value == 1 for value in found] == [letter in highest for letter in range(4)]


# a reader from left to right


def test_a_motif_of_one_base_is_known_as_it_is_read():
    motif = Motif("M1", "", np.array([[0.0, 0, 0, 50]]))
    for strand, letter in (("+", b"T"), ("-", b"T")):
        sample = wide_sample(read_strand=strand)
        labels = (sample.letters == letter[0])[:, None]
        assert causal_reference(sample, labelled(labels), {0: motif}, p=0.3)[0] == 1


def planted(strand: str):
    """A sample with a word of 8 bases at 120 places, its labels, and the motif of that word."""
    word, rng, n = b"GATTACCA", np.random.default_rng(8), 16_000
    text = bytearray(rng.choice(np.frombuffer(b"ACGT", np.uint8), n).tobytes())
    for start in rng.choice(n // 20 - 1, 120, replace=False) * 20:
        text[start : start + 8] = word
    sample = make_sample(np.zeros((n, 1)), bins=[4000] * 4, half=[0, 1, 0, 1], letters=bytes(text), read_strand=strand)
    labels = np.zeros((n, 2), bool)
    for start in range(n - 7):
        if text[start : start + 8] == word and start // 4000 == (start + 7) // 4000:
            labels[start : start + 8, 0] = True
    return sample, labels, Motif("M8", "", 100.0 * np.eye(4)[[b"ACGT".index(c) for c in word]])


def test_the_reference_reads_bin_by_bin_in_the_direction_of_the_model():
    complement = bytes.maketrans(b"ACGT", b"TGCA")
    for strand in "+-":
        sample, labels, motif = planted(strand)
        found = causal_reference(sample, labelled(labels), {0: motif})
        turn = slice(None, None, 1 if strand == "+" else -1)
        along = motif if strand == "+" else motif.reverse_complement()
        bins = [sample.letters[s:e].tobytes() for s, e in zip(sample.offset, sample.offset[1:])]
        read = [text if strand == "+" else text.translate(complement)[::-1] for text in bins]
        chosen = [read[0], read[2]] if strand == "+" else [read[2], read[0]]
        background = markov2(b"N".join(chosen))
        score = np.concatenate([causal_scores(along, loss_limit(along), text, background)[turn] for text in read])
        cut, _, expected = best_cut(score, labels[:, 0], sample.half_of_base())
        assert found[0] == pytest.approx(expected, abs=1e-12)
        assert np.isnan(found[1])
        assert 0.5 < found[0] < 0.95  # the first bases of a site are not known
        assert cut > 0


def test_a_mirrored_genome_read_backwards_gives_the_same():
    sample, labels, motif = planted("+")
    mirrored = dataclasses.replace(
        sample,
        read_strand="-",
        half=sample.half[::-1],
        letters=np.frombuffer(sample.letters.tobytes().translate(bytes.maketrans(b"ACGT", b"TGCA"))[::-1], np.uint8),
    )
    forward = causal_reference(sample, labelled(labels), {0: motif})
    backward = causal_reference(mirrored, labelled(labels[::-1]), {0: motif.reverse_complement()})
    assert backward[0] == pytest.approx(forward[0], abs=1e-12)


# all together


COLUMNS = ["kmer", "kmer_f1", "probe_f1", "neuron", "neuron_f1", "lm_probe_f1", "random_sae_f1"]
SCORES = [name for name in COLUMNS if name.endswith("_f1")]


def baselines(sample, sites, *, seed):
    """Every baseline of every concept."""
    kmers = best_kmers(sample, sites)[["kmer", "kmer_f1"]]
    rest = {"probe_f1": probe_sequence(sample, sites), "lm_probe_f1": probe_neurons(sample, sites)}
    rest["random_sae_f1"] = best_random_features(sample, sites, seed)
    return pd.concat([kmers, best_neurons(sample, sites), pd.DataFrame(rest)], axis=1)


def test_labels_of_the_report_half_do_not_influence_the_choice():
    """One choice for three concepts that differ on the report half: some bases, the others, all of them.

    What is active follows from the F1 of "all", true positives from the other two, and must add up.
    """
    sample, rng = wide_sample(features=8), np.random.default_rng(9)
    select, report = of_half(sample, 0), of_half(sample, 1)
    some = rng.random(len(sample)) < 0.3
    drawn = select & (rng.random(len(sample)) < 0.1)
    labels = np.stack([drawn | (report & part) for part in (some, ~some, np.ones(len(sample), bool))], axis=1)
    found = baselines(sample, labelled(labels), seed=1)
    assert found["kmer"].nunique() == found["neuron"].nunique() == 1
    for name in SCORES:
        scores, sizes = found[name].to_numpy(), labels[report].sum(axis=0)
        active = scores[2] * sizes[2] / (2 - scores[2])
        hits = scores[:2] * (active + sizes[:2]) / 2
        assert hits.sum() == pytest.approx(active, rel=1e-6)
        assert active > 0


def test_labels_drawn_at_random_are_not_explained():
    sample, rng = wide_sample(features=8, d_model=20), np.random.default_rng(10)
    found = baselines(sample, labelled(rng.random((len(sample), 20)) < 0.01), seed=1)
    assert (found[SCORES].mean() < 0.03).all()
    assert best_kmers(sample, labelled(rng.random((len(sample), 20)) < 0.01))["kmer_select_f1"].mean() > 0.05


def test_a_row_a_concept_and_nothing_where_the_select_half_is_empty():
    sample, sites = draw_sample(3)
    found = baselines(sample, sites, seed=0)
    assert set(found.columns) == set(COLUMNS)
    assert len(found) == len(sites.labels)
    assert found[SCORES].iloc[-1].isna().all()  # the last concept has no site
    assert found[["kmer", "neuron"]].iloc[-1].tolist() == ["", ""]
    reports = dataclasses.replace(sample, half=np.ones_like(sample.half))
    nothing = baselines(reports, sites, seed=0)
    assert nothing[SCORES].isna().all(axis=None)
    assert nothing[["kmer", "neuron"]].eq("").all(axis=None)


def test_the_number_of_threads_does_not_matter():
    sample, rng = wide_sample(features=8), np.random.default_rng(11)
    sites = labelled(rng.random((len(sample), 70)) < 0.05)
    threads, found = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        found.append(baselines(sample, sites, seed=1))
    torch.set_num_threads(threads)
    assert found[0].equals(found[1])


def test_sites_with_instances_are_scored_by_their_labels():
    sample = wide_sample(n=400)
    sites = make_sites(sample, [[(3, 9), (110, 120)], [(5, 8), (6, 12)]])
    alone = labelled(dense(sites, len(sample)))
    assert baselines(sample, sites, seed=0).equals(baselines(sample, alone, seed=0))
