"""The ideal reader of motifs from left to right, and the best cut of a score: against trying all."""

import numpy as np
import pandas as pd
import pytest
from control_scenes import COLUMNS
from hypothesis import given
from hypothesis import strategies as st
from toy import random_dna, write_fasta

from sae_tracks.annotations import Annotation
from sae_tracks.controls.reference import best_cut, causal_reference, sample_of
from sae_tracks.dna import reverse_complement
from sae_tracks.genome import Genome
from sae_tracks.metrics import Evaluation, Halves, Labels
from sae_tracks.motifs import Motif, causal_scores, loss_limit, markov2
from sae_tracks.regions import GenomicRegion


def f1(active, labelled):
    both = active.sum() + labelled.sum()
    return 2 * (active & labelled).sum() / both if both else np.nan


@given(st.integers(0, 10**6), st.integers(1, 120))
def test_the_best_cut_is_that_of_trying_every_score(seed, n):
    rng = np.random.default_rng(seed)
    score, labelled = rng.integers(0, 12, n) / 8, rng.random(n) < rng.choice([0, 0.1, 0.5])
    half = rng.integers(0, 2, n).astype(np.int8)
    cut, select_f1, report_f1 = best_cut(score, labelled, half)
    select, report = half == 0, half == 1
    if not (select & labelled).any():
        assert np.isnan([cut, select_f1, report_f1]).all()
        return
    assert select_f1 == pytest.approx(max(f1((score >= s)[select], labelled[select]) for s in set(score.tolist())))
    assert select_f1 == pytest.approx(f1((score >= cut)[select], labelled[select]))
    assert report_f1 == pytest.approx(f1((score >= cut)[report], labelled[report]), nan_ok=True)


WORD, HALVES = "GATTACCA", Halves(4000)
MOTIF = Motif("M8", "", 100.0 * np.eye(4)[["ACGT".index(letter) for letter in WORD]])


def evaluation_of(path, text, halves=HALVES, word=WORD):
    """Sites are all places of a word that do not cross a border of the halves."""
    genome = Genome(write_fasta(path, c=text))
    rows = [("c", i, i + 8, "m", 1, "+", "") for i in range(len(text) - 7) if text[i : i + 8] == word]
    rows = [row for row in rows if row[1] // 4000 == (row[2] - 1) // 4000]
    labels = Labels(Annotation(pd.DataFrame(rows, columns=COLUMNS), "drawn"))
    return Evaluation(genome, genome.whole, [], labels, halves), rows


@pytest.fixture(scope="module")
def planted():
    """16,000 bases with a word at 120 places, some N."""
    rng, letters = np.random.default_rng(8), list(random_dna(16_000, 8))
    for start in rng.choice(16_000 // 20 - 1, 120, replace=False) * 20:
        letters[start : start + 8] = WORD
    letters[4500:4540] = "N" * 40
    return "".join(letters)


@pytest.mark.parametrize("read_strand", ["+", "-"])
def test_the_reference_reads_piece_by_piece_in_the_direction_of_the_model(tmp_path, planted, read_strand):
    evaluation, rows = evaluation_of(tmp_path / "g.fa", planted)
    found = causal_reference(evaluation, {4: MOTIF}, read_strand)
    forward, pieces = read_strand == "+", [planted[i : i + 4000].encode() for i in range(0, 16_000, 4000)]
    along, read = (MOTIF, pieces) if forward else (MOTIF.reverse_complement(), [*map(reverse_complement, pieces)])
    background = markov2(b"N".join(read[::2] if forward else read[2::-2]))
    score = [causal_scores(along, loss_limit(MOTIF), text, background)[:: 1 if forward else -1] for text in read]
    labelled = np.zeros(16_000, bool)
    for _, start, end, *_ in rows:
        labelled[start:end] = True
    known = np.array([letter != "N" for letter in planted])
    half = (np.arange(16_000) // 4000 % 2).astype(np.int8)
    cut, _, expected = best_cut(np.concatenate(score)[known], labelled[known], half[known])
    assert found == {4: pytest.approx(expected, abs=1e-12)}
    assert 0.5 < expected < 0.95 and cut > 0  # the first bases of a site are not known


def test_a_mirrored_genome_read_backwards_gives_the_same(tmp_path, planted):
    mirrored = reverse_complement(planted.encode()).decode()
    swapped = [GenomicRegion("c", i, i + 4000) for i in range(0, 16_000, 4000)]
    forward, _ = evaluation_of(tmp_path / "f.fa", planted)
    backward, _ = evaluation_of(
        tmp_path / "b.fa",
        mirrored,
        Halves(named=(swapped[1::2], swapped[::2])),
        reverse_complement(WORD.encode()).decode(),
    )
    found = causal_reference(backward, {4: MOTIF.reverse_complement()}, "-")
    assert found[4] == pytest.approx(causal_reference(forward, {4: MOTIF}, "+")[4], abs=1e-12)


@pytest.mark.parametrize("read_strand", ["+", "-"])
def test_a_motif_of_one_base_is_known_as_it_is_read(tmp_path, planted, read_strand):
    evaluation, _ = evaluation_of(tmp_path / "g.fa", planted)
    one = Motif("M1", "", np.array([[0.0, 0, 0, 50]]))
    assert causal_reference(evaluation, {3: one}, read_strand, p=0.3) == {3: 1}


def test_a_concept_without_a_labelled_base_of_the_select_half_has_none(tmp_path):
    text = "C" * 4000 + WORD + "C" * 3992
    evaluation, rows = evaluation_of(tmp_path / "g.fa", text)
    assert len(rows) == 1 and np.isnan(causal_reference(evaluation, {4: MOTIF}, "+")[4])


@given(st.lists(st.tuples(st.integers(1, 300_000), st.integers(0, 50_000)), min_size=1, max_size=3), st.integers(0, 1))
def test_pieces_of_a_sample_are_disjoint_of_one_half_and_no_more_than_wanted(sizes, half):
    regions, at = [], 0
    for length, gap in sizes:
        regions.append(GenomicRegion("c", at + gap, at + gap + length))
        at += gap + length
    halves = Halves(100_000, 3000)
    evaluation = Evaluation(None, regions, [], None, halves)
    counted = sum(len(tile) for region in regions for tile, h in halves.tiles(region) if h == half)
    for most in (1, 70_000, 10**9):
        pieces = sample_of(evaluation, half, most)
        assert all(a.end <= b.start for a, b in zip(pieces, pieces[1:]))
        assert all(any(r.overlap(piece) == piece for r in regions) for piece in pieces)
        assert all((halves.of("c", np.array([p.start, p.end - 1])) == half).all() for p in pieces)
        total = sum(map(len, pieces))
        assert total == counted if most >= counted else 0 < total <= most
