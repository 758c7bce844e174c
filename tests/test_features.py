"""The feature stream against the SAE's own encoder, and its bits against those of the whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import OneHotLM, identity_sae, random_dna, write_fasta

from sae_tracks import features as module
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import stream_features
from sae_tracks.genome import Genome
from sae_tracks.reading import Reading, read
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE


def random_sae(d_in=8, d_sae=1100, seed=0, bias=-1.0):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g)  # noqa: E731
    return SAE(draw(d_in, d_sae), bias + 0.3 * draw(d_sae), draw(d_sae, d_in), draw(d_in))


def reading_of(n, d_in=8, seed=0, first=0, strand="+"):
    rng = np.random.default_rng(seed)
    context = np.arange(first, first + n, dtype=np.int32)
    return Reading(
        GenomicRegion("a", 1000, 1000 + n),
        strand,
        rng.random(n) < 0.9,
        context if strand == "+" else context[::-1].copy(),
        np.ones(n, bool),
        torch.from_numpy(rng.standard_normal((n, d_in)).astype(np.float32)),
    )


def dense(blocks, d_sae):
    """(n, d_sae) values and (n,) readable, after checking that the blocks follow one another."""
    values, readable, at = [], [], None
    for block in blocks:
        assert at is None or block.region.start == at
        at = block.region.end
        assert len(block.indptr) == len(block.region) + 1 and block.indptr[-1] == len(block.feature)
        assert (block.value > 0).all()
        out = np.zeros((len(block.region), d_sae), np.float32)
        for i, (start, end) in enumerate(zip(block.indptr, block.indptr[1:])):
            assert (np.diff(block.feature[start:end]) > 0).all()
            out[i, block.feature[start:end]] = block.value[start:end]
        values.append(out)
        readable.append(block.readable)
    return np.concatenate(values), np.concatenate(readable)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 2500), st.integers(0, 3000), st.sampled_from("+-"), st.integers(1, 1100))
def test_the_stream_equals_the_encoder_of_the_sae(n, first, strand, d_sae):
    sae, reading = random_sae(d_sae=d_sae), reading_of(n, first=first, strand=strand)
    values, readable = dense(stream_features([reading], sae), d_sae)
    expected = sae.encode(reading.activations).numpy() * reading.readable[:, None]
    np.testing.assert_array_equal(readable, reading.readable)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=2e-5)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_clipped_readings_and_subsets_of_features_give_the_same_bits(data):
    sae, whole = random_sae(), reading_of(2300, first=700)
    start = data.draw(st.integers(0, 2299))
    end = data.draw(st.integers(start + 1, 2300))
    wanted = data.draw(st.lists(st.integers(0, 1099), min_size=1, max_size=6, unique=True))
    clipped = replace(
        whole,
        region=GenomicRegion("a", 1000 + start, 1000 + end),
        readable=whole.readable[start:end],
        context=whole.context[start:end],
        token_starts=whole.token_starts[start:end],
        activations=whole.activations[start:end],
    )
    full, _ = dense(stream_features([whole], sae), 1100)
    part, _ = dense(stream_features([clipped], sae, features=wanted), 1100)
    expected = np.zeros_like(part)
    expected[:, wanted] = full[start:end, wanted]
    np.testing.assert_array_equal(part, expected)


def test_a_mirrored_reading_gives_mirrored_bits():
    sae, plus = random_sae(), reading_of(2300, first=700)
    minus = replace(
        plus,
        read_strand="-",
        readable=plus.readable[::-1].copy(),
        context=plus.context[::-1].copy(),
        activations=plus.activations.flip(0),
    )
    forward, _ = dense(stream_features([plus], sae), 1100)
    backward, _ = dense(stream_features([minus], sae), 1100)
    np.testing.assert_array_equal(backward[::-1], forward)


def test_a_dense_block_is_split_and_loses_nothing(monkeypatch):
    sae, reading = random_sae(bias=1.0), reading_of(4000)
    whole, _ = dense(stream_features([reading], sae), 1100)
    monkeypatch.setattr(module, "MOST_NONZEROS", 1)
    blocks = list(stream_features([reading], sae))
    split, _ = dense(blocks, 1100)
    assert len(blocks) == 4
    np.testing.assert_array_equal(split, whole)


def test_one_hot_features_are_the_bases(tmp_path):
    sequence = random_dna(200) + "NNR" + random_dna(77, 1)
    genome = Genome(write_fasta(tmp_path / "g.fa", a=sequence))
    values, readable = dense(stream_features(read(OneHotLM(), genome), identity_sae()), 6)
    assert (values[:, :4] == (np.array(list(sequence))[:, None] == list("ACGT"))).all()
    assert "".join(np.array(list(sequence))[~readable]) == "NNR"


@pytest.mark.parametrize(
    ("features", "message"), [([6], "features 0 to 5"), ([-1], "no feature -1"), ([], "no feature")]
)
def test_features_outside_the_dictionary_are_refused(features, message):
    with pytest.raises(SaeTracksError, match=message):
        list(stream_features([reading_of(3, d_in=6)], identity_sae(), features=features))
