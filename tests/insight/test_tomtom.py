"""Matrices against matrices: each is its own best match, and unrelated ones are none."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import shared

from sae_tracks.insight.tomtom import compare_motifs
from sae_tracks.motifs import Motif, jaspar_motifs, read_motifs


@pytest.fixture(scope="module")
def jaspar():
    pytest.importorskip("pyjaspar")
    return {motif.matrix_id: motif for motif in jaspar_motifs("JASPAR2024")}


def drawn(width, seed, name="m"):
    return Motif(name, "", np.random.default_rng(seed).dirichlet([0.3] * 4, width) * 100)


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
