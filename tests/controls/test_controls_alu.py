"""Copies of a repeat: planted ones are found where they lie, and alignments equal Biopython's and a plain recursion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import random_dna, write_fasta

from sae_tracks.controls.alu import ALU, MIN_SCORE, align, alu_sites, best_ends, best_score, find_copies
from sae_tracks.dna import codes, reverse_complement
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion

CONSENSUS = random_dna(290, 99)
MINUS = CONSENSUS.translate(str.maketrans("ACGT", "TGCA"))[::-1]
OTHER_LETTER = str.maketrans("ACGT", "CGTA")


def plant(length, texts):
    """Random sequence that holds texts, by their starts."""
    sequence = random_dna(length, 1)
    for start, text in texts.items():
        sequence = sequence[:start] + text + sequence[start + len(text) :]
    return sequence.encode()


def cut_short(start, end):
    """A part of the consensus between 20 bases that do not go on with it."""
    left, right = CONSENSUS[start - 20 : start], CONSENSUS[end : end + 20]
    return left.translate(OTHER_LETTER) + CONSENSUS[start:end] + right.translate(OTHER_LETTER)


def test_copies_on_both_strands_are_found_where_they_lie():
    texts = {300: CONSENSUS, 1900: MINUS, 3000: cut_short(120, 220), 5000: MINUS, 5290: CONSENSUS}  # the last two touch
    copies = find_copies(plant(6000, texts), CONSENSUS.encode())
    assert [(copy.start, copy.end, copy.strand, copy.score) for copy in copies] == [
        (300, 590, "+", 290),
        (1900, 2190, "-", 290),
        (3020, 3120, "+", 100),
        (5000, 5290, "-", 290),
        (5290, 5580, "+", 290),
    ]
    whole, reverse = range(290), range(289, -1, -1)
    positions = [whole, reverse, range(120, 220), reverse, whole]
    assert [copy.consensus.tolist() for copy in copies] == [list(expected) for expected in positions]


@pytest.mark.parametrize("strand", ["+", "-"])
def test_a_copy_with_an_insertion_a_deletion_and_substitutions(strand):
    text = MINUS if strand == "-" else CONSENSUS
    letters = [x.translate(OTHER_LETTER) if i in (50, 60, 71) else x for i, x in enumerate(text)]
    text = "".join(letters[:100]) + "N" * 8 + "".join(letters[100:200]) + "".join(letters[203:])
    (copy,) = find_copies(plant(1000, {400: text}), CONSENSUS.encode())
    assert (copy.start, copy.end, copy.strand) == (400, 695, strand)
    assert copy.score == 287 - 2 * 3 - (3 + 7) - (3 + 2)
    expected = {
        "+": np.r_[0:100, [-1] * 8, 100:200, 203:290],
        "-": np.r_[289:189:-1, [-1] * 8, 189:89:-1, 86:-1:-1],
    }
    assert copy.consensus.tolist() == expected[strand].tolist()


@pytest.mark.parametrize(("length", "found"), [(39, 0), (40, 1)])
def test_the_lowest_score_of_a_copy(length, found):
    part = CONSENSUS[100 : 100 + length].encode()
    for sequence in (part, b"N" * 500 + part + b"N" * 5000):
        assert len(find_copies(sequence, CONSENSUS.encode())) == found
        assert best_score(sequence, CONSENSUS.encode()) == length


def test_chance_finds_no_copy():
    consensus, reverse = CONSENSUS.encode(), CONSENSUS[::-1].encode()
    for sequence in (plant(3000, {}), b"N" * 99, b""):
        assert find_copies(sequence, consensus) == []
    sequence = plant(3000, {1000: CONSENSUS})
    assert best_score(sequence, consensus) == 290
    assert best_score(sequence, reverse) < MIN_SCORE


def test_many_copies_in_a_row_are_told_apart():
    copies = find_copies((CONSENSUS * 60).encode(), CONSENSUS.encode())
    assert [(copy.start, copy.end) for copy in copies] == [(290 * i, 290 * i + 290) for i in range(60)]


DNA = st.text("ACGT", max_size=40)
WITH_N = st.text("ACGTN", max_size=120)


def ends_by_recursion(sequence, consensus):
    """The three tables of Gotoh's recursion, cell by cell: the highest score of each of its columns."""
    n, m = len(sequence), len(consensus)
    pair, insert, delete = (np.full((n + 1, m + 1), -np.inf) for _ in range(3))
    best = np.zeros(n)
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            same = 0 if sequence[i - 1] == "N" else 1 if sequence[i - 1] == consensus[j - 1] else -1
            table = pair, insert, delete
            pair[i, j] = same + max(0, *(t[i - 1, j - 1] for t in table))
            insert[i, j] = max(pair[i - 1, j] - 3, insert[i - 1, j] - 1, delete[i - 1, j] - 3)
            delete[i, j] = max(pair[i, j - 1] - 3, delete[i, j - 1] - 1, insert[i, j - 1] - 3)
            best[i - 1] = max(best[i - 1], *(t[i, j] for t in table))
    return best


@settings(deadline=None, max_examples=40)
@given(WITH_N, st.integers(0, 100), WITH_N, DNA.filter(bool))
def test_the_best_score_at_each_base_is_the_recursions(before, gap, behind, consensus):
    sequence = before + "N" * gap + behind
    found = best_ends(codes(sequence.encode()), codes(consensus.encode()))
    assert found.tolist() == ends_by_recursion(sequence, consensus).tolist()


def score_of(sequence, consensus, found):
    """The score of an alignment, from its bases and places alone."""
    score, last, inserted = 0, None, 0
    for letter, place in zip(sequence[found.start :], found.position.tolist()):
        if place < 0:
            score -= 1 if inserted else 3
            inserted += 1
            continue
        skipped = 0 if last is None else place - last - 1
        assert skipped >= 0
        score -= skipped + 2 if skipped else 0
        score += 0 if letter == "N" else 1 if letter == consensus[place] else -1
        last, inserted = place, 0
    return score


def drawn(seed):
    """A consensus and a sequence with a damaged copy of it."""
    rng = np.random.default_rng(seed)
    consensus = random_dna(int(rng.integers(20, 90)), seed)
    copy = "".join(x for x in consensus if rng.random() > 0.05)
    copy = "".join(x + random_dna(int(rng.integers(1, 5)), seed) if rng.random() < 0.05 else x for x in copy)
    sequence = random_dna(60, seed + 1) + copy + "NN" + random_dna(80, seed + 2) + consensus[10:]
    return sequence, consensus


@pytest.mark.parametrize("seed", range(40))
def test_an_alignment_scores_what_biopythons_does(seed):
    peer = pytest.importorskip("Bio.Align", reason="needs Biopython: pip install 'sae-tracks[bench]'")
    aligner = peer.PairwiseAligner(
        mode="local", match_score=1, mismatch_score=-1, open_gap_score=-3, extend_gap_score=-1
    )
    aligner.wildcard = "N"
    sequence, consensus = drawn(seed)
    found = align(codes(sequence.encode()), codes(consensus.encode()))
    assert found.score == aligner.score(sequence, consensus) == score_of(sequence, consensus, found)
    assert best_ends(codes(sequence.encode()), codes(consensus.encode())).max() == found.score


def test_sites_are_in_genome_coordinates_and_whole(tmp_path):
    alu, reverse = ALU.decode(), reverse_complement(ALU).decode()
    n = len(alu)
    first = plant(4000, {700: alu, 2500: reverse}).decode()
    genome = Genome(write_fasta(tmp_path / "g.fa", a=first, b=random_dna(900, 5) + alu))
    regions = [GenomicRegion("b", 0, 901), GenomicRegion("a", 2600, 2601), GenomicRegion("a", 0, 700)]
    assert alu_sites(genome, regions).to_numpy().tolist() == [
        ["a", 2500, 2500 + n, "Alu", n, "-"],
        ["b", 900, 900 + n, "Alu", n, "+"],
    ]
    assert alu_sites(genome, [GenomicRegion("a", 0, 700)]).empty
