"""Contexts and words: what a shuffle keeps, where contexts lie, which words are sites."""

from collections import Counter
from itertools import permutations

import numpy as np
import planted
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from toy import OneHotLM, identity_sae, random_dna, write_fasta

from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.insight.contexts import Shape, draw_contexts, shuffle_dinucleotides, words_of
from sae_tracks.motifs import Motif, Scanner
from sae_tracks.source import Source


def pairs(sequence):
    return Counter(zip(sequence, sequence[1:]))


@given(st.text("ACGT", max_size=40), st.integers(0, 3))
def test_a_shuffle_keeps_dinucleotides_and_both_ends(text, seed):
    shuffled = shuffle_dinucleotides(text.encode(), np.random.default_rng(seed))
    assert pairs(shuffled) == pairs(text.encode())
    assert (shuffled[:1], shuffled[-1:]) == (text.encode()[:1], text.encode()[-1:])


def test_all_sequences_with_the_same_dinucleotides_are_equally_likely():
    sequence = b"AACAGATCA"
    middles = {"".join(p) for p in permutations(sequence[1:-1].decode())}
    possible = [s for m in middles if pairs(s := b"A" + m.encode() + b"A") == pairs(sequence)]
    rng, n = np.random.default_rng(0), 6000
    found = Counter(shuffle_dinucleotides(sequence, rng) for _ in range(n))
    assert set(found) == set(possible)
    expected = n / len(possible)
    chi2 = sum((found[s] - expected) ** 2 / expected for s in possible)
    assert chi2 < len(possible) - 1 + 5 * (2 * len(possible)) ** 0.5


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """Random bases with a run of N."""
    dna = random_dna(20_000, 3)
    return Genome(write_fasta(tmp_path_factory.mktemp("g") / "g.fa", c1=dna[:9_000] + "N" * 300 + dna[9_000:]))


def source(genome):
    return Source(OneHotLM(), identity_sae(), genome, window=64, context=20)


@pytest.mark.parametrize("strand", ["+", "-"])
def test_contexts_are_real_sequence_around_places_in_and_outside_of_repeats(genome, strand, tmp_path):
    repeats = [("c1", start, start + 40, "SINE") for start in range(100, 8_000, 200)]
    bed, shape = planted.write_bed(tmp_path / "r.bed", repeats), Shape(30, 12)
    drawn = draw_contexts(source(genome), shape, 25, strand, repeats=str(bed))
    assert Counter(one.kind for one in drawn) == {"shuffled": 25, "genome": 25, "repeat": 25}
    for one in drawn:
        assert len(one.place) == len(one.letters) == 42
        real = genome.sequence(one.place)
        oriented = real if strand == "+" else reverse_complement(real)
        assert (one.letters == oriented) == (one.kind != "shuffled")
        assert pairs(one.letters) == pairs(oriented)
        place = one.place.start + 30 if strand == "+" else one.place.end - 31
        inside = any(start <= place < end for _, start, end, _ in repeats)
        assert inside == (one.kind == "repeat")
        assert b"N" not in real
    real = sorted(one.place for one in drawn if one.kind == "genome")
    assert all(a.end <= b.start for a, b in zip(real, real[1:]))


@given(st.sampled_from("+-"), st.lists(st.tuples(st.integers(0, 4_000), st.integers(1, 200)), max_size=4))
@example("+", [(30 + 42 * 10 + 12, 100), (42 * 20 - 130, 100)])  # a context that ends at N, and one that begins behind
@example("-", [(11 + 42 * 10 + 31, 100), (42 * 20 + 11 - 111, 100)])
@settings(max_examples=30)
def test_all_contexts_between_unknown_bases_are_found(tmp_path_factory, strand, unknown):
    text = random_dna(4_200, 1)
    for start, n in unknown:
        text = text[:start] + "N" * len(text[start : start + n]) + text[start + n :]
    shape, (left, right) = Shape(30, 12), ((30, 12) if strand == "+" else (11, 31))
    expected = [
        (place - left, place + right)
        for place in range(0, len(text), 42)
        if place >= left and place + right <= len(text) and "N" not in text[place - left : place + right]
    ]
    fasta = write_fasta(tmp_path_factory.mktemp("n") / "g.fa", c1=text)
    drawn = draw_contexts(source(Genome(fasta)), shape, 1_000, strand)
    assert sorted((one.place.start, one.place.end) for one in drawn if one.kind == "genome") == expected


def test_too_few_contexts_are_refused(genome):
    with pytest.raises(SaeTracksError, match=r"hold \d+ contexts of 3,012 bases outside of repeats; 20 are needed"):
        draw_contexts(source(genome), Shape(3_000, 12), 25, "+")


def test_words_are_sites_of_their_motif_and_those_of_decoys_are_not():
    motif = planted.motifs()[1]
    sites, decoys = words_of(motif, 60, seed=1)
    assert len(sites) == len(decoys) == 60 == len(words_of(motif, 60, seed=1)[0])
    scanner = Scanner([motif], threads=1)
    own = [scanner.scan(word) for word in sites]
    assert all((hits.strand == 1).any() for hits in own)
    assert not any(len(scanner.scan(word)) for word in decoys)
    assert len(set(sites)) > 5, "words are drawn from the matrix, not the best word alone"
    assert words_of(motif, 60, seed=2)[0] != sites


@pytest.mark.parametrize("counts", [np.full((12, 4), 10.0), np.tile([[40.0, 0, 0, 0]], (3, 1))])
def test_a_motif_without_words_or_decoys_has_none(counts):
    assert words_of(Motif("MA1", "", counts), 20, seed=0) == ([], [])
