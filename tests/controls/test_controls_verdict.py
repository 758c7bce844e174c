"""False discovery rates by decoys, and the verdict: the first test that fails."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sae_tracks.controls.chance import q_values
from sae_tracks.controls.verdict import verdicts

PASSES = {
    "concept": "MA0139.1", "tf": "CTCF", "instances": 200, "sample_instances": 120, "decoy_q": 0.01, "shift_p": np.nan,
    "repeat_share": 0.1, "sample_f1": 0.6, "f1_low": 0.5, "f1_outside_repeats": 0.55, "kmer_f1": 0.2, "probe_f1": 0.3,
    "untrained_f1": 0.1, "permuted_f1": 0.1, "neuron_f1": 0.2,
}  # fmt: skip
EXON = {"concept": "exon", "tf": "", "decoy_q": np.nan}  # an annotation without a matrix


def verdict(**changes):
    return verdicts(pd.DataFrame([PASSES | changes])).iloc[0]


def test_a_match_that_passes_every_test_is_supported():
    assert verdict().tolist() == ["supported", ""]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"instances": 49}, "low-power"),
        ({"instances": 50}, "supported"),
        ({"sample_instances": 49}, "low-power"),  # what the other tests look at
        ({"sample_instances": 50}, "supported"),
        ({"decoy_q": 0.051}, "chance"),
        ({"decoy_q": 0.05}, "supported"),
        (EXON | {"shift_p": 0.051}, "chance"),
        (EXON | {"shift_p": 0.05}, "supported"),
        ({"decoy_q": np.nan, "shift_p": 0.01}, "not-tested"),  # every motif survives a shift
        ({"decoy_q": np.nan, "shift_p": 0.01, "concept": "CTCF"}, "not-tested"),
        ({"decoy_q": np.nan, "shift_p": 0.01, "tf": ""}, "not-tested"),
        ({"decoy_q": 0.01, "shift_p": 0.9}, "supported"),
        ({"f1_outside_repeats": 0.29}, "repeat"),
        ({"f1_outside_repeats": 0.30}, "supported"),
        ({"f1_outside_repeats": np.nan}, "supported"),
        ({"f1_outside_repeats": np.nan, "repeat_share": 0.5}, "repeat"),
        ({"kmer_f1": 0.5}, "sequence"),
        ({"probe_f1": 0.9}, "sequence"),
        ({"untrained_f1": 0.5}, "untrained"),
        ({"permuted_f1": 0.5}, "untrained"),
        ({"neuron_f1": 0.499}, "supported"),
        ({"neuron_f1": 0.5}, "neuron"),
    ],
)
def test_each_test_has_its_bound(changes, expected):
    assert verdict(**changes)["verdict"] == expected


def test_the_first_test_that_fails_gives_the_verdict():
    order = ["low-power", "chance", "repeat", "sequence", "untrained", "neuron"]
    columns = ["instances", "decoy_q", "f1_outside_repeats", "kmer_f1", "untrained_f1", "neuron_f1"]
    everything = dict(zip(columns, [1, 1, 0, 1, 1, 1], strict=True))
    for i, (name, expected) in enumerate(zip(everything, order, strict=True)):
        assert verdict(**dict(list(everything.items())[i:]))["verdict"] == expected, name


@pytest.mark.parametrize(
    ("columns", "name"),
    [(["repeat_share"], "repeat"), (["untrained_f1", "permuted_f1"], "untrained"), (["decoy_q"], "chance")],
)
def test_nothing_is_supported_before_every_test_has_run(columns, name):
    row = verdict(**dict.fromkeys(columns, np.nan))
    assert row.tolist() == ["not-tested", name]
    failing = verdict(**dict.fromkeys(columns, np.nan), instances=3)
    assert failing.tolist() == ["low-power", name]


def test_a_table_without_controls_is_not_tested():
    table = pd.DataFrame({"concept": ["x", "y"], "tf": "", "instances": [100, 10]}, index=[7, 3])
    found = verdicts(table)
    assert found["verdict"].tolist() == ["not-tested", "low-power"]
    assert found["untested"].iloc[0] == "chance,repeat,sequence,untrained,neuron"
    assert found.index.tolist() == [7, 3]


def slow_q(target, decoys):
    """By the definition, one cut-off after another."""
    n, k = decoys.shape
    best = [max(t, *d) for t, d in zip(target, decoys)]
    won = [t > max(d) for t, d in zip(target, decoys)]
    q = np.ones(n)
    for i in range(n):
        if won[i]:
            rates = []
            for cut in sorted(set(best)):
                if cut <= target[i]:
                    above = [j for j in range(n) if best[j] >= cut]
                    losers = sum(not won[j] for j in above)
                    rates.append((1 + losers) / (k * max(sum(won[j] for j in above), 1)))
            q[i] = min(1, *rates)
    return q


scores = st.integers(0, 6).map(lambda x: x / 6)


@given(st.lists(st.lists(scores, min_size=4, max_size=4), min_size=1, max_size=12))
def test_q_values_equal_the_definition(rows):
    table = np.array(rows)
    assert q_values(table[:, 0], table[:, 1:]) == pytest.approx(slow_q(table[:, 0], table[:, 1:]))


def test_q_of_an_unscored_target_is_unknown_and_changes_nothing():
    target, decoys = np.array([0.9, 0.8, np.nan]), np.array([[0.1, 0.1], [0.2, 0.1], [0.5, 0.5]])
    q = q_values(target, decoys)
    assert np.isnan(q[2])
    assert q[:2] == pytest.approx(q_values(target[:2], decoys[:2]))


def test_a_tie_goes_to_the_decoy():
    assert q_values(np.array([0.5, 0.0]), np.array([[0.5], [0.0]])).tolist() == [1, 1]


def test_the_share_of_false_discoveries_is_what_was_asked_for():
    """Nulls score like their decoys; over many draws the mean share of nulls among what is found stays below q."""
    shares = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        real = np.arange(100) < 40
        target, decoys = rng.normal(size=100) + 3 * real, rng.normal(size=(100, 5))
        found = q_values(target, decoys) <= 0.05
        shares.append((found & ~real).sum() / max(found.sum(), 1))
    assert np.mean(shares) < 0.05 + 3 * np.std(shares) / len(shares) ** 0.5
    assert np.mean(shares) > 0.005  # the bound is used, not avoided
