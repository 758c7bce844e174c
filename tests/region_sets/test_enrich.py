"""Enrichment in sets of regions: designs, and every column against plain loops over dense activations."""

import numpy as np
import pandas as pd
import pytest
from region_sets import as_set
from scipy.stats import mannwhitneyu
from toy import OneHotLM, identity_sae, random_dna, write_fasta
from track_oracle import activations

from sae_tracks.arrays import adjusted
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.region_sets import activity
from sae_tracks.region_sets.comparison import Comparison, Design, in_universe, with_matched, with_other
from sae_tracks.region_sets.enrich import enrich
from sae_tracks.region_sets.matched import landscape, match_regions, read_matched
from sae_tracks.region_sets.regions import region_set
from sae_tracks.regions import GenomicRegion
from sae_tracks.source import Source

N = 80_000
CUT = 0.5  # features 0 to 3 and 5 are 0 or 1; feature 4 counts the bases read before, over 1,000


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A genome in which A is frequent in every tenth 100 bases, with a run of N."""
    rng, parts = np.random.default_rng(0), []
    for i in range(N // 100):
        parts.append(random_dna(100, i, "AAAACGT" if rng.random() < 0.1 else "ACGT"))
    text = "".join(parts)
    path = tmp_path_factory.mktemp("g") / "g.fa"
    genome = Genome(write_fasta(path, a=text[:40_000], b=text[40_000:49_000] + "N" * 400 + text[49_400:]))
    return Source(OneHotLM(4096), identity_sae(), genome, window=4096, context=64, read_strands=("+", "-"))


def spread(source, n, width, seed, contigs="ab"):
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(n):
        contig = str(rng.choice(list(contigs)))
        start = int(rng.integers(0, source.genome.lengths[contig] - width))
        drawn.append(GenomicRegion(contig, start, start + width))
    return as_set(drawn, source.genome.lengths)


def named(regions, name):
    return type(regions)(regions.table, name)


@pytest.fixture(scope="module")
def dense(source):
    """What the stream says, base by base."""
    return activations(source)


def by_hand(dense, comparison, feature, strand, threshold=CUT):
    """Per region: share of active bases and mean activation; NaN without a readable base."""
    dense = dense[feature, strand]
    shares, means = [], []
    for region in comparison.regions.regions():
        values = dense[region.contig][region.start : region.end]
        values = values[~np.isnan(values)]
        shares.append((values > threshold).mean() if len(values) else np.nan)
        means.append(values.mean() if len(values) else np.nan)
    return np.array(shares), np.array(means)


def check(dense, comparison, feature, strand, row):
    """Every column of a row that does not come from the bootstrap or the permutation test."""
    (design,) = comparison.designs
    share, mean = by_hand(dense, comparison, feature, strand)
    own, other = design.own, design.background
    strata = []
    if design.stratum is None:
        own, other = (some[~np.isnan(share[some])] for some in (own, other))
        bg = [share[other].mean(), (share[other] > 0).mean(), mean[other].mean()]
        auroc = mannwhitneyu(np.float32(mean[own]), np.float32(mean[other])).statistic / (len(own) * len(other))
    else:
        for i, one in enumerate(own):
            theirs = other[design.stratum == i]
            theirs = theirs[~np.isnan(share[theirs])]
            if len(theirs) and not np.isnan(share[one]):
                strata.append((one, theirs))
        own, other = np.array([one for one, _ in strata]), np.concatenate([some for _, some in strata])
        bg = [
            np.mean([f(of[some]) for _, some in strata])
            for f, of in ((np.mean, share), (np.mean, share > 0), (np.mean, mean))
        ]
        wins = [np.mean((mean[some] < mean[one]) + (mean[some] == mean[one]) / 2) for one, some in strata]
        auroc = np.mean(wins)
    support, b = int((share[own] > 0).sum()), int((share[other] > 0).sum())
    assert (row["regions"], row["background"], row["support"], row["b"]) == (len(own), len(other), support, b)
    assert (row["c"], row["d"]) == (len(own) - support, len(other) - b)
    assert row["share"] == pytest.approx(share[own].mean()) and row["share_background"] == pytest.approx(bg[0])
    assert row["mean"] == pytest.approx(mean[own].mean(), rel=1e-6)
    assert row["mean_background"] == pytest.approx(bg[2], rel=1e-6)
    with np.errstate(divide="ignore", invalid="ignore"):
        assert row["fold"] == pytest.approx(share[own].mean() / np.float64(bg[0]), nan_ok=True)
        assert row["fold_regions"] == pytest.approx(np.float64((share[own] > 0).mean()) / bg[1], nan_ok=True)
        assert row["fold_mean"] == pytest.approx(mean[own].mean() / bg[2], rel=1e-6)
        odds = np.float64(support) * row["d"] / (np.float64(b) * row["c"])
    assert row["odds_ratio"] == pytest.approx(odds, nan_ok=True)
    assert row["auroc"] == pytest.approx(auroc)


def designs(source):
    universe = spread(source, 1500, 30, 3)
    own, other = named(spread(source, 25, 30, 1), "one.bed"), named(spread(source, 60, 25, 2), "two.bed")
    matched = match_regions(own, landscape(source.genome), per_region=3)
    return {
        "matched": with_matched([matched], source.genome),
        "universe": in_universe([own], universe),
        "against": with_other(own, other, source.genome),
        "paired": with_other(own, named(spread(source, 25, 20, 5), "two.bed"), source.genome, paired=True),
    }


@pytest.mark.parametrize("kind", ["matched", "universe", "against", "paired"])
def test_columns_are_those_of_plain_loops(source, dense, kind):
    comparison = designs(source)[kind]
    table = enrich(source, comparison, threshold=CUT, scale="raw")
    assert comparison.kind == kind and len(table) == 12 and set(table["set"]) == {comparison.designs[0].name}
    for row in table.to_dict("records"):
        check(dense, comparison, int(row["feature"][1:]), row["read_strand"], row)
    np.testing.assert_allclose(table["q"], adjusted(table["p"].to_numpy()))
    both = (table["support"] > 0) & (table["b"] > 0)
    assert (table["fold_low"].notna() == both).all()
    assert table["p"].dropna().is_monotonic_increasing


@pytest.mark.parametrize("kind", ["matched", "universe", "paired"])
def test_p_is_that_of_a_permutation_test(source, dense, kind):
    comparison = designs(source)[kind]
    (design,) = comparison.designs
    table = enrich(source, comparison, threshold=CUT, scale="raw").set_index(["feature", "read_strand"])
    rng = np.random.default_rng(0)
    for feature in (0, 2, 5):
        share, _ = by_hand(dense, comparison, feature, "+")
        known = ~np.isnan(share)
        own = design.own[known[design.own]]
        if design.stratum is None:
            rows = np.concatenate([own, design.background[known[design.background]]])
            sums = [share[rng.permutation(rows)[: len(own)]].sum() for _ in range(20_000)]
        else:
            theirs = [design.background[design.stratum == i] for i in range(len(design.own))]
            groups = [np.append(one, some[known[some]]) for one, some in zip(design.own, theirs) if known[one]]
            own = np.array([group[0] for group in groups if len(group) > 1])
            sums = sum(share[group[rng.integers(0, len(group), 20_000)]] for group in groups if len(group) > 1)
        sums, mine = np.array(sums), share[own].sum()
        tails = np.mean(sums >= mine - 1e-9), np.mean(sums <= mine + 1e-9)
        assert table.loc[(f"f{feature}", "+"), "p"] == pytest.approx(min(2 * min(tails), 1), abs=0.05)


def test_how_much_is_held_in_memory_changes_nothing(source, monkeypatch):
    comparison = designs(source)["matched"]
    whole = enrich(source, comparison, threshold=CUT, scale="raw")
    monkeypatch.setattr(activity, "HELD", 7)
    monkeypatch.setattr(activity, "AT_ONCE", 5)
    with activity.read_activity(source, comparison.regions, np.full(6, CUT, np.float32), None, "+") as read:
        parts, at_once = len(read._ends), read.features_at_once
    assert parts > 10 and at_once == 1
    pd.testing.assert_frame_equal(enrich(source, comparison, threshold=CUT, scale="raw"), whole)


def test_planted_regions_are_found_on_either_read_strand(source):
    letters = {c: source.genome.sequence(GenomicRegion(c, 0, n)).decode() for c, n in source.genome.lengths.items()}
    rich = [
        GenomicRegion(c, start, start + 100)
        for c, text in letters.items()
        for start in range(0, len(text) - 100, 100)
        if text[start : start + 100].count("A") > 40
    ]
    universe = [
        GenomicRegion(c, start, start + 100)
        for c, n in source.genome.lengths.items()
        for start in range(0, n - 99, 100)
    ]
    own, everything = named(as_set(rich, source.genome.lengths), "rich.bed"), as_set(universe, source.genome.lengths)
    table = enrich(source, in_universe([own], everything), threshold=CUT, scale="raw").set_index(
        ["feature", "read_strand"]
    )
    first = table.loc[("f0", "+")]
    assert first["q"] < 1e-10 and first["fold"] > 1.5 and first["fold_low"] > 1.3 and first["auroc_low"] > 0.9
    assert (
        table.loc[("f3", "-")].equals(table.loc[("f3", "-")]) and table.loc[("f3", "-"), "fold"] > 1.5
    )  # A, read from behind
    assert table.loc[("f1", "+"), "fold"] < 0.9
    assert abs(table.loc[("f4", "+"), "auroc"] - 0.5) < 0.1


def test_shuffled_sets_are_not_enriched(source):
    """At q < 0.05 of 40 sets drawn at random none should differ; a share of 5 % would be tolerable."""
    rng, land = np.random.default_rng(1), landscape(source.genome)
    sets = [named(spread(source, int(rng.integers(10, 40)), 40, 100 + i), f"{i}.bed") for i in range(40)]
    comparison = with_matched([match_regions(one, land, seed=i) for i, one in enumerate(sets)], source.genome)
    table = enrich(source, comparison, threshold=CUT, scale="raw")
    assert len(table) == 40 * 12
    assert (table["q"] < 0.05).mean() <= 0.05
    assert (table["p"] < 0.05).mean() <= 0.08 and (table["p"] > 0.5).mean() > 0.3
    some = table[(table["support"] + table["b"]) >= 30]
    assert ((some["fold_low"] <= 1) & (some["fold_high"] >= 1)).mean() > 0.85


def test_few_blocks_have_no_interval_and_a_feature_that_is_never_active_no_p(source):
    one = named(as_set([GenomicRegion("a", s, s + 20) for s in (0, 50, 100)], source.genome.lengths), "one.bed")
    other = named(as_set([GenomicRegion("a", s, s + 20) for s in (200, 250, 300)], source.genome.lengths), "two.bed")
    table = enrich(source, with_other(one, other, source.genome), features=[4], threshold=50, scale="raw")
    assert table[["fold_low", "auroc_low", "p", "q"]].isna().all(axis=None) and len(table) == 2


def test_regions_on_n_are_left_out_with_their_stratum(source):
    regions = [GenomicRegion("b", 9000, 9100), GenomicRegion("a", 0, 100), GenomicRegion("a", 300, 400)]
    partners = [GenomicRegion("a", 500, 600), GenomicRegion("b", 9100, 9200), GenomicRegion("a", 700, 800)]
    rows = as_set(regions + partners, source.genome.lengths)
    order = np.argsort(rows.table["Row"])
    design = Design("x", order[:3].to_numpy(), order[3:].to_numpy(), np.arange(3))
    table = enrich(source, Comparison(rows, [design], "paired"), features=[0], threshold=CUT, scale="raw")
    assert set(zip(table["regions"], table["background"])) == {(1, 1)}
    lost = Design("x", order[[0]].to_numpy(), order[3:].to_numpy())
    with pytest.raises(SaeTracksError, match="no readable base lies in x"):
        enrich(source, Comparison(rows, [lost], "against"), features=[0])


def frame(spans, names=None):
    table = pd.DataFrame(spans, columns=["Chromosome", "Start", "End"])
    return table.assign(Name=names or "", Strand=".", Row=np.arange(len(spans)))


def made(source, spans, name, names=None):
    return region_set(frame(spans, names), source.genome, name)


def test_a_set_whose_matched_regions_are_all_left_out_is_refused(source, tmp_path):
    own = made(source, [("a", 0, 10), ("a", 50, 60)], "peaks.bed")
    path = tmp_path / "m.bed"
    path.write_text("#chrom\tstart\tend\tregion\nb\t0\t10\ta:0-10\n")
    read = read_matched(path, own, landscape(source.genome, [GenomicRegion("a", 0, 100)]))
    with pytest.raises(SaeTracksError, match=r"no matched region is left of peaks\.bed: .*match-regions") as error:
        with_matched([read], source.genome)
    assert "\n" not in str(error.value)


def test_a_universe_is_split_by_overlap(source, caplog):
    universe = made(source, [("a", 0, 10), ("a", 10, 20), ("a", 30, 40), ("b", 5, 6)], "u.bed")
    own = made(source, [("a", 9, 11), ("b", 5, 9), ("b", 50, 90)], "peaks.bed.gz")
    (design,) = in_universe([own], universe).designs
    assert design.name == "peaks" and design.own.tolist() == [0, 1, 3] and design.background.tolist() == [2]
    assert "1 of 3 regions of peaks.bed.gz overlap no region of the universe" in caplog.text
    with pytest.raises(SaeTracksError, match=r"no regions of u\.bed overlap x\.bed"):
        in_universe([made(source, [("a", 500, 600)], "x.bed")], universe)
    with pytest.raises(SaeTracksError, match=r"all regions of u\.bed overlap x\.bed"):
        in_universe([made(source, [("a", 0, 90), ("b", 0, 9)], "x.bed")], universe)


def test_regions_of_both_sets_are_in_neither(source, caplog):
    one, two = made(source, [("a", 0, 10), ("a", 20, 30)], "1.bed"), made(source, [("a", 29, 35), ("b", 0, 5)], "2.bed")
    comparison = with_other(one, two, source.genome)
    (design,) = comparison.designs
    spans = comparison.regions.regions()
    assert [str(spans[i]) for i in (*design.own, *design.background)] == ["a:1-10", "b:1-5"]
    assert "1 region of 1.bed and 1 of 2.bed overlap each other and are left out" in caplog.text
    with pytest.raises(SaeTracksError, match="share all their regions"):
        with_other(one, one, source.genome)


def test_pairs_are_made_by_name_or_by_row(source):
    spans = [("b", 0, 10), ("a", 50, 60), ("a", 20, 30)]
    one = made(source, spans, "1.bed", ["x", "y", "z"])
    two = made(source, [("a", 0, 10), ("b", 90, 95), ("b", 40, 45)], "2.bed", ["z", "x", "y"])
    comparison = with_other(one, two, source.genome, paired=True)
    (design,) = comparison.designs
    regions = comparison.regions.regions()
    pairs = {str(regions[i]): str(regions[j]) for i, j in zip(design.own, design.background)}
    assert pairs == {"b:1-10": "b:91-95", "a:51-60": "b:41-45", "a:21-30": "a:1-10"}
    unnamed = made(source, [("a", 0, 10), ("b", 90, 95), ("b", 40, 45)], "2.bed")
    comparison = with_other(one, unnamed, source.genome, paired=True)
    regions, (design,) = comparison.regions.regions(), comparison.designs
    pairs = {str(regions[i]): str(regions[j]) for i, j in zip(design.own, design.background)}
    assert pairs == {"b:1-10": "a:1-10", "a:51-60": "b:91-95", "a:21-30": "b:41-45"}
    with pytest.raises(SaeTracksError, match=r"3 regions and 2\.bed 2, of which 2 have a partner by row"):
        with_other(one, made(source, spans[:2], "2.bed"), source.genome, paired=True)


def test_two_sets_of_one_name_are_refused(source):
    one = made(source, [("a", 0, 10)], "x.bed")
    with pytest.raises(SaeTracksError, match="two sets are called x"):
        in_universe([one, one], made(source, [("a", 0, 10), ("a", 30, 40)], "u.bed"))
