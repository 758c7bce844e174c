"""Changed copies of a sequence against a whole reading of every copy."""

import numpy as np
import pytest
import torch
from lm_zoo import six_mers
from test_inference import hidden_states, random_model
from toy import OneHotLM, random_dna

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm import HyenaDNAReader, load_lm
from sae_tracks.lm.edits import DIRECT, WholeCopies, begin_edits
from sae_tracks.lm.passes import ROWS

LETTERS = np.frombuffer(b"ACGTN", np.uint8)


def copies(sequence, starts, letters):
    for start, word in zip(starts, letters):
        yield sequence[:start] + word.tobytes() + sequence[start + len(word) :]


def draw(n, m, s, seed=0):
    """A sequence, the starts of copies with the first and the last possible one, and their letters."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate(([0, n - s], rng.integers(0, n - s + 1, m)))
    letters = LETTERS[rng.integers(0, len(LETTERS), (m + 2, s))]
    return random_dna(n, seed).encode(), starts, letters


@pytest.mark.parametrize("layer", [1, 3])
@pytest.mark.parametrize("s", [1, 2, 17, DIRECT, DIRECT + 1])
@pytest.mark.parametrize("n", [DIRECT + 14, ROWS + 40])
def test_copies_have_the_activations_of_a_whole_reading(n, s, layer):
    reader = HyenaDNAReader(random_model(), layer)
    sequence, starts, letters = draw(n, 7, s)
    edits = begin_edits(reader, sequence)
    assert torch.equal(edits.activations, reader.activations(sequence))
    exact = hidden_states(random_model().double(), sequence)[layer][0]
    rounding = (edits.activations - exact).norm() / exact.norm()  # of float32: it differs between processors
    assert rounding <= 5e-5
    found = edits.read(starts, letters)
    for start, copy, rows in zip(starts, copies(sequence, starts, letters), found, strict=True):
        expected = reader.activations(copy)[start : start + s]
        assert (rows - expected).norm() <= rounding * expected.norm()


@pytest.mark.parametrize("taps", [3, 4])
def test_the_way_of_other_devices_and_of_other_short_filters_gives_the_same(taps, monkeypatch):
    reader = HyenaDNAReader(random_model(short_filter_order=taps), 2)
    sequence, starts, letters = draw(200, 5, 20)
    monkeypatch.setattr(reader._read, "_other", lambda ids: True)
    found = begin_edits(reader, sequence).read(starts, letters)
    expected = WholeCopies(reader, sequence).read(starts, letters)
    assert (found - expected).norm() <= 3e-6 * expected.norm()


def test_bases_before_the_first_change_keep_their_bits():
    reader = HyenaDNAReader(random_model(), 3)
    sequence, starts, letters = draw(300, 6, 30)
    letters[:, :12] = [np.frombuffer(sequence, np.uint8)[start : start + 12] for start in starts]
    starts, letters = starts[starts >= 9], letters[starts >= 9]
    edits = begin_edits(reader, sequence)
    found = edits.read(starts, letters, before=9)
    for start, rows in zip(starts, found, strict=True):
        assert torch.equal(rows[:21], edits.activations[start - 9 : start + 12])
    same = np.array([np.frombuffer(sequence, np.uint8)[start : start + 30] for start in starts])
    unchanged = edits.read(starts, same)
    for start, rows in zip(starts, unchanged, strict=True):
        assert torch.equal(rows, edits.activations[start : start + 30])


@pytest.mark.parametrize("threads", [1, 3])
def test_the_bits_do_not_depend_on_threads(threads):
    reader = HyenaDNAReader(random_model(), 3)
    sequence, starts, letters = draw(400, 60, 50)
    alone, before = begin_edits(reader, sequence).read(starts, letters), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert torch.equal(begin_edits(reader, sequence).read(starts, letters), alone)
    finally:
        torch.set_num_threads(before)


def test_a_model_that_offers_nothing_is_read_whole_also_before_the_change(tmp_path):
    for lm in (OneHotLM(), load_lm(str(six_mers(tmp_path)), 1)):
        sequence, starts, letters = draw(40, 4, 5)
        starts, letters = starts[starts >= 3], letters[starts >= 3]
        found = begin_edits(lm, sequence).read(starts, letters, before=3)
        for start, copy, rows in zip(starts, copies(sequence, starts, letters), found, strict=True):
            assert torch.equal(rows, lm.activations(copy)[start - 3 : start + 5])


@pytest.mark.parametrize("starts", [[-1], [37]])
def test_changes_outside_of_the_sequence_are_refused(starts):
    for lm in (OneHotLM(), HyenaDNAReader(random_model(), 1)):
        with pytest.raises(SaeTracksError, match="outside of the sequence, which has 40"):
            begin_edits(lm, random_dna(40).encode()).read(np.array(starts), LETTERS[None, [0, 1, 2, 3]])
