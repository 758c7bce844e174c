"""False discovery rates by decoys, the verdict (the first test that fails), its words, and the strength of a match."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sae_tracks.controls.chance import q_values
from sae_tracks.controls.verdict import BY_NAME, OUTCOMES, RIVALS, TESTS, TEXTS, explain, strength, verdicts

NAN = np.nan
PASSES = {
    "concept": "MA0139.1", "tf": "CTCF", "feature": "f7", "instances": 200, "f1": 0.55,
    "site_average_precision": 0.6, "site_ap_low": 0.5, "site_ap_high": 0.7, "recall_at_half": 0.3, "site_share": 0.4,
    "decoys": 199, "decoy_q": 0.01, "least_q": 0.005, "decoy_ap": 0.2,
    "repeat_share": 0.1, "repeat_class": "Alu", "items_outside_repeats": 100,
    "ap_inside_repeats": 0.6, "ap_outside_repeats": 0.5, "ap_outside_high": 0.55,
    "kmer": "TTACCCG", "kmer_ap": 0.45, "word_auroc": 0.8, "word_auroc_low": 0.7, "word_auroc_high": 0.9,
    "feature_kmer": "TTACCCG", "feature_kmer_f1": 0.5,
    "untrained_ap": 0.1, "permuted_ap": 0.1, "dimension": "+17", "dimension_ap": 0.2,
}  # fmt: skip
EXON = {  # an annotation without a matrix
    "concept": "exon", "tf": "", "decoy_q": NAN, "decoys": NAN, "least_q": NAN,
    "word_auroc": NAN, "word_auroc_low": NAN, "word_auroc_high": NAN,
    "feature_kmer_f1": NAN, "regions": 200, "regions_p": 0.005, "shift_p": 0.01, "regions_q": 0.02, "probe_ap": 0.3,
}  # fmt: skip
NUMBERS = {name for test in TESTS for name in (*test.columns, *test.also, *test.needs)} | {rival.ap for rival in RIVALS}
FAILS = {  # changes with which each test fails, in the order of the tests
    "low-power": {"instances": 49},
    "word": {"word_auroc_low": 0.5},
    "repeat": {"ap_outside_high": 0.29},
    "chance": {"decoy_q": 0.051},
    "context": {"insertion_high": 0.6},
    "untrained": {"permuted_ap": 0.5},
    "dimension": {"dimension_ap": 0.5},
}


def verdict(**changes):
    return verdicts(pd.DataFrame([PASSES | changes])).iloc[0]


def told(**changes):
    """What the page says of a row."""
    row = PASSES | changes
    row = strength(pd.DataFrame([row])).iloc[0].to_dict() | verdict(**changes).to_dict() | row
    blank = dict.fromkeys(TEXTS, "") | dict.fromkeys([*NUMBERS, "regions_p", "shift_p", "causal_ref_f1"], NAN)
    return explain(blank | {"nucleotide": False, "memorised": 0} | row)


@pytest.mark.parametrize("changes", [{}, EXON])
def test_a_match_that_passes_every_test_is_supported(changes):
    assert verdict(**changes).tolist() == ["supported", "", ""]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"instances": 49}, "low-power"),
        ({"instances": 50}, "supported"),
        ({"decoy_q": 0.051}, "chance"),
        ({"decoy_q": 0.05}, "supported"),
        (EXON | {"regions_q": 0.051}, "chance"),
        (EXON | {"regions_q": 0.05}, "supported"),
        ({"regions_q": 0.9}, "supported"),  # regions say nothing about a motif
        (EXON | {"decoy_q": 0.9}, "supported"),  # nor decoys about others
        ({"ap_outside_high": 0.299}, "repeat"),
        ({"ap_outside_high": 0.30}, "supported"),
        ({"ap_outside_repeats": NAN, "ap_outside_high": NAN, "repeat_share": 0.49}, "supported"),
        ({"ap_outside_repeats": NAN, "ap_outside_high": NAN, "repeat_share": 0.5}, "repeat"),
        ({"repeat_share": 0.9}, "supported"),  # as good outside
        ({"repeat_share": NAN}, "supported"),  # no site is hit, but the AP outside is known
        ({"word_auroc_low": 0.5}, "word"),
        ({"word_auroc_low": 0.501}, "supported"),
        ({"word_auroc_low": 0.5, "decoy_q": 0.06}, "word"),  # the word describes the feature, by chance or not
        ({"word_auroc_low": 0.5, "decoy_q": 0.06, "feature_kmer_f1": 0.33}, "chance"),
        ({"word_auroc_low": 0.5, "kmer_ap": 0.5, "feature_kmer_f1": 0.33}, "word"),  # a word does as well
        ({"word_auroc_low": 0.5, "kmer_ap": 0.49, "feature_kmer_f1": 0.33}, "supported"),
        ({"kmer_ap": 0.9}, "supported"),  # of a motif, what the feature adds among the places of the word decides
        ({"probe_ap": 0.9}, "supported"),
        (EXON | {"word_auroc_low": 0.1}, "supported"),
        (EXON | {"kmer_ap": 0.5}, "local-sequence"),
        (EXON | {"probe_ap": 0.5}, "local-sequence"),
        (EXON | {"probe_ap": 0.499}, "supported"),
        ({"insertion_high": 0.601}, "supported"),
        ({"insertion_high": 0.6}, "context"),
        (EXON | {"insertion_high": 0.5}, "supported"),  # it has no words to insert
        ({"insertion_high": NAN}, "supported"),  # the test may be left out
        ({"untrained_ap": 0.5}, "untrained"),
        ({"permuted_ap": 0.5}, "untrained"),
        ({"dimension_ap": 0.499}, "supported"),
        ({"dimension_ap": 0.5}, "dimension"),
        ({"random_sae_ap": 1.0, "decoy_ap": 1.0, "dimension_f1": 1.0, "kmer_f1": 1.0}, "supported"),  # decide nothing
    ],
)
def test_each_test_has_its_bound(changes, expected):
    assert verdict(**changes)["verdict"] == expected


def test_the_first_test_that_fails_gives_the_verdict():
    for i, expected in enumerate(FAILS):
        changes = {name: value for later in list(FAILS)[i:] for name, value in FAILS[later].items()}
        assert verdict(**changes)["verdict"] == expected
    assert list(FAILS) == [test.name for test in TESTS if test.motifs is not False]
    everything = EXON | {"probe_ap": 1, "untrained_ap": 1, "dimension_ap": 1}
    assert verdict(**everything)["verdict"] == "local-sequence"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"decoy_q": NAN}, "chance"),
        ({"decoy_q": NAN, "regions_q": 0.001, "shift_p": 0.01}, "chance"),  # every motif survives a shift
        ({"decoy_q": NAN, "regions_q": 0.001, "concept": "CTCF"}, "chance"),
        ({"decoy_q": NAN, "regions_q": 0.001, "tf": ""}, "chance"),
        (EXON | {"regions_q": NAN}, "chance"),
        ({"repeat_share": NAN, "ap_outside_repeats": NAN, "ap_outside_high": NAN}, "repeat"),
        ({"word_auroc_low": NAN}, "word"),
        (EXON | {"probe_ap": NAN}, "local-sequence"),
        ({"untrained_ap": NAN, "permuted_ap": NAN}, "untrained"),
        ({"dimension_ap": NAN}, "dimension"),
        ({"site_ap_low": NAN}, "untrained,dimension"),  # rivals have nothing to reach
        (EXON | {"site_ap_low": NAN}, "local-sequence,untrained,dimension"),
    ],
)
def test_nothing_is_supported_before_every_test_has_run(changes, name):
    assert verdict(**changes).tolist()[:2] == ["not-tested", name]
    assert verdict(**changes | {"instances": 3}).tolist()[:2] == ["low-power", name]


def test_one_kind_of_untrained_model_is_enough():
    assert verdict(permuted_ap=NAN)["verdict"] == verdict(untrained_ap=NAN)["verdict"] == "supported"


def test_a_rival_that_was_measured_can_fail_a_match_of_a_test_that_has_not_run():
    assert verdict(**EXON | {"probe_ap": NAN, "kmer_ap": 0.9}).tolist()[:2] == ["local-sequence", "local-sequence"]


def test_too_few_decoys_for_any_discovery_are_no_test():
    few = {"decoys": 3, "least_q": 1 / 3, "decoy_q": 1.0}
    says = "chance: with 3 decoys the least q is 0.33"
    assert verdict(**few).tolist() == ["not-tested", "chance", says]
    assert verdict(**few | {"least_q": 0.05})["verdict"] == "chance"
    assert verdict(**few | {"dimension_ap": 0.5}).tolist() == ["dimension", "chance", says]
    assert f"These tests were not run: decoys or matched regions ({says})." in told(**few)
    assert verdict(decoys=2, decoy_q=NAN).tolist() == ["not-tested", "chance", "chance: too few decoys (2)"]
    assert verdict(decoys=NAN, decoy_q=NAN)["why_untested"] == ""  # no matrix


def test_what_nothing_is_like_has_no_test_of_chance():
    letter = EXON | {"concept": "A", "regions": NAN, "regions_q": NAN, "probe_ap": 0.1}
    assert verdict(**letter).tolist() == ["not-tested", "chance", "chance: nothing else is like a single letter"]
    assert verdict(**EXON | {"concept": "CG"}).tolist() == ["supported", "", ""]
    rare = EXON | {"regions": 49, "regions_q": 0.001}
    assert verdict(**rare).tolist()[1:] == ["chance", "chance: only 49 instances have regions like them"]
    assert verdict(**rare | {"regions": 50})["verdict"] == "supported"
    assert verdict(decoys=0, decoy_q=NAN)["why_untested"] == "chance: too few decoys (0)"


def test_a_table_without_controls_is_not_tested():
    table = pd.DataFrame({"concept": ["x", "y", "MA0001.1"], "tf": "", "instances": [100, 10, 50]}, index=[7, 3, 5])
    found = verdicts(table)
    assert found["verdict"].tolist() == ["not-tested", "low-power", "not-tested"]
    assert found["untested"].tolist()[0] == "repeat,chance,local-sequence,untrained,dimension"
    assert found["untested"].tolist()[2] == "word,repeat,chance,untrained,dimension"
    assert found["why_untested"].tolist() == ["", "", ""]
    assert found.index.tolist() == [7, 3, 5]
    weak = strength(table)
    assert weak["best_rival"].tolist() == ["", "", ""] and weak.iloc[:, 1:].isna().to_numpy().all()


def test_an_empty_table_has_no_verdict():
    table = pd.DataFrame([PASSES]).iloc[:0]
    assert not len(verdicts(table)) and not len(strength(table))


@pytest.mark.parametrize(
    ("changes", "rival", "effect"),
    [
        ({}, "k-mer TTACCCG", (0.15, 0.05, 0.25)),
        ({"dimension_ap": 0.7}, "dimension +17", (-0.1, -0.2, 0.0)),
        ({"untrained_ap": 0.55}, "untrained", (0.05, -0.05, 0.15)),
        ({"permuted_ap": 0.55}, "permuted weights", (0.05, -0.05, 0.15)),
        ({"random_sae_ap": 0.99, "decoy_ap": 0.99}, "k-mer TTACCCG", (0.15, 0.05, 0.25)),
        ({"kmer": NAN}, "k-mer", (0.15, 0.05, 0.25)),
        ({"site_ap_low": NAN, "site_ap_high": NAN}, "k-mer TTACCCG", (0.15, NAN, NAN)),
        ({"site_average_precision": NAN}, "k-mer TTACCCG", (NAN, 0.05, 0.25)),
        (EXON | {"probe_ap": 0.46}, "probe on 31 letters", (0.14, 0.04, 0.24)),
    ],
)
def test_strength_is_what_a_match_has_above_its_best_rival(changes, rival, effect):
    row = strength(pd.DataFrame([PASSES | changes], index=[4])).loc[4]
    assert row["best_rival"] == rival
    assert row[["effect", "effect_low", "effect_high"]].tolist() == pytest.approx(effect, nan_ok=True)


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({}, ["Supported at recall 0.30", "CTCF motif sites (MA0139.1)", "40 %", "0.60 (0.50 to 0.70)"]),
        ({}, ["0.15 (0.05 to 0.25) above the best of the others (k-mer TTACCCG)", "not show that the factor binds"]),
        (EXON, ["Supported at recall 0.30", "of exon"]),
        ({"instances": 49}, ["Only 49 sites", "fewer than 50"]),
        ({"decoy_q": 0.31}, ["q = 0.31", "0.05", "199 decoys", "MA0139.1"]),
        (EXON | {"regions_q": 0.2, "regions_p": 0.11}, ["p = 0.11", "p = 0.01", "q = 0.20"]),
        ({"ap_outside_repeats": 0.21, "ap_outside_high": 0.29}, ["10 %", "Alu", "0.21 (at most 0.29)", "of the 0.60"]),
        ({"ap_outside_repeats": NAN, "repeat_share": 0.8, "items_outside_repeats": 9}, ["80 %", "Too few sites (9)"]),
        ({"word_auroc": 0.52, "word_auroc_low": 0.48, "word_auroc_high": 0.56}, ["TTACCCG", "0.52 (0.48 to 0.56)"]),
        ({"word_auroc_low": 0.4, "feature_kmer": "GGGCGG"}, ["TTACCCG", "or of GGGCGG, that describes the feature,"]),
        (EXON | {"probe_ap": 0.55}, ["A probe on 31 letters reaches an average precision of 0.55", "(0.50 to 0.70)"]),
        ({"permuted_ap": 0.52}, ["A model with permuted weights reaches", "0.52"]),
        ({"dimension_ap": 0.51}, ["A single dimension of the model (+17) reaches", "0.51"]),
        ({"dimension_ap": NAN}, ["These tests were not run: single dimensions.", "0.60 (0.50 to 0.70)"]),
    ],
)  # fmt: skip
def test_each_verdict_is_said_with_the_numbers_that_decided_it(changes, numbers):
    said = told(**changes)
    assert [number for number in numbers if number not in said] == []
    assert "nan" not in said.lower().replace("explan", "")
    assert ("CTCF" in said) == (not changes)  # a factor is named only where the match is supported


def test_every_name_is_a_verdict_with_a_meaning():
    assert [*OUTCOMES][2:] == [test.name for test in reversed(TESTS)]
    assert set(BY_NAME) >= {name for rival in RIVALS for name in rival.verdicts}
    assert all(rival.short for rival in RIVALS if rival.verdicts)


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
