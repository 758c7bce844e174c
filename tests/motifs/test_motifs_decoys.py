"""Decoys: altered matrices with as many sites as their motif, at other places."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from motif_oracle import motifs as drawn_motifs
from toy import random_dna, write_fasta

from sae_tracks.genome import Genome
from sae_tracks.motifs import Hits, Motif, Scanner, decoys, loss_limit, match_decoys
from sae_tracks.motifs.decoys import LEAST_FIT, Places, _Group, _Sample
from sae_tracks.regions import GenomicRegion

RNG = np.random.default_rng(5)


def matrix(name, letters, family=""):
    """A motif with strong positions (upper case) and weak ones."""
    rows = [
        np.eye(4)["ACGT".index(x.upper())] * (60 if x.isupper() else 12) + 3 + RNG.integers(0, 4, 4) for x in letters
    ]
    return Motif(name, name.lower(), np.array(rows, float), "", family)


NARROW = matrix("MA0001.1", "GATTACAG", "first")
WIDE = matrix("MA0002.1", "ACgTTcAGGaCtAA", "second")
SIBLING = matrix("MA0003.1", "CGATTACA", "first")
EVEN = matrix("MA0004.1", "TGACGTCA")
EVEN = Motif("MA0004.1", "", EVEN.counts + EVEN.counts[::-1, ::-1])
MOTIFS = [NARROW, WIDE, SIBLING, EVEN]
LOOSE = {"p": 1e-3, "relative": 0.7}


def same(a, b):
    return np.array_equal(a, b) or np.array_equal(a, b[::-1, ::-1])


def by_position(counts):
    """Of every position: sorted counts, and those of A or T and of C or G; in either order of the positions."""
    rows = [(sorted(row), row[0] + row[3], row[1] + row[2]) for row in counts.tolist()]
    return rows, rows[::-1]


@given(drawn_motifs(min_width=1, max_width=6), st.integers(0, 2**32), st.integers(1, 12))
def test_decoys_keep_information_and_gc_of_every_position(motif, seed, n):
    made = decoys(motif, n, seed)
    assert [m.matrix_id for m in made] == [f"MA0001.1#{i + 1}" for i in range(len(made))] and len(made) <= n
    for i, decoy in enumerate(made):
        assert by_position(decoy.counts)[0] in by_position(motif.counts)
        assert not any(same(decoy.counts, other.counts) for other in (motif, *made[:i]))
    again = decoys(motif, n + 3, seed)
    assert all(np.array_equal(a.counts, b.counts) for a, b in zip(made, again))


@pytest.mark.parametrize(("letters", "most"), [("AAAA", 15), ("ACGT", 200)])
def test_a_narrow_motif_has_few_decoys(letters, most):
    made = decoys(Motif("MA0009.1", "", np.eye(4)[["ACGT".index(x) for x in letters]] * 9), 200)
    assert 5 <= len(made) <= most


def test_a_motif_without_others_has_none():
    assert decoys(Motif("MA0009.1", "", np.full((5, 4), 3.0)), 5) == []


def test_decoys_of_another_seed_or_matrix_are_others():
    first = decoys(WIDE, 3, 0)
    assert not np.array_equal(first[0].counts, decoys(WIDE, 3, 1)[0].counts)
    assert not np.array_equal(first[0].counts, decoys(Motif("MA0009.1", "", WIDE.counts), 3, 0)[0].counts)


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    path = tmp_path_factory.mktemp("decoys") / "g.fa"
    letters = np.random.default_rng(7).choice(list("ACGT"), 400_000)
    letters[100_000:100_150] = "N"
    letters[170_003] = "N"
    letters[50_000:60_000] = np.char.lower(letters[50_000:60_000])
    letters[:8] = letters[249_992:250_000] = letters[250_000:250_008] = letters[-8:] = list("GATTACAG")
    letters[65_532:65_540] = list("GATTACAG")  # across the border of a chunk
    path.write_text(f">b\n{''.join(letters[:250_000])}\n>a\n{''.join(letters[250_000:])}\n")
    return Genome(path)


@pytest.fixture(scope="module")
def matched(genome):
    return match_decoys(genome, MOTIFS, 3, None, **LOOSE)


def every_site(genome, competitors, regions=None):
    """(contig, motif, start, end, strand, competes) of the sites in the regions, which are scanned whole."""
    found = []
    for region in genome.merged(regions):
        arrays = competitors.sites(genome, region)
        assert [a.dtype for a in arrays] == [np.int32, np.int64, np.int64, np.int8, np.bool_]
        rows = list(zip(*(a.tolist() for a in arrays)))
        assert rows == sorted(rows, key=lambda row: (row[0], -row[3], row[1]))
        found += [(region.contig, *row) for row in rows]
    return found


def all_sites(genome, competitors, regions=None):
    """(contig, motif, start, end, strand) of those that compete."""
    return [row[:-1] for row in every_site(genome, competitors, regions) if row[-1]]


def groups(competitors):
    """The numbers of the matrices of each group."""
    first = np.cumsum(competitors.decoys + 1) - competitors.decoys - 1
    return [list(range(a, a + k + 1)) for a, k in zip(first.tolist(), competitors.decoys.tolist())]


def sites_by_walk(genome, motif, p=LOOSE["p"], relative=LOOSE["relative"]):
    """(contig, start, strand) -> -log10 p of all sites of one matrix."""
    scanner = Scanner([motif], p=p, relative=relative)
    hits = ((region.contig, scanner.scan(genome.sequence(region))) for region in genome.whole)
    return {
        (contig, start, strand): score
        for contig, h in hits
        for start, strand, score in zip(h.start.tolist(), h.strand.tolist(), h.minus_log10_p.tolist())
    }


def on_others(mine, width, others, other_width):
    """How many sites share more than half of the narrower one with a site of the others."""
    count = 0
    for contig, start, _ in mine:
        for move in range(-other_width, width):
            bases = min(start + width, start + move + other_width) - max(start, start + move)
            if 2 * bases > min(width, other_width) and any((contig, start + move, s) in others for s in (1, -1)):
                count += 1
                break
    return count


def test_groups_hold_a_motif_and_its_decoys(matched):
    assert set(matched.names) | set(matched.missing) == {m.matrix_id for m in MOTIFS}
    assert len(matched.names) >= 3
    for name, group in zip(matched.names, groups(matched)):
        target = next(m for m in MOTIFS if m.matrix_id == name)
        ids = [matched.motifs[i].matrix_id for i in group]
        assert ids[0] == f"{name}#0" and len(set(ids)) == len(ids)
        assert np.array_equal(matched.motifs[group[0]].counts, target.counts)
        draws = decoys(target, 11)
        assert all(
            np.array_equal(matched.motifs[i].counts, draws[int(x.split("#")[1]) - 1].counts)
            for i, x in zip(group[1:], ids[1:])
        )
    assert matched.facts["decoys"] == matched.decoys.sum() and matched.facts["bases"] == 400_000 - 150


def test_the_rules_of_sites_hold(genome, matched):
    family = {"MA0001.1": [NARROW, SIBLING], "MA0003.1": [NARROW, SIBLING]}
    for name, group in zip(matched.names, groups(matched)):
        target, *made = (matched.motifs[i] for i in group)
        own = sites_by_walk(genome, target)
        accepted = []
        for decoy in made:
            mine = sites_by_walk(genome, decoy)
            assert len(own) / 2 <= len(mine) <= 2 * len(own)
            for strand in (1, -1):
                assert 2 * sum(s == strand for *_, s in mine) >= sum(s == strand for *_, s in own)
            for other in family.get(name, [target]):
                there = sites_by_walk(genome, other)
                assert on_others(mine, decoy.width, there, other.width) <= 0.1 * len(mine)
            assert all(on_others(mine, decoy.width, there, decoy.width) <= 0.25 * len(mine) for there in accepted)
            accepted.append(mine)


def fit_by_strings(texts, bases, motif, p, relative):
    """The best F1 of a word on each strand, of sites that start on the first bases of texts; their mean."""

    def words(text, starts):
        return {text[i : i + 6] for i in starts if i >= 0 and len(text[i : i + 6]) == 6 and "N" not in text[i : i + 6]}

    places = Counter(word for text in texts for i in range(len(text)) for word in words(text, [i]))
    best = []
    for strand in (1, -1):
        hit, sites = Counter(), 0
        for text, n in zip(texts, bases):
            hits = Scanner([motif], p=p, relative=relative).scan(text.encode())
            for start in hits.start[(hits.strand == strand) & (hits.start < n)].tolist():
                ends = range(start + min(motif.width, 6), start + motif.width + 1)  # half-open
                hit.update(words(text, [end - 6 for end in ends]))
                sites += 1
        best.append(max([2 * n / (sites + places[word]) for word, n in hit.items()], default=0))
    return sum(best) / 2


@given(drawn_motifs(min_width=2, max_width=9), st.integers(0, 50), st.sampled_from([10**6, 700]))
@settings(max_examples=30)
def test_word_fit_is_that_of_a_walk_along_the_letters(tmp_path_factory, motif, seed, most):
    """On a palindrome too, on sites at both ends of a contig, beside N, and narrower than a word."""
    assume(loss_limit(motif, 0.3, 0.6) >= 0)
    letters = random_dna(900, seed) + "N" + random_dna(400, seed + 1) + "N" * 120 + random_dna(300, seed + 2)
    path = tmp_path_factory.mktemp("fit") / "g.fa"
    genome = Genome(write_fasta(path, a=letters, b=random_dna(200, seed + 3).lower()))
    sample = _Sample(genome, None, most, 9)
    reach = [GenomicRegion(b.contig, b.start, min(b.end + 8, genome.lengths[b.contig])) for b in sample.bins]
    texts = [genome.sequence(region).decode().upper() for region in reach]
    options = {"p": 0.3, "relative": 0.6}
    (hits,) = sample.scan([motif], threads=1, **options)
    expected = fit_by_strings(texts, list(map(len, sample.bins)), motif, **options)
    assert sample.word_fit(hits, motif.width) == pytest.approx(expected)


def test_a_word_that_comes_several_times_in_a_site_counts_once(tmp_path):
    text = ("A" * 9 + "CGGCTCGCTC" + random_dna(30, 1)) * 20
    sample = _Sample(Genome(write_fasta(tmp_path / "g.fa", a=text)), None, 10**6, 8)
    motif = Motif("MA0001.1", "", np.eye(4)[[0] * 8] * 50 + 0.1)
    (hits,) = sample.scan([motif], 1e-4, 0.95, 1)
    expected = fit_by_strings([text], [len(text)], motif, 1e-4, 0.95)
    assert len(hits) >= 40 and sample.word_fit(hits, 8) == pytest.approx(expected)


def test_a_motif_that_is_one_word_fits_it_and_a_vague_one_does_not(tmp_path):
    text = ("GATTACA" + random_dna(93, 1)) * 40
    sample = _Sample(Genome(write_fasta(tmp_path / "g.fa", a=text)), None, 10**6, 8)
    sharp = Motif("MA0001.1", "", np.eye(4)[["ACGT".index(x) for x in "GATTACA"]] * 50 + 0.1)
    (hits,) = sample.scan([sharp], 1e-4, 0.95, 1)
    assert set(hits.strand.tolist()) == {1} and sample.word_fit(hits, 7) == 0.5  # of 1 and, on -, 0


class Fits:
    """A sample in which the fit of a word to the sites of a matrix is its first start, in thousandths."""

    def word_fit(self, hits, width):
        return int(hits.start[0]) / 1000


def five_hits(first):
    start = first + 1000 * np.arange(5)
    return Hits(np.zeros(5, np.int32), start, np.ones(5, np.int8), np.ones(5), np.full(5, 4.0))


@pytest.mark.parametrize(
    ("own", "other", "accepted"),
    [(300, 600, True), (300, 620, False), (300, 150, True), (300, 140, False), (30, 49, True), (1, 11, True)],
)
def test_a_decoy_is_accepted_within_a_factor_of_two_of_word_fit_plus_a_hundredth(own, other, accepted):
    group = _Group(WIDE, five_hits(own), 0, 3, Fits())
    group.accept([(NARROW, five_hits(other))])
    assert len(group.chosen) == accepted


def test_decoys_are_as_easy_to_match_by_a_word_as_their_motif(genome, matched):
    widest = max(motif.width for motif in MOTIFS)
    sample = _Sample(genome, None, 4_000_000, widest)
    for group in groups(matched):
        motifs = [matched.motifs[i] for i in group]
        found = sample.scan(motifs, LOOSE["p"], LOOSE["relative"], 1)
        first, *others = (sample.word_fit(hits, motif.width) for hits, motif in zip(found, motifs))
        assert all(1 / 2 <= (fit + LEAST_FIT) / (first + LEAST_FIT) <= 2 for fit in others)


def test_all_of_a_group_have_the_same_number_of_best_sites(genome, matched):
    found = all_sites(genome, matched)
    for group in groups(matched):
        whole = {i: sites_by_walk(genome, matched.motifs[i]) for i in group}
        for strand in (1, -1):
            least = min(sum(s == strand for *_, s in whole[i]) for i in group)
            for i in group:
                kept = [(c, a, s) for c, motif, a, _, s in found if motif == i and s == strand]
                assert len(kept) == least
                scores = sorted((x for (*_, s), x in whole[i].items() if s == strand), reverse=True)
                assert sorted((whole[i][key] for key in kept), reverse=True) == pytest.approx(scores[:least])


def test_sites_that_are_cut_off_are_the_rest_of_all_sites(genome, matched):
    """Windows may not touch them, so none may be missing: on both strands, and at both ends of a contig."""
    found = every_site(genome, matched)
    for i, motif in enumerate(matched.motifs):
        mine = {(c, start, strand): end - start for c, j, start, end, strand, _ in found if j == i}
        assert set(mine) == set(sites_by_walk(genome, motif)) and set(mine.values()) == {motif.width}
    assert {row[-1] for row in found} == {True, False}


def test_sites_do_not_depend_on_the_cuts(genome, matched):
    whole = set(every_site(genome, matched))
    rng = np.random.default_rng(3)
    for contig, n in genome.lengths.items():
        cuts = sorted({0, n, 4, 65_535, 65_536, n - 3, *rng.integers(1, n, 20).tolist()})
        parts = []
        for start, end in zip(cuts, cuts[1:]):
            parts += every_site(genome, matched, [GenomicRegion(contig, start, end)])
        assert len(parts) == len(set(parts)) and set(parts) == {row for row in whole if row[0] == contig}


def test_best_words_at_borders_are_sites(genome, matched):
    target = groups(matched)[matched.names.index("MA0001.1")][0]
    found = {(c, a, b) for c, motif, a, b, s in all_sites(genome, matched) if motif == target and s == 1}
    assert {("b", 0, 8), ("b", 249_992, 250_000), ("a", 0, 8), ("a", 149_992, 150_000), ("b", 65_532, 65_540)} <= found
    one = all_sites(genome, matched, [GenomicRegion("b", 65_532, 65_533)])
    assert ("b", target, 65_532, 65_540, 1) in one


def test_nothing_depends_on_order_or_threads(genome, matched):
    again = match_decoys(genome, MOTIFS, 3, None, **LOOSE, threads=1)
    assert [m.matrix_id for m in again.motifs] == [m.matrix_id for m in matched.motifs]
    assert every_site(genome, again) == every_site(genome, matched)
    other = match_decoys(genome, MOTIFS, 3, None, **LOOSE, seed=1)
    assert not np.array_equal(other.motifs[1].counts, matched.motifs[1].counts)


def test_a_sample_is_spread_over_the_regions(genome):
    regions = [GenomicRegion("b", 1000, 200_000), GenomicRegion("a", 0, 140_000)]
    some = match_decoys(genome, [NARROW, WIDE], 2, regions, **LOOSE, sample=70_000)
    assert 60_000 < some.facts["bases"] <= 70_000 and len(some.names) == 2
    found = all_sites(genome, some, regions)
    for group in groups(some):
        numbers = [sum(motif == i for _, motif, *_ in found) for i in group]
        assert min(numbers) > 0.7 * max(numbers)  # equal on the sample, nearly so elsewhere


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000))
def test_a_sample_has_equal_numbers(genome, seed):
    region = GenomicRegion("b", seed, 30_000 + seed)
    some = match_decoys(genome, [NARROW], 2, [region], p=5e-3, relative=0.5, seed=seed)
    for group in groups(some):
        rows = all_sites(genome, some, [region])
        numbers = {(i, s): sum(x[1] == i and x[4] == s for x in rows) for i in group for s in (1, -1)}
        assert all(len({numbers[i, s] for i in group}) == 1 for s in (1, -1))


def test_motifs_without_decoys_say_why(genome):
    short, vague = matrix("MA0005.1", "GATC"), Motif("MA0006.1", "", np.full((8, 4), 5.0))
    rare = matrix("MA0007.1", "GATTACAGGATCCATGCATGA")
    few = match_decoys(genome, [short, vague, rare, NARROW], 2, [GenomicRegion("a", 0, 100_000)])
    assert few.names == ["MA0001.1"]
    assert few.missing["MA0005.1"] == few.missing["MA0006.1"] == "no word reaches p <= 0.0001"
    assert "no site" in few.missing["MA0007.1"] or "none of" in few.missing["MA0007.1"]


def test_a_motif_of_four_columns_has_decoys(genome):
    short = match_decoys(genome, [matrix("MA0005.1", "GATG")], 3, None, p=0.02, relative=0.8)
    assert short.names == ["MA0005.1"] and short.decoys[0] == 3


def test_a_palindrome_has_its_sites_on_both_strands(genome, matched):
    target = groups(matched)[matched.names.index("MA0004.1")][0]
    places = [
        {(c, a) for c, m, a, _, s in all_sites(genome, matched) if m == target and s == strand} for strand in (1, -1)
    ]
    few, many = sorted(places, key=len)
    assert len(few) > 10 and few <= many  # the decoys may have fewer on one strand, and ties go by the place alone


@pytest.mark.parametrize(("motifs", "k"), [([], 3), ([NARROW], 0), ([matrix("MA0005.1", "GATC")], 2)])
def test_nothing_to_compete_is_no_error(genome, motifs, k):
    none = match_decoys(genome, motifs, k, None)
    assert none.names == [] and none.motifs == [] and len(none.decoys) == 0
    assert [len(x) for x in none.sites(genome, GenomicRegion("a", 0, 1000))] == [0] * 5
    assert none.facts["decoys"] == 0 and len(none.missing) == len(motifs)


def test_many_decoys_of_one_motif(genome):
    many = match_decoys(genome, [WIDE], 40, None, **LOOSE)
    assert many.facts["fewest"] > 20 and len({m.counts.tobytes() for m in many.motifs}) == len(many.motifs)


def test_no_region_has_no_decoys(genome):
    none = match_decoys(genome, [NARROW], 2, [])
    assert none.names == [] and "no site on the 0 bases" in none.missing["MA0001.1"]


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9), st.integers(0, 2)), min_size=1, max_size=25), st.data()
)
def test_sites_that_lie_on_others_are_those_of_all_pairs(others, data):
    others = [(a, 3 + k, k) for a, _, k in sorted(others)]
    width, start = data.draw(st.integers(1, 9)), sorted(data.draw(st.lists(st.integers(0, 60), min_size=1, max_size=9)))
    on = [{k for b, w, k in others if 2 * (min(a + width, b + w) - max(a, b)) > min(width, w)} for a in start]
    expected = max(sum(k in here for here in on) for k in range(3))
    places = Places(*np.array([(a, width, 0) for a in start], np.int64).T.copy())
    assert places.shared(Places(*np.array(others, np.int64).T.copy())) == expected
