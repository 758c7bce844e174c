import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sae_tracks.dna import (
    codes,
    complement,
    composition,
    kmer_letters,
    kmers,
    letter_sums,
    readable_bases,
    reverse_complement,
)

letters = st.text(alphabet="ACGTNRYSWKMBDHVacgt", max_size=50)


@given(letters)
def test_reverse_complement_is_its_own_inverse(sequence):
    once = reverse_complement(sequence.encode())
    assert reverse_complement(once) == sequence.encode()
    assert len(once) == len(sequence)


def test_reverse_complement_and_readable_bases_by_hand():
    assert reverse_complement(b"AACGTNRY") == b"RYNACGTT"
    assert complement(b"AACGTNRYu") == b"TTGCANYRa"
    assert readable_bases(b"ACGTNRU").tolist() == [True] * 4 + [False] * 3


@given(letters)
def test_codes_equal_looking_up_each_letter(sequence):
    expected = ["ACGT".find(letter) % 5 for letter in sequence.upper()]
    assert codes(sequence.encode()).tolist() == expected
    assert readable_bases(sequence.encode()).tolist() == [code < 4 for code in expected]


@given(letters, st.data())
def test_composition_equals_counting_the_letters_of_each_interval(sequence, data):
    ends = st.integers(0, len(sequence))
    spans = [sorted(pair) for pair in data.draw(st.lists(st.tuples(ends, ends), min_size=1, max_size=9))]
    inside = [sequence[start:end].upper() for start, end in spans]
    expected = [
        [sum(map(text.count, "ACGT")) for text in inside],
        [text.count("C") + text.count("G") for text in inside],
        [text.count("CG") for text in inside],
    ]
    assert composition(letter_sums(codes(sequence.encode())), *np.array(spans).T).tolist() == expected


@given(letters, st.integers(1, 32))
def test_kmers_equal_reading_the_letters(text, k):
    found, runs = kmers(text.encode(), k)
    text = text.upper()
    for i in range(len(text)):
        run = 0
        while run <= i and text[i - run] in "ACGT":
            run += 1
        assert runs[i] == run
        kept = min(run, k)
        digits = "".join(str("ACGT".index(x)) for x in text[i + 1 - kept : i + 1])
        low = int(found[i]) & (4**kept - 1)
        assert low == int(digits or "0", 4)
        assert kmer_letters(low, kept) == text[i + 1 - kept : i + 1]


@pytest.mark.parametrize("k", [1, 16, 17, 32])
def test_no_letters_have_no_kmers(k):
    found, runs = kmers(b"", k)
    assert len(found) == len(runs) == 0


def test_the_first_and_the_last_base_count():
    found, runs = kmers(b"TNG", 1)
    assert runs.tolist() == [1, 0, 1] and found[0] == 3 and found[2] == 2
