"""Decoys: the columns of a motif in another order, with as many sites."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.motifs import Motif, Scanner, decoy_annotation, decoys, site_annotation
from sae_tracks.motifs.decoys import matched_sites
from sae_tracks.motifs.scanner import Hits, join_hits
from sae_tracks.regions import GenomicRegion

RNG = np.random.default_rng(5)
NARROW = Motif(
    "MA0001.1", "NARROW", RNG.integers(0, 20, (8, 4)).astype(float) + np.eye(4)[[0, 1, 2, 3, 3, 0, 1, 0]] * 60
)
WIDE = Motif("MA0002.1", "WIDE", RNG.integers(0, 30, (14, 4)).astype(float) + np.eye(4)[RNG.integers(0, 4, 14)] * 30)
UNABLE = Motif("MA0003.1", "UNABLE", np.eye(4)[[0, 1, 2]] * 9)


def columns(motif):
    return Counter(map(tuple, motif.counts.tolist()))


@given(st.integers(0, 2**32), st.integers(1, 8))
def test_decoys_have_the_columns_of_their_motif_in_orders_of_their_own(seed, n):
    made = decoys(NARROW, n, seed)
    assert [m.matrix_id for m in made] == [f"MA0001.1#{i + 1}" for i in range(n)]
    assert all(columns(m) == columns(NARROW) for m in made)
    matrices = [m.counts.tobytes() for m in (NARROW, *made)]
    assert len(set(matrices)) == n + 1
    assert not set(matrices) & {m.reverse_complement().counts.tobytes() for m in (NARROW, *made)}
    assert [m.counts.tobytes() for m in decoys(NARROW, n, seed)] == matrices[1:]


def test_decoys_of_another_seed_or_matrix_are_others():
    first = decoys(WIDE, 3, 0)
    assert not np.array_equal(first[0].counts, decoys(WIDE, 3, 1)[0].counts)
    renamed = Motif("MA0009.1", "", WIDE.counts)
    assert not np.array_equal(first[0].counts, decoys(renamed, 3, 0)[0].counts)
    assert np.array_equal(first[0].counts, decoys(WIDE, 1, 0)[0].counts)


def test_a_motif_without_enough_orders_is_named():
    poly_a = Motif("MA0004.1", "", np.eye(4)[[0] * 12])
    with pytest.raises(SaeTracksError, match=r"MA0004\.1 has only 0 other orders"):
        decoys(poly_a)
    two = Motif("MA0005.1", "", np.eye(4)[[0, 0, 1]])
    assert len(decoys(two, 2)) == 2
    with pytest.raises(SaeTracksError, match=r"MA0005\.1 has only 2 other orders"):
        decoys(two, 3)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 5), max_size=30), st.integers(0, 35))
def test_matched_sites_are_the_best(values, n):
    size = len(values)
    zeros = np.zeros(size)
    hits = Hits(zeros.astype(np.int32), np.arange(size), np.ones(size, np.int8), zeros, np.array(values, float))
    kept = matched_sites(hits, n)
    assert sorted(kept.minus_log10_p, reverse=True) == sorted(values, reverse=True)[:n]
    assert (np.diff(kept.start) > 0).all()


def test_ties_are_drawn_from_everywhere():
    n = 1000
    hits = Hits(np.zeros(n, np.int32), np.arange(n), np.ones(n, np.int8), np.zeros(n), np.ones(n))
    starts = matched_sites(hits, 200).start
    assert 400 < starts.mean() < 600 and starts.min() < 50 and starts.max() > 950
    first, rest = hits.take(np.arange(n) < 700), hits.take(np.arange(n) >= 700)
    parts = join_hits([matched_sites(first, 200), rest])
    assert matched_sites(parts, 200).start.tolist() == starts.tolist()


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    path = tmp_path_factory.mktemp("decoys") / "g.fa"
    letters = np.random.default_rng(7).choice(list("ACGT"), 150_000)
    path.write_text(f">b\n{''.join(letters[:90_000])}\n>a\n{''.join(letters[90_000:])}\n")
    return Genome(path)


def test_decoys_have_as_many_sites_as_their_motif_on_either_strand(genome):
    regions = [GenomicRegion("b", 10_000, 80_000), GenomicRegion("a", 0, 60_000)]
    motifs = [NARROW, WIDE, UNABLE]
    target = site_annotation(genome, Scanner(motifs), regions).sites
    made = decoy_annotation(genome, {m.matrix_id: decoys(m, 3, 1) for m in (NARROW, WIDE)}, target, regions)
    sites = made.annotation.sites
    wanted = Counter(zip(target["Name"], target["Strand"]))
    found = Counter(zip(sites["Name"], sites["Strand"]))
    assert set(sites["Name"]) == {f"{name}#{i}" for name in ("MA0001.1", "MA0002.1") for i in (1, 2, 3)}
    for (name, strand), count in wanted.items():
        for i in (1, 2, 3):
            key = f"{name}#{i}", strand
            assert found[key] + made.missing.get(key, 0) == count
    assert min(wanted.values()) >= 3 and not made.missing
    assert sites["TF"].isin(["NARROW", "WIDE"]).all()
    assert sites["Chromosome"].unique().tolist() == ["b", "a"]
    assert sites[sites["Chromosome"] == "b"]["Start"].between(10_000, 80_000).all()


def test_they_are_the_best_scoring_sites_of_the_decoy(genome):
    region = GenomicRegion("a", 0, 60_000)
    target = site_annotation(genome, Scanner([NARROW]), [region]).sites
    made = decoy_annotation(genome, {NARROW.matrix_id: decoys(NARROW, 1)}, target, [region]).annotation.sites
    all_sites = Scanner(decoys(NARROW, 1), p=1e-2, relative=0).scan(genome.sequence(region))
    for strand, sign in (("+", 1), ("-", -1)):
        mine = made[made["Strand"] == strand]
        scores = np.sort(all_sites.take(all_sites.strand == sign).minus_log10_p)[::-1][: len(mine)]
        assert sorted(mine["Score"], reverse=True) == np.floor(100 * scores + 1e-9).tolist()


def test_what_a_decoy_lacks_is_told(genome):
    region = GenomicRegion("a", 0, 2000)
    target = site_annotation(genome, Scanner([NARROW], p=0.05, relative=0), [region]).sites
    made = decoy_annotation(genome, {NARROW.matrix_id: decoys(NARROW, 2)}, target, [region])
    assert made.missing
    for (name, strand), lacking in made.missing.items():
        there = ((made.annotation.sites["Name"] == name) & (made.annotation.sites["Strand"] == strand)).sum()
        assert there + lacking == (target["Strand"] == strand).sum()


def test_sites_of_other_names_have_no_decoys(genome):
    target = site_annotation(genome, Scanner([NARROW])).sites
    with pytest.raises(SaeTracksError, match="none of the motifs has a site"):
        decoy_annotation(genome, {WIDE.matrix_id: decoys(WIDE)}, target)
