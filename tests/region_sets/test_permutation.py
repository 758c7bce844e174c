"""P-values of permutation tests: against all permutations, exact distributions, and many random permutations."""

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from sae_tracks.region_sets.permutation import pooled_tails, stratified_tails

FEW = 0.07  # off at most, if the set has only six or seven regions and the sums are few


def by_strata(values, span=0.0):
    """Tails for (strata, 1 + m) values, the set's in the first column."""
    stratum, column = np.nonzero(values)
    size = np.full(len(values), values.shape[1])
    return stratified_tails(stratum, values[stratum, column], column == 0, size, span)


def pooled(values, own, span=0.0):
    on = values > 0
    return pooled_tails(values[on], own[on], int(own.sum()), len(values), span)


def shares(sums, own):
    """The exact tails, from the sums of all or of many permutations."""
    return np.mean(sums >= own - 1e-9), np.mean(sums <= own + 1e-9)


def sum_of_binomials(shares):
    """The probabilities of 0, 1, ... successes of independent trials."""
    found = np.ones(1)
    for p in shares:
        found = np.convolve(found, [1 - p, p])
    return found


@pytest.mark.parametrize("seed", range(20))
def test_few_strata_against_all_permutations(seed):
    rng = np.random.default_rng(seed)
    values = rng.random((7, 4)) * (rng.random((7, 4)) < 0.7)
    sums = np.array([sum(row) for row in product(*values)])
    assert by_strata(values) == pytest.approx(shares(sums, values[:, 0].sum()), abs=FEW)


@pytest.mark.parametrize("seed", range(20))
def test_few_regions_against_all_choices_of_the_set(seed):
    rng = np.random.default_rng(seed)
    values, own = rng.random(14) * (rng.random(14) < 0.8), np.arange(14) < 6
    sums = np.array([values[list(some)].sum() for some in combinations(range(14), 6)])
    assert pooled(values, own) == pytest.approx(shares(sums, values[own].sum()), abs=FEW)


@settings(deadline=None)
@given(st.integers(20, 400), st.floats(0.05, 0.6), st.floats(0.02, 0.95), st.integers(0, 1000))
def test_hits_without_strata_are_the_hypergeometric_test(regions, labelled, density, seed):
    rng = np.random.default_rng(seed)
    values, own = (rng.random(regions) < density) * 0.25, np.arange(regions) < max(int(labelled * regions), 2)
    hits, mine = int((values > 0).sum()), int((values[own] > 0).sum())
    exact = hypergeom(regions, hits, int(own.sum()))
    upper, lower = pooled(values, own, span=0.25)
    assert upper == pytest.approx(exact.sf(mine - 1), rel=0.06, abs=0.01)
    assert lower == pytest.approx(exact.cdf(mine), rel=0.06, abs=0.01)


@settings(deadline=None)
@given(st.integers(10, 200), st.integers(1, 6), st.floats(0.02, 0.95), st.integers(0, 1000))
def test_hits_in_strata_are_a_sum_of_binomials(strata, others, density, seed):
    values = (np.random.default_rng(seed).random((strata, 1 + others)) < density) * 2.0
    exact, mine = sum_of_binomials((values > 0).mean(axis=1)), int((values[:, 0] > 0).sum())
    upper, lower = by_strata(values, span=2.0)
    assert upper == pytest.approx(exact[mine:].sum(), rel=0.06, abs=0.01)
    assert lower == pytest.approx(exact[: mine + 1].sum(), rel=0.06, abs=0.01)


@pytest.mark.parametrize("hits", [32, 45, 60])
def test_far_tails_keep_their_order_of_magnitude(hits):
    values, own = np.zeros(600), np.arange(600) < 100
    values[:hits] = values[100 : 100 + 40] = 1.0
    exact = hypergeom(600, hits + 40, 100).sf(hits - 1)
    assert exact < 1e-8
    assert pooled(values, own, span=1.0)[0] == pytest.approx(exact, rel=0.1)


def test_far_tails_in_strata():
    values = np.zeros((200, 6))
    values[:90, 0] = values[80:150, 1] = 1.0
    exact = sum_of_binomials((values > 0).mean(axis=1))[90:].sum()
    assert exact < 1e-20
    assert by_strata(values, span=1.0)[0] == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("density", [0.05, 0.3, 1.0])
def test_shares_against_random_permutations(density):
    rng = np.random.default_rng(3)
    values = rng.beta(1, 4, (150, 6)) * (rng.random((150, 6)) < density)
    values[:, 0] *= 1.15
    draws = rng.integers(0, 6, (100_000, 150))
    exact = shares(values[np.arange(150), draws].sum(axis=1), values[:, 0].sum())
    assert by_strata(values) == pytest.approx(exact, abs=0.006)
    flat, own = values.ravel(), np.arange(900) % 6 == 0
    sums = np.array([flat[rng.permutation(900)[:150]].sum() for _ in range(20_000)])
    assert pooled(flat, own) == pytest.approx(shares(sums, flat[own].sum()), abs=0.012)


def test_the_largest_and_the_smallest_sum_are_exact():
    one = np.zeros((10, 6))
    one[3, 0] = 0.5
    assert by_strata(one) == (pytest.approx(1 / 6), 1)
    one[3, 0], one[3, 2] = 0, 0.5
    assert by_strata(one) == (1, pytest.approx(5 / 6))
    values, own = np.zeros(50), np.arange(50) < 10
    values[:3] = 0.1, 0.2, 0.3
    assert pooled(values, own) == (pytest.approx(hypergeom(50, 3, 10).pmf(3)), 1)
    assert pooled(values[::-1].copy(), own) == (1, pytest.approx(hypergeom(50, 3, 10).pmf(0)))
    ties, own = np.array([1.0, 1.0, 1.0, 2.0, 0.0]), np.array([1, 0, 0, 1, 0], bool)
    assert pooled(ties, own)[0] == pytest.approx(3 / 10)


def test_nothing_active_tells_nothing():
    assert by_strata(np.zeros((4, 3))) == pooled(np.zeros(9), np.arange(9) < 3) == (1, 1)


def all_choices(values, regions, labelled):
    """The sums of all choices of the values that are not 0, and the probability of each."""
    sums, shares = [], []
    for choice in product([0, 1], repeat=len(values)):
        held = sum(choice)
        sums.append(np.dot(choice, values))
        shares.append(hypergeom(regions, len(values), labelled).pmf(held) / comb(len(values), held))
    return np.array(sums), np.array(shares)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.01, 0.02, 0.05, 0.3, 1.0, 60.0]), min_size=1, max_size=8), st.data())
def test_few_unequal_values_are_counted(values, data):
    own = np.array([data.draw(st.booleans()) for _ in values])
    values = np.array(values)
    mine = values[own].sum()
    where, size = np.arange(len(values)) * 3, np.full(40, 6)
    sums = np.array([np.dot(choice, values) for choice in product([0, 1], repeat=len(values))])
    share = np.array([np.prod(np.where(c, 1 / 6, 5 / 6)) for c in product([0, 1], repeat=len(values))])
    exact = share[sums >= mine - 1e-9].sum(), share[sums <= mine + 1e-9].sum()
    assert stratified_tails(where, values, own, size, 0.0) == pytest.approx(exact)
    sums, share = all_choices(values, 80, 20)
    exact = share[sums >= mine - 1e-9].sum(), share[sums <= mine + 1e-9].sum()
    assert pooled_tails(values, own, 20, 80, 0.0) == pytest.approx(exact)


@pytest.mark.parametrize("seed", range(5))
def test_values_of_which_few_dominate_are_drawn(seed):
    rng = np.random.default_rng(seed)
    values, own = rng.lognormal(0, 2.5, 40), np.arange(40) % 6 == 0
    hits = rng.random((100_000, 40)) < 1 / 6
    exact = shares(hits @ values, values[own].sum())
    where, size = np.arange(40), np.full(100, 6)
    assert stratified_tails(where, values, own, size, 0.0) == pytest.approx(exact, abs=0.015)
    assert stratified_tails(where, values, own, size, 0.0) == stratified_tails(where, values, own, size, 0.0)
    drawn = np.array([rng.permutation(600)[:100] for _ in range(20_000)])
    padded = np.concatenate([values, np.zeros(560)])
    exact = shares(padded[drawn].sum(axis=1), values[own].sum())
    assert pooled_tails(values, own, 100, 600, 0.0) == pytest.approx(exact, abs=0.015)


def test_the_largest_sum_of_many_regions_has_a_p_value():
    rng = np.random.default_rng(0)
    values, own = rng.random(1800) + 0.1, np.arange(1800) < 300
    assert pooled_tails(values[~own], own[~own], 300, 1800, 0.0)[0] == 1
    assert 0 < pooled_tails(values[~own], own[~own], 300, 1800, 0.0)[1] < 1e-200
    strata = np.arange(900)
    upper, lower = stratified_tails(strata, np.ones(900), np.ones(900, bool), np.full(900, 6), 0.0)
    assert 0 < upper < 1e-200 and lower == 1
