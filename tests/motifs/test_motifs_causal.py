"""The left-to-right reader: against all ways in which a begun site can go on."""

from itertools import product

import numpy as np
import pytest
from conftest import shared
from hypothesis import given, settings
from hypothesis import strategies as st
from motif_oracle import BASES, motifs, scores, sequences

from sae_tracks.genome import Genome
from sae_tracks.motifs import Motif, Scanner, causal_scores, loss_limit, markov2, read_motifs
from sae_tracks.regions import GenomicRegion


def walk(motif, limit, sequence, background):
    """The same base by base, site by site, word by word."""
    table = [[round(1000 * x) for x in row] for row in scores(motif.counts)]
    best = sum(map(max, table))

    def is_site(letters):
        return best - sum(row[BASES.index(x)] for row, x in zip(table, letters)) <= limit

    def chance(before, begun):
        total = 0.0
        for rest in product(BASES, repeat=motif.width - len(begun)):
            if not is_site([*begun, *rest]):
                continue
            letters, p = before + "".join(begun), 1.0
            for letter in rest:
                p *= background[4 * BASES.index(letters[-2]) + BASES.index(letters[-1])][BASES.index(letter)]
                letters += letter
            total += p
        return total

    text, found = sequence.decode(), []
    for i in range(len(text)):
        none = 1.0
        for j in range(motif.width):
            start = i - j
            begun = text[max(start, 0) : i + 1]
            if start < 0 or "N" in begun:
                continue
            before = text[start - 1 : start]
            befores = list(BASES) if before in ("", "N") else [before]
            none *= 1 - sum(chance(b, list(begun)) for b in befores) / len(befores)
        found.append(1 - none)
    return found


backgrounds = st.integers(0, 1000).map(lambda seed: np.random.default_rng(seed).dirichlet(np.ones(4), 16))


@settings(max_examples=30, deadline=None)
@given(motifs(max_width=5), sequences(max_size=12), backgrounds, st.sampled_from([0.01, 0.1, 0.5]))
def test_scores_are_those_of_all_ways_to_go_on(motif, sequence, background, p):
    limit = loss_limit(motif, p, 0)
    found = causal_scores(motif, limit, sequence, background)
    assert found.tolist() == pytest.approx(walk(motif, limit, sequence, background), abs=1e-12)


SIX = Motif("MA0006.1", "", np.eye(4)[[0, 1, 2, 3, 0, 1]] * 20 + 1.0)


def test_a_motif_of_six_positions_against_all_its_words():
    background = np.random.default_rng(3).dirichlet(np.ones(4), 16)
    limit = loss_limit(SIX, 2e-3, 0.5)
    sequence = b"GGACGTACTTNACGTTC"
    assert causal_scores(SIX, limit, sequence, background) == pytest.approx(walk(SIX, limit, sequence, background))


def test_certainty_at_the_end_of_a_site_and_none_where_no_site_can_be():
    background = markov2(b"ACGTTGCAAC" * 50)
    limit = loss_limit(SIX, 1e-3, 0.99)  # only the best word
    found = causal_scores(SIX, limit, b"GGACGTACTGN", background)
    assert found[7] == 1  # the last base of the site
    assert (np.diff(found[2:8]) > 0).all()  # ever surer
    assert found[[0, 1, 8, 9, 10]].tolist() == [0] * 5
    assert not causal_scores(SIX, loss_limit(SIX, 1e-9), b"ACGTAC", background).any()


def test_the_last_base_of_every_site_scores_one_on_either_strand():
    rng = np.random.default_rng(0)
    sequence = rng.choice(np.frombuffer(b"ACGT", np.uint8), 20_000).tobytes()
    motif = Motif("MA1.1", "", rng.integers(1, 50, (9, 4)).astype(float))
    hits, background = Scanner([motif], p=1e-3, relative=0).scan(sequence), markov2(sequence)
    for strand, matrix in ((1, motif), (-1, motif.reverse_complement())):
        last = hits.start[hits.strand == strand] + motif.width - 1
        assert len(last) > 3
        found = causal_scores(matrix, loss_limit(motif, 1e-3, 0), sequence, background)
        assert (found[last] == 1).all()
        assert (found < 1).sum() > 0.9 * len(found)


def test_markov_probabilities_are_counts_begun_at_one():
    background = markov2(b"ACGacgNACTA")
    assert background.shape == (16, 4)
    assert background[4 * 0 + 1].tolist() == [1 / 7, 1 / 7, 3 / 7, 2 / 7]  # after AC: G, g, T
    assert background[4 * 3 + 3].tolist() == [0.25] * 4
    assert background.sum(axis=1) == pytest.approx(1)


@pytest.mark.real
def test_no_reader_labels_the_left_part_of_real_sites():
    """Best F1 on chr22 of a 16-mer, ZNF460: well above what its rare bases give by chance, well below 1."""
    genome = Genome(shared("data/hg19.chr22_20000000-21000000.fa.gz"))
    sequence = genome.sequence(GenomicRegion("chr22_20000000_21000000", 0, 1_000_000))
    motif = next(m for m in read_motifs(shared("data/JASPAR2022_vertebrates.pfm.gz")) if m.matrix_id == "MA1596.1")
    hits = Scanner([motif]).scan(sequence)
    inside = np.zeros(len(sequence) + 1, np.int64)
    np.add.at(inside, hits.start[hits.strand == 1], 1)
    np.add.at(inside, hits.start[hits.strand == 1] + motif.width, -1)
    labels = np.cumsum(inside)[:-1] > 0
    found = causal_scores(motif, loss_limit(motif), sequence, markov2(sequence))
    order = np.argsort(-found, kind="stable")
    f1 = 2 * np.cumsum(labels[order]) / (np.arange(1, len(order) + 1) + labels.sum())
    assert 0.45 < f1.max() < 0.75
