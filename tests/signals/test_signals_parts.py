"""Ranks, levels, intervals, shifts and regressions against other ways to compute them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.sparse import csc_array, csr_array
from toy import random_dna, write_fasta

from sae_tracks.controls.verdict import first_failed
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.genome import Genome
from sae_tracks.metrics import Halves
from sae_tracks.regions import GenomicRegion
from sae_tracks.signals import survey as survey_module
from sae_tracks.signals.bins import WORDS, Bins, bin_correlations
from sae_tracks.signals.judge import correlation_interval, shift_p
from sae_tracks.signals.ridge import PENALTIES, Ridge
from sae_tracks.signals.sums import LEVELS, PARTS, PLACE, Sums, add_features, levels_of, spearman, strongest
from sae_tracks.signals.survey import Levels, Survey, strata
from sae_tracks.signals.verdict import SIGNAL_TESTS

FLOATS = st.floats(-(2.0**90), 2.0**90, width=32)


@given(st.lists(st.lists(FLOATS | st.sampled_from([0.0, -0.0, 1.0]), max_size=20), min_size=1, max_size=4))
def test_ranks_are_those_of_scipy(parts):
    levels, values = Levels(), np.float32([value for part in parts for value in part])
    for part in parts:
        levels.add(np.float32(part))
    ranks = 2 * stats.rankdata(values) - (len(values) + 1) if len(values) else np.empty(0)
    assert levels.ranks(values).tolist() == ranks.tolist()
    assert levels.squares == pytest.approx((ranks**2).sum())
    assert levels.ranks(np.float32([np.nan])).tolist() == [0]


def test_too_many_values_share_ranks_in_order(monkeypatch):
    monkeypatch.setattr(survey_module, "MOST_LEVELS", 50)
    values, levels = np.random.default_rng(0).normal(size=3000).astype(np.float32), Levels()
    for part in np.split(values, 3):
        levels.add(part)
    assert len(levels.key) <= 50 and levels.count.sum() == 3000
    ranks = levels.ranks(values)
    assert (np.diff(ranks[np.argsort(values)]) >= 0).all()
    assert ranks.sum() == 0
    assert stats.pearsonr(ranks, stats.rankdata(values))[0] > 0.99


def test_the_stratum_of_a_base_does_not_depend_on_the_part_in_which_it_is_read(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", a=random_dna(400, 5, "AACGTTN")))
    parts = [strata(genome, GenomicRegion("a", base, base + 1)) for base in range(400)]
    assert np.concatenate(parts).tolist() == strata(genome, GenomicRegion("a", 0, 400)).tolist()


def test_a_survey_is_the_same_in_parts():
    rng = np.random.default_rng(1)
    values, stratum = rng.normal(100, 1, 500).astype(np.float32), rng.integers(0, 30, 500).astype(np.uint8)
    values[rng.random(500) < 0.2] = np.nan
    one = Survey()
    for part in np.array_split(np.arange(500), 7):
        one.add(values[part], stratum[part])
    known = ~np.isnan(values)
    exact = values[known].astype(float)
    assert (one.bases, one.mean, one.squares) == pytest.approx((len(exact), exact.mean(), exact.var() * len(exact)))
    expected = pd.Series(exact).groupby(stratum[known]).mean()
    assert one.expected[expected.index] == pytest.approx(expected.to_numpy())


@given(st.lists(st.floats(2.0**-20, 2.0**5, width=32), min_size=1))
def test_levels_ascend_with_the_value_and_are_narrow(ratios):
    ratios = np.sort(np.float32(ratios))
    level, part = (found.astype(int) for found in levels_of(ratios))
    fine = level * PARTS + part
    assert (np.diff(fine) >= 0).all() and (level < LEVELS).all() and (part < PARTS).all()
    below = np.square(fine / LEVELS / PARTS) * 2
    above = np.square((fine + 1) / LEVELS / PARTS) * 2
    inner = ratios < 2
    assert (below <= ratios * (1 + 1e-6))[inner].all() and (ratios <= above * (1 + 1e-6))[inner].all()
    assert (fine[~inner] == LEVELS * PARTS - 1).all()


def sums_of(x, y):
    """The sums of features (n, F) and one signal (n,) on one half, and the signal's ranks."""
    n, features = x.shape
    columns = csc_array(x)
    ranks = 2 * stats.rankdata(y)[:, None].astype(np.int64) - n - 1
    feature = np.repeat(np.arange(features), np.diff(columns.indptr))
    found = levels_of((columns.data / x.max(axis=0)[feature]).astype(np.float32))
    sums = Sums.zeros(1, features, 1, 1)
    add_features(
        *(0, features, columns.indptr.astype(np.int64), columns.indices, columns.data, *found),
        *(np.full(features, np.inf, np.float32), np.zeros(n, np.int8), y[:, None], ranks, np.zeros((1, 1))),
        *(np.zeros(n, np.uint8), np.zeros((1, 1)), np.zeros(n, np.int32), 0, 0),
        *(sums.moments, sums.levels, sums.on, sums.above, sums.strata, sums.places, np.zeros(features, PLACE)),
    )
    return sums, (ranks**2).sum(axis=0, dtype=np.float64)


@pytest.mark.parametrize("kind", ["normal", "few values", "wide"])
def test_spearman_is_that_of_the_values(kind):
    rng, n = np.random.default_rng(7), 1_000_000
    y = rng.normal(size=n).astype(np.float32)
    z = rng.normal(size=n) + 0.3 * y
    x = np.maximum(z[:, None] - np.quantile(z, [0.995, 0.9, 0.5]), 0)
    x = {"normal": x, "few values": np.ceil(x * 3), "wide": np.expm1(x)}[kind].astype(np.float32)
    sums, squares = sums_of(x, y)
    found = spearman(sums, 0, np.array([n]), squares)[:, 0]
    assert found == pytest.approx([stats.spearmanr(column, y)[0] for column in x.T], abs=1e-6)


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(3, 60))
def test_correlations_of_sparse_and_dense_columns_are_those_of_scipy(seed, n):
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((n, 4)) < 0.5, rng.integers(1, 5, (n, 4)), 0).astype(np.float32)
    x[:, 3] = 2
    y = rng.integers(0, 4, n).astype(float)
    for ranks, how in ((True, stats.spearmanr), (False, stats.pearsonr)):
        for columns in (x, csr_array(x)):
            for i, found in enumerate(bin_correlations(columns, y, ranks=ranks)):
                if np.ptp(x[:, i]) == 0 or np.ptp(y) == 0:
                    assert np.isnan(found)
                else:
                    assert found == pytest.approx(how(x[:, i], y)[0], abs=1e-9)


def test_an_interval_is_that_of_draws_of_blocks():
    rng = np.random.default_rng(2)
    x, block = rng.normal(size=300).astype(np.float32), np.repeat(np.arange(10), 30) * 3
    y = x + rng.normal(size=300)
    low, high = correlation_interval(x, y, block)
    ranks = stats.rankdata(x), stats.rankdata(y)
    drawn = []
    for times in np.random.default_rng(0).multinomial(10, np.full(10, 0.1), 1000):
        rows = np.concatenate([np.flatnonzero(block == 3 * b) for b, n in enumerate(times) for _ in range(n)])
        drawn.append(stats.pearsonr(ranks[0][rows], ranks[1][rows])[0])
    assert (low, high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=1e-9)
    assert np.isnan(correlation_interval(x[:100], y[:100], block[:100])).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_p_counts_the_shifts_that_correlate_as_well(sign):
    rng = np.random.default_rng(4)
    x = rng.integers(0, 5, 240).astype(np.float32)
    y = sign * (x + rng.normal(0, 8, 240))
    own = sign * stats.spearmanr(x, y)[0]
    moved = [sign * stats.spearmanr(x, np.roll(y, k))[0] for k in range(12, 240 - 12 + 1)]
    assert shift_p(x, y, sign) == pytest.approx((1 + sum(m >= own - 1e-12 for m in moved)) / (1 + len(moved)))


def test_words_are_all_of_one_to_four_letters():
    assert len(WORDS) == len(set(WORDS)) == 4 + 16 + 64 + 256
    assert {letter for word in WORDS for letter in word} == set(NUCLEOTIDES)


def ridge_by_hand(x, y, penalty, fitted):
    """Least squares with a row per weight, on scaled columns."""
    mean, scale = x[fitted].mean(axis=0), x[fitted].std(axis=0)
    z, n = (x - mean) / scale, fitted.sum()
    rows = np.concatenate([z[fitted], np.sqrt(penalty * n) * np.eye(x.shape[1])])
    target = np.concatenate([y[fitted] - y[fitted].mean(), np.zeros(x.shape[1])])
    return z @ np.linalg.lstsq(rows, target, rcond=None)[0] + y[fitted].mean()


@pytest.mark.parametrize("sparse", [False, True])
def test_a_ridge_explains_what_is_linear_and_no_noise(sparse):
    rng = np.random.default_rng(5)
    x = np.where(rng.random((600, 20)) < 0.4, rng.gamma(2, 1, (600, 20)), 0).astype(np.float32)
    y = np.stack([x @ rng.normal(size=20) + 0.1 * rng.normal(size=600), rng.normal(size=600)], axis=1)
    block, fitted = np.arange(600) // 25, np.arange(600) // 25 % 2 == 0
    linear, noise = Ridge(csr_array(x) if sparse else x, fitted, block).r2(y)
    assert linear[0] > 0.99 and linear[1] <= linear[0] <= linear[2]
    assert -0.1 < noise[0] < 0.05
    chooses = fitted & (np.cumsum(np.diff(block, prepend=-1) * fitted) % 3 == 0)
    for i, found in enumerate((linear, noise)):
        learns = fitted & ~chooses
        errors = [((ridge_by_hand(x, y[:, i], p, learns) - y[:, i])[chooses] ** 2).sum() for p in PENALTIES]
        predicted = ridge_by_hand(x, y[:, i], PENALTIES[np.argmin(errors)], fitted)[~fitted]
        held = y[~fitted, i]
        r2 = 1 - ((held - predicted) ** 2).sum() / ((held - held.mean()) ** 2).sum()
        assert found[0] == pytest.approx(r2, abs=1e-4)


def test_a_constant_signal_or_too_few_bins_have_no_r2():
    x, block = np.random.default_rng(6).random((60, 3)).astype(np.float32), np.arange(60) // 5
    fitted = np.arange(60) < 30
    assert np.isnan(Ridge(x, fitted, block).r2(np.ones((60, 1)))).all()
    assert np.isnan(Ridge(x, np.ones(60, bool), block).r2(np.ones((60, 1)))).all()


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 1), st.integers(0, 9)), max_size=30))
def test_the_strongest_places_are_one_per_tile(places):
    rows = np.array([(v, c, 500 * p) for v, c, p in places], PLACE)
    found = strongest(rows[None], 4)[0]
    best = {}
    for value, contig, position in sorted(places, key=lambda one: (-one[0], one[1], one[2])):
        best.setdefault((contig, position // 2), (value, contig, 500 * position))
    assert [tuple(one) for one in found.tolist() if one[0]] == [*best.values()][:4]


PASSES = {
    "blocks": 50,
    "bins": 2000,
    "shift_q": 0.01,
    "bin_spearman": 0.3,
    "bin_spearman_low": 0.2,
    "bin_spearman_high": 0.4,
    "select_bin_spearman": 0.3,
    "sequence_spearman": 0.1,
    "dimension_spearman": -0.1,
}
FLIPPED = {"select_bin_spearman": -0.3, "bin_spearman_low": -0.4, "bin_spearman_high": -0.2}


@pytest.mark.parametrize(
    "changes, verdict",
    [
        ({}, "supported"),
        (FLIPPED, "supported"),
        ({"blocks": 9}, "low-power"),
        ({"bins": 199}, "low-power"),
        ({"shift_q": 0.06}, "chance"),
        ({"bin_spearman_low": -0.01}, "chance"),
        ({"select_bin_spearman": -0.3}, "chance"),  # the other sign than on the select half
        ({"sequence_spearman": 0.2}, "local-sequence"),
        ({"sequence_spearman": -0.25}, "local-sequence"),
        (FLIPPED | {"dimension_spearman": 0.3}, "dimension"),
        ({"dimension_spearman": np.nan}, "not-tested"),
    ],
)
def test_the_verdict_is_the_first_test_that_fails(changes, verdict):
    assert first_failed(pd.DataFrame([PASSES | changes]), SIGNAL_TESTS)["verdict"].tolist() == [verdict]


def test_a_bin_lies_in_the_bootstrap_block_of_its_middle_base():
    regions = [GenomicRegion("a", 0, 28_000), GenomicRegion("b", 14_000, 21_000)]
    bins = Bins.of(regions, Halves(), 7000)
    middles = [3500, 10_500, 17_500, 24_500, 17_500]  # the second bin begins in the first block of 10 kb
    assert [7000 * number + 3500 for number in bins.number.tolist()] == middles
    assert bins.blocks(regions).tolist() == [0, 1, 1, 2, 3]
