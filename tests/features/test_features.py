"""The feature stream against the SAE's own encoder, and its bits against those of the whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import OneHotLM, identity_sae, random_dna, random_sae, write_fasta

from sae_tracks import features as module
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import stream_features
from sae_tracks.genome import Genome
from sae_tracks.reading import Reading, read
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE
from sae_tracks.sae.encoder import DeviceEncoder, SparseEncoder

ARCHITECTURES = ("standard", "jumprelu", "topk")
of_every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


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


@pytest.fixture(scope="module", params=[SparseEncoder, DeviceEncoder], autouse=True)
def encoder_class(request):
    """All of it by the kernels of the CPU, and by the encoder for GPUs, which runs on the CPU here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SparseEncoder", request.param)
        yield request.param


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


def by_hand(sae, reading):
    """Base by base, feature by feature, in whole numbers: (n, d_sae) features; of equal values lower ids come first."""
    W_enc, b_enc, b_dec = (t.numpy().astype(int) for t in (sae.W_enc, sae.b_enc, sae.b_dec))
    threshold = np.zeros(sae.d_sae) if sae.threshold is None else sae.threshold.numpy()
    out = np.zeros((len(reading.readable), sae.d_sae), np.float32)
    for i in np.flatnonzero(reading.readable):
        h = (reading.activations[i].numpy().astype(int) - b_dec) @ W_enc + b_enc
        for j in sorted(range(sae.d_sae), key=lambda j: (-h[j], j))[: sae.k]:
            if h[j] > 0 and h[j] > threshold[j]:
                out[i, j] = h[j]
    return out


@st.composite
def whole_numbers(draw):
    """An SAE and a reading whose sums are exact in float32, with many values that are equal or at their threshold."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    d_sae = draw(st.integers(1, 40) | st.integers(500, 600))  # one tile, or one or two
    n = draw(st.integers(1, 30))
    draw_tensor = lambda *shape: torch.from_numpy(rng.integers(-2, 3, shape).astype(np.float32))  # noqa: E731
    sae = SAE(draw_tensor(4, d_sae), draw_tensor(d_sae), draw_tensor(d_sae, 4), draw_tensor(4))
    architecture = draw(st.sampled_from(ARCHITECTURES))
    if architecture == "jumprelu":
        sae.threshold = draw_tensor(d_sae).add_(2)
    elif architecture == "topk":
        sae.k = draw(st.integers(1, d_sae))
    reading = reading_of(n, d_in=4, first=draw(st.integers(1000, 1030)), strand=draw(st.sampled_from("+-")))
    return sae, replace(reading, activations=draw_tensor(n, 4))


@settings(max_examples=150, deadline=None)
@given(whole_numbers(), st.data())
def test_the_stream_equals_a_walk_over_bases_and_features(drawn, data):
    sae, reading = drawn
    expected = by_hand(sae, reading)
    values, readable = dense(stream_features([reading], sae), sae.d_sae)
    np.testing.assert_array_equal(readable, reading.readable)
    np.testing.assert_array_equal(values, expected)

    wanted = data.draw(st.lists(st.integers(0, sae.d_sae - 1), min_size=1, max_size=6, unique=True))
    part, _ = dense(stream_features([reading], sae, features=wanted), sae.d_sae)
    np.testing.assert_array_equal(part[:, wanted], expected[:, wanted])
    assert np.count_nonzero(part) == np.count_nonzero(part[:, wanted])


def decided(sae, activations):
    """(n, d_sae) False where rounding may decide whether a feature is active."""
    h = ((activations - sae.b_dec).double() @ sae.W_enc.double() + sae.b_enc).numpy()
    if sae.threshold is not None:
        return np.abs(h - sae.threshold.numpy()) > 1e-3
    if sae.k is not None and sae.k < sae.d_sae:
        ranked = np.sort(h, axis=1)
        return np.broadcast_to((ranked[:, -sae.k] - ranked[:, -sae.k - 1] > 1e-3)[:, None], h.shape)
    return np.ones(h.shape, bool)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 2500),
    st.integers(0, 3000),
    st.sampled_from("+-"),
    st.integers(1, 1100),
    st.sampled_from(ARCHITECTURES),
)
def test_the_stream_equals_the_encoder_of_the_sae(n, first, strand, d_sae, architecture):
    sae, reading = random_sae(8, d_sae, architecture, bias=-1), reading_of(n, first=first, strand=strand)
    values, readable = dense(stream_features([reading], sae), d_sae)
    expected = sae.encode(reading.activations).numpy() * reading.readable[:, None]
    np.testing.assert_array_equal(readable, reading.readable)
    sure = decided(sae, reading.activations)
    assert sure.mean() > 0.9 or n < 100
    np.testing.assert_allclose(values[sure], expected[sure], rtol=1e-4, atol=2e-5)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(ARCHITECTURES))
def test_clipped_readings_and_subsets_of_features_give_the_same_bits(data, architecture):
    sae, whole = random_sae(8, 1100, architecture, bias=-1), reading_of(2300, first=700)
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


@of_every_architecture
def test_a_mirrored_reading_gives_mirrored_bits(architecture):
    sae, plus = random_sae(8, 1100, architecture, bias=-1), reading_of(2300, first=700)
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


@of_every_architecture
def test_a_dense_block_is_split_and_loses_nothing(architecture, monkeypatch):
    sae, reading = random_sae(8, 1100, architecture, bias=1), reading_of(4000)
    whole, _ = dense(stream_features([reading], sae), 1100)
    monkeypatch.setattr(module, "MOST_NONZEROS", 1)
    blocks = list(stream_features([reading], sae))
    split, _ = dense(blocks, 1100)
    assert len(blocks) == 4 + 3  # tiles: four before the 1,024th base, three behind it
    np.testing.assert_array_equal(split, whole)


def stream_one(sae, *row, features=None):
    """The features of one base."""
    reading = replace(reading_of(1, d_in=len(row)), readable=np.array([True]), activations=torch.tensor([row]))
    return dense(stream_features([reading], sae, features=features), sae.d_sae)[0][0].tolist()


def test_a_value_at_its_threshold_is_not_active():
    sae = identity_sae(4)
    sae.threshold = torch.tensor([1.0, np.nextafter(np.float32(1), np.float32(0)), 0.0, 0.0])
    assert stream_one(sae, 1.0, 1.0, 1e-30, 0.0) == [0, 1, np.float32(1e-30), 0]


def test_thresholds_of_zero_and_k_of_all_features_are_a_standard_sae():
    standard, reading = random_sae(8, 1100, bias=-1), reading_of(2300)
    expected, _ = dense(stream_features([reading], standard), 1100)
    for same in (replace(standard, threshold=torch.zeros(1100)), replace(standard, k=1100)):
        np.testing.assert_array_equal(dense(stream_features([reading], same), 1100)[0], expected)


def test_of_equal_values_the_lower_features_have_the_places():
    sae = replace(identity_sae(6), k=3)
    assert stream_one(sae, 1.0, 2.0, 1.0, 1.0, 2.0, 0.0) == [1, 2, 0, 0, 2, 0]
    assert stream_one(sae, 1.0, 2.0, 1.0, 1.0, 2.0, 0.0, features=[2, 3, 4]) == [0, 0, 0, 0, 2, 0]
    assert stream_one(sae, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0) == [1, 1, 1, 0, 0, 0]


def test_fewer_positive_values_than_k_are_all_there_is():
    sae = replace(identity_sae(4), k=3)
    assert stream_one(sae, -1.0, 0.0, 1e-30, 2.0) == [0, 0, np.float32(1e-30), 2]
    assert stream_one(sae, -1.0, 0.0, -2.0, -3.0) == [0, 0, 0, 0]


def test_one_hot_features_are_the_bases(tmp_path):
    sequence = random_dna(200) + "NNR" + random_dna(77, 1)
    genome = Genome(write_fasta(tmp_path / "g.fa", a=sequence))
    values, readable = dense(stream_features(read(OneHotLM(), genome), identity_sae()), 6)
    assert (values[:, :4] == (np.array(list(sequence))[:, None] == list("ACGT"))).all()
    assert "".join(np.array(list(sequence))[~readable]) == "NNR"


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([6], "features 0 to 5"),
        ([-1], "no feature -1"),
        ([], "no feature"),
        ([1, "f3"], "features are whole numbers, such as 357, not 'f3'"),
    ],
)
def test_features_outside_the_dictionary_are_refused(features, message):
    with pytest.raises(SaeTracksError, match=message):
        list(stream_features([reading_of(3, d_in=6)], identity_sae(), features=features))


@of_every_architecture
def test_a_block_as_a_sparse_matrix_and_in_short(architecture):
    sae, reading = random_sae(8, 40, architecture), reading_of(30)
    (block,) = stream_features([reading], sae)
    matrix = block.to_scipy()
    assert matrix.shape == (30, 40) and matrix.format == "csr" and matrix.dtype == np.float32
    assert np.array_equal(matrix.toarray(), dense([block], 40)[0])
    (some,) = stream_features([reading], sae, features=[3, 7])
    assert np.array_equal(some.to_scipy().toarray()[:, [3, 7]], matrix.toarray()[:, [3, 7]])
    assert repr(block) == f"FeatureBlock(a:1001-1030, read +, {matrix.nnz} non-zeros of 40 features)"
    assert repr(reading) == f"Reading(a:1001-1030, read +, {reading.readable.sum()} of 30 bases readable, d_model 8)"
