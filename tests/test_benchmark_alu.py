"""The aligner of `benchmarks/`: planted copies are found where they lie."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from toy import random_dna

from sae_tracks.errors import SaeTracksError

pytest.importorskip("Bio.Align", reason="needs Biopython: pip install 'sae-tracks[bench]'")
FILE = Path(__file__).parents[1] / "benchmarks" / "alu.py"
CONSENSUS = random_dna(290, 99)
MINUS = CONSENSUS.translate(str.maketrans("ACGT", "TGCA"))[::-1]
OTHER_LETTER = str.maketrans("ACGT", "CGTA")


@pytest.fixture(scope="module")
def alu():
    spec = importlib.util.spec_from_file_location("benchmark_alu", FILE)
    assert spec and spec.loader
    module = sys.modules["benchmark_alu"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_copies_on_both_strands_are_found_where_they_lie(alu):
    # the second reaches over the end of the first window; the last two touch
    texts = {300: CONSENSUS, 1900: MINUS, 3000: cut_short(120, 220), 5000: MINUS, 5290: CONSENSUS}
    sequence = plant(6000, texts)
    copies = alu.find_copies(sequence, CONSENSUS.encode())
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
    assert alu.identity(copies, sequence, CONSENSUS.encode()) == 1


@pytest.mark.parametrize("strand", ["+", "-"])
def test_a_copy_with_an_insertion_a_deletion_and_substitutions(alu, strand):
    text = MINUS if strand == "-" else CONSENSUS
    changed = [50, 60, 71]
    letters = [x.translate(OTHER_LETTER) if i in changed else x for i, x in enumerate(text)]
    text = "".join(letters[:100]) + "N" * 8 + "".join(letters[100:200]) + "".join(letters[203:])
    sequence = plant(1000, {400: text})
    (copy,) = alu.find_copies(sequence, CONSENSUS.encode())
    assert (copy.start, copy.end, copy.strand) == (400, 695, strand)
    assert copy.score == 287 - 2 * 3 - (3 + 7) - (3 + 2)
    expected = {
        "+": np.r_[0:100, [-1] * 8, 100:200, 203:290],
        "-": np.r_[289:189:-1, [-1] * 8, 189:89:-1, 86:-1:-1],
    }
    assert copy.consensus.tolist() == expected[strand].tolist()
    assert alu.identity([copy], sequence, CONSENSUS.encode()) == (287 - 3) / 287


def test_bases_before_count_from_the_left_end_on_either_strand(alu):
    copies = alu.find_copies(plant(1000, {100: CONSENSUS, 600: MINUS}), CONSENSUS.encode())
    expected = [-1] * 100 + list(range(290)) + [-1] * 210 + list(range(290)) + [-1] * 110
    assert alu.bases_before(copies, 1000).tolist() == expected


@pytest.mark.parametrize(("length", "found"), [(39, 0), (40, 1)])
def test_the_lowest_score_of_a_copy(alu, length, found):
    part = CONSENSUS[100 : 100 + length].encode()
    for sequence in (part, b"N" * 500 + part + b"N" * 5000):
        assert len(alu.find_copies(sequence, CONSENSUS.encode())) == found
        assert alu.best_score(sequence, CONSENSUS.encode()) == length


def test_chance_finds_no_copy(alu):
    consensus, reverse = CONSENSUS.encode(), CONSENSUS[::-1].encode()
    assert alu.find_copies(plant(3000, {}), consensus) == []
    assert alu.find_copies(b"N" * 99, consensus) == []
    sequence = plant(3000, {1000: CONSENSUS})
    assert alu.best_score(sequence, consensus) == 290
    assert alu.best_score(sequence, reverse) < alu.MIN_SCORE


@pytest.mark.parametrize("text", ["", ">a\nACGT\n>b\nACGT\n"], ids=["empty", "two records"])
def test_a_consensus_is_one_record(alu, tmp_path, text):
    (tmp_path / "c.fa").write_text(text)
    with pytest.raises(SaeTracksError, match=r"c\.fa: a FASTA of one record, the consensus, is expected"):
        alu.read_consensus(tmp_path / "c.fa")
    (tmp_path / "c.fa").write_text(">a\nacg\nTT\n")
    assert alu.read_consensus(tmp_path / "c.fa") == b"ACGTT"
