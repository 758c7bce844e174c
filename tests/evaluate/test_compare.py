"""Stability between SAEs: decoder rows matched one to one."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import unit_stats

from sae_tracks.errors import SaeTracksError
from sae_tracks.evaluate.compare import matched_cosine
from sae_tracks.sae import SAE


def of_rows(rows, dead=(), **metadata):
    rows = torch.as_tensor(np.asarray(rows), dtype=torch.float32)
    features, d = rows.shape
    stats = unit_stats(features)
    stats.loc[list(dead), "dead"] = True
    return SAE(rows.T.contiguous(), torch.zeros(features), rows, torch.zeros(d), metadata, stats)


def drawn(features, d, seed):
    return np.random.default_rng(seed).normal(size=(features, d))


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
@settings(max_examples=50)
def test_the_matching_is_the_best_of_all_permutations(n, m, seed):
    a, b = drawn(n, 3, seed), drawn(m, 3, seed + 1)
    unit = [[row / np.sqrt((row**2).sum()) for row in rows] for rows in (a, b)]
    cosines = np.array([[float(x @ y) for y in unit[1]] for x in unit[0]])
    pairs = min(n, m)
    by_hand = [
        [cosines[i, j] for i, j in zip(ours, theirs)]
        for ours in permutations(range(n), pairs)
        for theirs in permutations(range(m), pairs)
    ]
    found = matched_cosine(of_rows(a), of_rows(b))
    best = max(by_hand, key=sum)
    assert found.matched_cosine == pytest.approx(np.mean(best), abs=1e-6)
    assert found.max_cosine == pytest.approx(cosines.max(1).mean(), abs=1e-6)
    assert (found.features, found.others) == (n, m)
    assert found.shared == sum(value > 0.7 for value in best) / n
    assert found.same == sum(value > 0.9 for value in best) / n


def test_a_permuted_copy_of_other_lengths_is_the_same():
    rows = drawn(200, 16, 0)
    shuffled = np.random.default_rng(1).permutation(rows) * np.random.default_rng(2).uniform(0.1, 9, (200, 1))
    found = matched_cosine(of_rows(rows), of_rows(shuffled))
    assert found.matched_cosine == pytest.approx(1, abs=1e-6) and found.max_cosine == pytest.approx(1, abs=1e-6)
    assert (found.shared, found.same) == (1, 1)


def test_random_dictionaries_share_nothing():
    found = matched_cosine(of_rows(drawn(200, 64, 0)), of_rows(drawn(200, 64, 1)))
    assert 0.2 < found.matched_cosine < found.max_cosine < 0.45
    assert (found.shared, found.same) == (0, 0)


def test_the_opposite_direction_is_another_feature():
    assert matched_cosine(of_rows([[1, 0]]), of_rows([[-1, 0]])).matched_cosine == -1


def test_the_shares_count_cosines_on_either_side_of_their_borders():
    turned = [[np.cos(angle), np.sin(angle)] for angle in np.arccos([0.69, 0.71, 0.89, 0.91])]
    pairs = [matched_cosine(of_rows([[1, 0]]), of_rows([row])) for row in turned]
    assert [(pair.shared, pair.same) for pair in pairs] == [(0, 0), (1, 0), (1, 0), (1, 1)]


def test_dead_features_are_left_out():
    a, b = of_rows([[1, 0], [0, 1], [1, 1]], dead=[1]), of_rows([[1, 1], [1, 0], [-1, 0]], dead=[2])
    found = matched_cosine(a, b)
    assert (found.features, found.others, found.matched_cosine) == (2, 2, pytest.approx(1))
    assert matched_cosine(replace(a, stats=None), b).features == 3


def test_a_row_of_zeros_is_like_nothing():
    assert matched_cosine(of_rows([[0, 0], [1, 0]]), of_rows([[1, 0], [0, 1]])).matched_cosine == 0.5


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (of_rows(drawn(3, 4, 0)), of_rows(drawn(3, 5, 0)), "one SAE reads 4 dimensions, the other 5"),
        (
            of_rows(drawn(3, 4, 0), lm={"weights_sha256": "aa", "hook_name": "x"}),
            of_rows(drawn(3, 4, 0), lm={"weights_sha256": "bb", "hook_name": "x"}),
            r"another model each \(aa, bb\)",
        ),
        (
            of_rows(drawn(3, 4, 0), lm={"weights_sha256": "aa", "hook_name": "layers.0"}),
            of_rows(drawn(3, 4, 0), lm={"weights_sha256": "aa", "hook_name": "layers.1"}),
            r"another layer each \(layers.0, layers.1\)",
        ),
        (of_rows(drawn(2, 4, 0), dead=[0, 1]), of_rows(drawn(2, 4, 0)), "all features are dead"),
    ],
)
def test_saes_that_cannot_be_compared_are_refused(one, other, message):
    with pytest.raises(SaeTracksError, match=message) as error:
        matched_cosine(one, other)
    assert "\n" not in str(error.value)


def test_what_is_not_known_does_not_differ():
    assert matched_cosine(of_rows([[1, 0]], lm={"hook_name": "x"}), of_rows([[1, 0]])).same == 1
