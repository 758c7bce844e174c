"""What `benchmarks/` says of copies of a repeat."""

import importlib.util
import sys
from pathlib import Path

import pytest
from toy import random_dna

from sae_tracks.controls.alu import find_copies
from sae_tracks.errors import SaeTracksError

FILE = Path(__file__).parents[2] / "benchmarks" / "alu.py"
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


@pytest.mark.parametrize("strand", ["+", "-"])
def test_identity_counts_aligned_bases_that_are_the_consensuss(alu, strand):
    text = MINUS if strand == "-" else CONSENSUS
    letters = [x.translate(OTHER_LETTER) if i in (50, 60, 71) else x for i, x in enumerate(text)]
    text = "".join(letters[:100]) + "N" * 8 + "".join(letters[100:200]) + "".join(letters[203:])
    sequence = plant(1000, {400: text})
    copies = find_copies(sequence, CONSENSUS.encode())
    assert len(copies) == 1
    assert alu.identity(copies, sequence, CONSENSUS.encode()) == (287 - 3) / 287


def test_bases_before_count_from_the_left_end_on_either_strand(alu):
    copies = find_copies(plant(1000, {100: CONSENSUS, 600: MINUS}), CONSENSUS.encode())
    expected = [-1] * 100 + list(range(290)) + [-1] * 210 + list(range(290)) + [-1] * 110
    assert alu.bases_before(copies, 1000).tolist() == expected


@pytest.mark.parametrize("text", ["", ">a\n", "ACGT\n", ">a\nACGT\n>b\nACGT\n"], ids=["empty", "bare", "plain", "two"])
def test_a_consensus_is_one_record(alu, tmp_path, text):
    (tmp_path / "c.fa").write_text(text)
    with pytest.raises(SaeTracksError, match=r"c\.fa: a FASTA of one record, the consensus, is expected"):
        alu.read_consensus(tmp_path / "c.fa")


def test_a_consensus_is_read_in_upper_case(alu, tmp_path):
    (tmp_path / "c.fa").write_text(">a\nacg\nTT\n")
    assert alu.read_consensus(tmp_path / "c.fa") == b"ACGTT"
    with pytest.raises(SaeTracksError, match="cannot read"):
        alu.read_consensus(tmp_path / "missing.fa")
