"""What is measured of reported pairs, against dense arrays and walks along the bases."""

from itertools import combinations_with_replacement
from math import factorial, prod

import numpy as np
import pandas as pd
import pytest
from control_samples import draw_sample, make_sample, make_sites
from scipy.stats import pearsonr, rankdata

from sae_tracks.controls.chance import shift_p
from sae_tracks.controls.fit import f1_intervals, lags, offset_profiles, rankings
from sae_tracks.controls.pairs import Pairs, Reported

SEEDS = range(8)


def pairs_of(rows):
    """From (concept, feature, cutoff)."""
    concept, feature, cutoff = zip(*rows)
    return Pairs(np.array(concept, np.int64), np.array(feature, np.int64), np.array(cutoff, np.float32))


def every_pair(sample, sites, cutoffs=(0, 0.75)):
    return pairs_of([(c, f, t) for c in range(len(sites.labels)) for f in range(len(sample.features)) for t in cutoffs])


def dense(sample, sites, pair):
    """Of one pair, on all bases of the sample: what is active, what is labelled, the feature's values."""
    concept, feature, cutoff = pair
    values = sample.features.dense(feature, len(sample))
    return values > np.float32(cutoff), sites.labels.dense(concept, len(sample)) > 0, values


def rows_of(pairs):
    return list(zip(pairs.concept.tolist(), pairs.feature.tolist(), pairs.cutoff.tolist()))


def f1(active, labelled):
    both = active.sum() + labelled.sum()
    return 2 * (active & labelled).sum() / both if both else np.nan


def report_bins(sample):
    """(n,) bool masks of the readable bases of every REPORT bin that has one."""
    bin_of_base, counted = sample.bin_of_base(), sample.readable & (sample.half[sample.bin_of_base()] == 1)
    masks = [(bin_of_base == b) & counted for b in range(len(sample.bins))]
    return [mask for mask in masks if mask.any()]


@pytest.mark.parametrize("seed", SEEDS)
def test_counts_in_every_bin(seed):
    sample, sites = draw_sample(seed)
    pairs = every_pair(sample, sites)
    reported = Reported(sample, sites, pairs)
    tp, on, labels = reported.count(reported.bin, reported.bins)
    masks = report_bins(sample)
    assert tp.shape == (len(pairs), len(masks))
    for i, pair in enumerate(rows_of(pairs)):
        active, labelled, _ = dense(sample, sites, pair)
        for b, mask in enumerate(masks):
            found = tp[i, b], on[i, b] - tp[i, b], labels[i, b] - tp[i, b], labels[i, b]
            expected = active & labelled, active & ~labelled, ~active & labelled, labelled
            assert found == tuple((x & mask).sum() for x in expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_interval_with_three_bins_spans_every_draw(seed):
    # the rarest draw, one bin three times, has a share of 1/27 and so lies outside of neither percentile
    sample, sites = draw_sample(seed)
    pairs = every_pair(sample, sites)
    table = f1_intervals(Reported(sample, sites, pairs), seed, draws=20_000)
    masks = report_bins(sample)
    assert set(table["bins"]) == {len(masks)} == {3}
    for i, pair in enumerate(rows_of(pairs)):
        active, labelled, _ = dense(sample, sites, pair)
        drawn = [
            f1(np.concatenate([active[m] for m in draw]), np.concatenate([labelled[m] for m in draw]))
            for draw in combinations_with_replacement(masks, 3)
        ]
        drawn = [x for x in drawn if np.isfinite(x)] or [np.nan]
        whole = np.logical_or.reduce(masks)
        expected = [f1(active[whole], labelled[whole]), min(drawn), max(drawn)]
        assert table.loc[i, ["sample_f1", "f1_low", "f1_high"]].astype(float).to_numpy() == pytest.approx(
            expected, nan_ok=True
        )


def test_the_interval_with_many_bins_is_the_percentile_of_all_draws():
    sample, sites = draw_sample(2, n=3000, bins=14, d_sae=2)
    pairs = pairs_of([(0, 1, 0.0)])
    active, labelled, _ = dense(sample, sites, (0, 1, 0.0))
    masks = report_bins(sample)
    k = len(masks)
    tp, both = np.array([[(active & labelled & m).sum(), (active & m).sum() + (labelled & m).sum()] for m in masks]).T
    draws = []
    for draw in combinations_with_replacement(range(k), k):
        times = np.bincount(draw, minlength=k)
        ways = factorial(k) / prod(factorial(t) for t in times)
        draws.append((2 * (times @ tp) / (times @ both), ways / k**k))
    value, share = np.array(sorted(draws)).T
    low, high = (value[np.searchsorted(np.cumsum(share), q)] for q in (0.025, 0.975))
    table = f1_intervals(Reported(sample, sites, pairs), 0, draws=50_000)
    assert k == 7
    assert table.loc[0, ["f1_low", "f1_high"]].astype(float).to_numpy() == pytest.approx([low, high], abs=0.003)


def test_the_same_seed_gives_the_same_interval():
    sample, sites = draw_sample(0)
    reported = Reported(sample, sites, every_pair(sample, sites))
    assert f1_intervals(reported, 5).equals(f1_intervals(reported, 5))
    assert not f1_intervals(reported, 5, draws=20).equals(f1_intervals(reported, 6, draws=20))


def average_precision(scores, positive):
    """By its definition: over the distinct scores, the gain in recall times the precision."""
    if not positive.any():
        return np.nan
    total = recall = 0
    for cut in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= cut
        gained = positive[chosen].sum() / positive.sum() - recall
        total, recall = total + gained * positive[chosen].mean(), recall + gained
    return total


def windows(sample, labelled, width):
    """Starts of the unlabelled windows, by a walk along the bases."""
    free, where = sample.in_half(1) & ~labelled, sample.bin_of_base()
    starts, run = [], []
    for base in range(len(sample)):
        if not free[base] or (run and where[base] != where[run[0]]):
            starts += run[: len(run) // width * width : width]
            run = []
        run += [base] if free[base] else []
    return starts + run[: len(run) // width * width : width]


@pytest.mark.parametrize("seed", SEEDS)
def test_rankings_of_bases_and_of_sites(seed):
    sample, sites = draw_sample(seed, n=900, bins=14, instances=30, half=[1, 1, 0] * 4 + [1, 1])
    pairs = every_pair(sample, sites)
    table = rankings(Reported(sample, sites, pairs))
    counted = sample.in_half(1)
    seen = 0
    for i, pair in enumerate(rows_of(pairs)):
        _, labelled, values = dense(sample, sites, pair)
        values = np.where(counted, values, 0)
        of = sites.of(pair[0])
        rows = [r for r in range(of.start, of.stop) if counted[sites.start[r] : sites.end[r]].any()]
        site = np.array([values[sites.start[r] : sites.end[r]].max() for r in rows])
        expected = [average_precision(values[counted], labelled[counted]), np.nan, np.nan]
        if rows:
            width = int(np.median([sites.end[r] - sites.start[r] for r in rows]))
            others = np.array([values[s : s + width].max() for s in windows(sample, labelled, width)])
            positive = np.arange(len(site) + len(others)) < len(site)
            expected[1] = average_precision(np.concatenate((site, others)), positive)
        if len(rows) >= 10 and np.ptp(site) > 0:
            expected[2] = pearsonr(rankdata(site), rankdata(sites.score[rows]))[0]
            seen += 1
        assert table.loc[i].to_numpy() == pytest.approx(expected, nan_ok=True)
    assert seen


def test_sites_without_scores_have_no_correlation():
    sample, _ = draw_sample(1)
    sites = make_sites(
        sample, [[(i, i + 5) for i in range(0, 600, 20) if (sample.bin_of_base()[[i, i + 4]] == 1).all()]]
    )
    assert rankings(Reported(sample, sites, pairs_of([(0, 1, 0)])))["spearman"].isna().all()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_shift_is_a_roll_of_the_labels(seed):
    sample, sites = draw_sample(seed, n=9000, instances=60)  # more labelled than active bases, and fewer
    pairs = every_pair(sample, sites, cutoffs=(0, 1.75, 9))
    reported = Reported(sample, sites, pairs)
    counted = sample.in_half(1)
    m = counted.sum()
    if m < 2000:
        assert np.isnan(shift_p(reported, seed)).all()
        return
    offsets = np.random.default_rng(seed).integers(1000, m - 1000, 200, endpoint=True)
    p = shift_p(reported, seed)
    for i, pair in enumerate(rows_of(pairs)):
        active, labelled, _ = dense(sample, sites, pair)
        active, labelled = active[counted], labelled[counted]
        if not (active.any() or labelled.any()):
            assert np.isnan(p[i])
            continue
        not_lower = sum(f1(active, np.roll(labelled, s)) >= f1(active, labelled) for s in offsets)
        assert p[i] == (1 + not_lower) / 201


def test_some_samples_are_large_enough_to_shift():
    assert sum(draw_sample(seed, n=9000)[0].in_half(1).sum() >= 2000 for seed in SEEDS) >= 4


@pytest.mark.parametrize("read_strand", ["+", "-"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_lag_is_the_median_way_to_the_first_active_base(seed, read_strand):
    sample, sites = draw_sample(seed, read_strand=read_strand)
    pairs = every_pair(sample, sites)
    found = lags(Reported(sample, sites, pairs))
    for i, pair in enumerate(rows_of(pairs)):
        active, _, _ = dense(sample, sites, pair)
        on, of, ways = active & sample.in_half(1), sites.of(pair[0]), []
        for start, end in zip(sites.start[of].tolist(), sites.end[of].tolist()):
            site = on[start:end] if read_strand == "+" else on[start:end][::-1]
            ways += [site.tolist().index(True)] if site.any() else []
        assert found[i] == pytest.approx(np.median(ways) if ways else np.nan, nan_ok=True)


@pytest.mark.parametrize("read_strand", ["+", "-"])
@pytest.mark.parametrize("seed", SEEDS[:4])
def test_offset_profiles_in_the_orientation_of_the_site(seed, read_strand):
    sample, sites = draw_sample(seed, read_strand=read_strand)
    strands = ["+", "-", ".", "+"]
    concepts = pd.DataFrame({"concept": list("wxyz"), "site_strand": strands}, dtype=object)
    pairs = every_pair(sample, sites, cutoffs=(0.75,))
    table = offset_profiles(Reported(sample, sites, pairs), concepts)
    counted, where, at = sample.in_half(1), sample.bin_of_base(), 0
    for concept, feature, cutoff in rows_of(pairs):
        active, _, _ = dense(sample, sites, (concept, feature, cutoff))
        of, forward = sites.of(concept), strands[concept] != "-"
        inside = [(s, e) for s, e in zip(sites.start[of], sites.end[of]) if counted[s:e].any()]
        if not inside:
            continue
        part = table.iloc[at : at + 202]
        at += 202
        assert set(part["concept"]) == {"wxyz"[concept]} and set(part["site_strand"]) == {strands[concept]}
        assert set(part["feature"]) == {feature} and set(part["read_strand"]) == {read_strand}
        assert set(part["reading"]) == {"along" if forward == (read_strand == "+") else "against"}
        assert part["background"].to_numpy() == pytest.approx(active[counted].mean())
        assert part["anchor"].tolist() == ["start"] * 101 + ["end"] * 101
        assert part["offset"].tolist() == [*range(-50, 51)] * 2
        for anchor, offset, share, n in part[["anchor", "offset", "active_share", "sites"]].itertuples(index=False):
            bases = []
            for start, end in inside:
                first, last = (start, end - 1) if forward else (end - 1, start)
                base = (first if anchor == "start" else last) + (offset if forward else -offset)
                if 0 <= base < len(sample) and counted[base] and where[base] == where[start]:
                    bases.append(base)
            assert n == len(bases)
            assert share == pytest.approx(active[bases].mean() if bases else np.nan, nan_ok=True)
    assert at == len(table) > 0


def test_a_feature_that_is_its_sites_scores_one_and_one_that_lags_shows_it():
    starts = range(25, 3000, 100)
    features = np.zeros((3000, 2))
    for start in starts:
        features[start : start + 12, 0] = 2
        features[start + 9 : start + 15, 1] = 1
    sample = make_sample(features, bins=[500] * 6, half=[1] * 6)
    sites = make_sites(sample, [[(start, start + 12) for start in starts]])
    pairs = pairs_of([(0, 0, 0.3), (0, 1, 0.3)])
    reported = Reported(sample, sites, pairs)
    table = f1_intervals(reported, 0)
    assert table.loc[0].tolist() == [1, 1, 1, 6]
    assert table["sample_f1"][1] == pytest.approx(2 * 3 / (12 + 6))
    assert lags(reported).tolist() == [0, 9]
    ranks = rankings(reported)
    assert ranks["average_precision"][0] == ranks["site_average_precision"][0] == 1
    assert shift_p(reported, 0)[0] > 1 / 201  # sites at a fixed distance: some shifts fit as well, which p has to count
    concepts = pd.DataFrame({"concept": ["m"], "site_strand": ["+"]}, dtype=object)
    late = offset_profiles(Reported(sample, sites, pairs), concepts).query("feature == 1 and anchor == 'start'")
    assert late.loc[late["active_share"] == 1, "offset"].tolist() == [*range(9, 15)]
    assert late.loc[late["active_share"] == 0, "offset"].tolist() == [*range(-50, 9), *range(15, 51)]


def test_nothing_on_the_report_half_is_none_everywhere():
    sample = make_sample(np.ones((50, 2)), half=[0])
    sites = make_sites(sample, [[(3, 9)]])
    reported = Reported(sample, sites, pairs_of([(0, 1, 0)]))
    assert f1_intervals(reported, 0).iloc[0].tolist() == pytest.approx([np.nan, np.nan, np.nan, 0], nan_ok=True)
    assert rankings(reported).isna().all(axis=None)
    assert np.isnan(lags(reported)).all() and np.isnan(shift_p(reported, 0)).all()
    concepts = pd.DataFrame({"concept": ["m"], "site_strand": ["+"]}, dtype=object)
    assert offset_profiles(reported, concepts).empty
