"""Matrices against matrices: every number by hand; each is its own best match, and unrelated ones are none."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import dist, floor, log10
from statistics import median

import numpy as np
import pytest
from conftest import shared
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.insight.tomtom import BINS, compare_motifs
from sae_tracks.motifs import Motif, jaspar_motifs, read_motifs


@pytest.fixture(scope="module")
def jaspar():
    pytest.importorskip("pyjaspar")
    return {motif.matrix_id: motif for motif in jaspar_motifs("JASPAR2024")}


def drawn(width, seed, name="m"):
    return Motif(name, "", np.random.default_rng(seed).dirichlet([0.3] * 4, width) * 100)


def columns(motif):
    return [tuple(row / row.sum()) for row in motif.counts]


def aligned(at, n, width):
    """The query's columns that meet a target of n columns, of which the first is at the query's column -`at`."""
    return [k for k in range(width) if 0 <= at + k < n]


def by_hand(query, targets, min_overlap):
    """(p, score, overlap, strand) of each target: drawn columns are all tried."""
    both = [(columns(motif), columns(motif.reverse_complement())) for motif in targets]
    every = [column for pair in both for target in pair for column in target]
    apart = {(k, other): -round(dist(own, other), 9) for k, own in enumerate(columns(query)) for other in every}
    middle = [median(apart[k, other] for other in every) for k in range(query.width)]
    moved = {(k, other): value - middle[k] for (k, other), value in apart.items()}
    span = max(moved.values()) - floor(min(moved.values()))
    scale = floor(BINS / span) if span else 0
    score = {key: floor(value * scale + 0.5) for key, value in moved.items()}
    sums = {(): Counter([0])}
    for first, last in product(range(query.width), repeat=2):
        some = tuple(range(first, last + 1))
        sums[some] = Counter(
            sum(score[k, other] for k, other in zip(some, drawn)) for drawn in product(every, repeat=len(some))
        )
    for forward, reverse in both:
        tails, best = [], []
        for sign, target in ((1, forward), (-1, reverse)):
            offsets = [aligned(at, len(target), query.width) for at in range(1 - query.width, len(target))]
            places = range(1 - query.width, len(target))
            found = [(sum(score[k, target[at + k]] for k in some), len(some)) for at, some in zip(places, offsets)]
            total, overlap = max(found)
            below = Fraction(1)
            for some in offsets:
                drawn = sums[tuple(some)]
                below *= Fraction(sum(n for s, n in drawn.items() if s < total), sum(drawn.values()))
            tails.append(1 - below)
            best.append((total, sign, overlap))
        total, sign, overlap = max(best, key=lambda one: one[:2])
        p = 1 - (1 - min(tails)) ** 2 if overlap >= min(min_overlap, query.width, len(forward)) else 1
        yield float(p), total, overlap, sign


WIDTHS = st.lists(st.integers(1, 4), min_size=1, max_size=3)


@given(st.integers(1, 3), WIDTHS, st.integers(0, 999), st.integers(1, 3))
@settings(max_examples=40)
def test_every_number_is_that_of_all_alignments_and_all_drawn_columns(width, widths, seed, min_overlap):
    """Of few counts, so that columns and scores are often equal."""
    rng = np.random.default_rng(seed)
    query, *targets = [
        Motif("m", "", rng.integers(0, 3, (n, 4)) + np.eye(4)[rng.integers(0, 4, n)]) for n in [width, *widths]
    ]
    found = compare_motifs([query, query], targets, min_overlap=min_overlap)
    for row, (p, score, overlap, strand) in enumerate(by_hand(query, targets, min_overlap)):
        assert found.p[0, row] == pytest.approx(p, rel=1e-9)
        assert (found.score[0, row], found.overlap[0, row], found.strand[0, row]) == (score, overlap, strand)
    for name in ("p", "score", "overlap", "strand"):
        assert (getattr(found, name)[1] == getattr(found, name)[0]).all()


def test_the_smallest_p_values_are_not_lost_in_rounding():
    """A quarter of the targets' columns are the query's own, and a match needs 40 of them, on one strand of two."""
    query = Motif("q", "", np.tile(np.eye(4)[[0]] * 10, (40, 1)))
    other = Motif("o", "", np.tile(np.eye(4)[[1]] * 10, (40, 1)))
    p = compare_motifs([query], [query, other]).p[0, 0]
    assert log10(p) == pytest.approx(log10(2 * 0.25**40), abs=0.01)


def test_every_matrix_and_its_reverse_complement_is_its_own_best_match(jaspar):
    known = list(jaspar.values())
    some = known[::25]
    for queries, strand in ((some, 1), ([motif.reverse_complement() for motif in some], -1)):
        compared = compare_motifs(queries, known)
        for row, motif in enumerate(some):
            (best,) = compared.best(row, 1)
            assert known[best].matrix_id == motif.matrix_id
            assert compared.overlap[row, best] == motif.width
            palindrome = np.allclose(motif.counts, motif.counts[::-1, ::-1])
            assert compared.strand[row, best] == strand or palindrome


def test_matrices_of_a_file_are_their_own_best_match():
    known = read_motifs(shared("data/JASPAR2022_vertebrates.pfm.gz"))[::8]
    compared = compare_motifs(known[::10], known)
    assert [known[compared.best(row, 1)[0]].matrix_id for row in range(len(compared.p))] == [
        motif.matrix_id for motif in known[::10]
    ]


def test_alignments_with_too_little_overlap_are_no_match():
    known = [drawn(14, seed) for seed in range(60)]
    query = replace(known[7], counts=np.concatenate([drawn(6, 500).counts, known[7].counts[:4]]))
    loose, strict = compare_motifs([query], known), compare_motifs([query], known, min_overlap=5)
    short = loose.overlap[0] < 5
    assert short.any() and (strict.p[0, short] == 1).all()
    np.testing.assert_array_equal(strict.p[0, ~short], loose.p[0, ~short])
    narrow = replace(known[7], counts=known[7].counts[5:8])
    assert compare_motifs([narrow], known, min_overlap=5).overlap.max() == 3


def test_random_matrices_are_no_match():
    """p-values of unrelated matrices are about uniform: no fewer than one in a thousand are below a thousandth."""
    known = [drawn(12, seed) for seed in range(150)]
    p = compare_motifs([drawn(10, seed) for seed in range(1000, 1020)], known).p
    assert (p < 1e-3).mean() < 0.004
    assert 0.03 < (p < 0.05).mean() < 0.08


def test_a_match_is_found_on_its_strand():
    known = [drawn(14, seed) for seed in range(60)]
    part = replace(known[7], counts=known[7].counts[3:11])
    for query, strand in ((part, 1), (part.reverse_complement(), -1)):
        compared = compare_motifs([query], known, min_overlap=5)
        assert compared.best(0, 1).tolist() == [7] and compared.p[0, 7] < 1e-6
        assert (compared.strand[0, 7], compared.overlap[0, 7]) == (strand, 8)
