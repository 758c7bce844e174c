"""Words of the sequence against slices of a string, and directions of activations against numpy's quantiles."""

import numpy as np
import pytest
import torch
from control_scenes import ALL_WORDS, NUMBER
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import UntrainedOneHotLM, identity_sae, random_dna, write_fasta

from sae_tracks.controls.dictionaries import (
    QUANTILES,
    RANDOM,
    WORDS,
    Directions,
    dimension_name,
    word_block,
    word_length,
    word_name,
    word_places,
    words_read,
)
from sae_tracks.features import FeatureBlock
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion
from sae_tracks.source import Source


def word_at(text, base, k, read_strand):
    """The k letters read last at a base, "" if they are not all A, C, G or T."""
    first = base - k + 1 if read_strand == "+" else base
    word = text[first : first + k].upper() if first >= 0 else ""
    return word if len(word) == k and set(word) <= set("ACGT") else ""


def by_slices(text, region, read_strand):
    bases = range(region.start, region.end)
    return [[NUMBER.get(word_at(text, base, k, read_strand), -1) for base in bases] for k in range(1, 7)]


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """N runs at both ends, short and long, lower case, and a contig shorter than a word."""
    text = "N" + random_dna(60, 1) + "NN" + "ACGTA" + "N" * 9 + random_dna(50, 2).lower() + "N"
    texts = {"a": text, "b": "ACG", "c": random_dna(30, 3)}
    return Genome(write_fasta(tmp_path_factory.mktemp("words") / "g.fa", **texts)), texts


@given(st.sampled_from("abc"), st.sampled_from("+-"), st.integers(0, 127), st.integers(1, 128))
def test_words_read_are_slices_of_the_sequence(letters, contig, read_strand, start, length):
    genome, texts = letters
    n = len(texts[contig])
    region = GenomicRegion(contig, min(start, n - 1), min(min(start, n - 1) + length, n))
    found = words_read(genome, region, read_strand)
    assert found.tolist() == by_slices(texts[contig], region, read_strand)
    assert found.dtype == np.int64


@pytest.mark.parametrize("read_strand", ["+", "-"])
def test_words_do_not_depend_on_the_cut(letters, read_strand):
    genome, texts = letters
    n = len(texts["a"])
    parts = [words_read(genome, GenomicRegion("a", i, min(i + 7, n)), read_strand) for i in range(0, n, 7)]
    assert (np.concatenate(parts, axis=1) == words_read(genome, GenomicRegion("a", 0, n), read_strand)).all()


def test_the_first_and_the_last_base_of_a_contig_read_what_there_is(letters):
    genome, texts = letters
    first, last, text = GenomicRegion("c", 0, 1), GenomicRegion("c", 29, 30), texts["c"]
    for region, read_strand, whole in ((first, "+", 1), (first, "-", 6), (last, "+", 6), (last, "-", 1)):
        found = [word_name(c) for c in words_read(genome, region, read_strand)[:, 0].tolist()]
        side = text[:6] if region is first else text[-6:]
        expected = [side[:k] if region is first else side[-k:] for k in range(1, whole + 1)]
        assert found == expected + [""] * (6 - whole)


def test_names_and_lengths_are_those_of_all_words_by_length_and_alphabet():
    assert [word_name(i) for i in range(WORDS)] == ALL_WORDS and len(ALL_WORDS) == WORDS
    assert [word_length(i) for i in range(WORDS)] == [len(word) for word in ALL_WORDS]
    assert word_name(-1) == ""


@given(st.sampled_from("+-"), st.lists(st.integers(0, WORDS - 1), unique=True, max_size=12), st.integers(0, 100))
def test_places_of_words_are_those_of_a_walk(letters, read_strand, wanted, start):
    genome, texts = letters
    region = GenomicRegion("a", start, len(texts["a"]))
    wanted = np.array([*wanted, NUMBER["A"], NUMBER["ACGT"]], np.int64)
    found = word_places(words_read(genome, region, read_strand), wanted)
    for column, places in zip(wanted.tolist(), found):
        word = ALL_WORDS[column]
        bases = range(region.start, region.end)
        expected = [base - start for base in bases if word_at(texts["a"], base, len(word), read_strand) == word]
        assert places.tolist() == expected


def test_places_of_no_word_are_none():
    assert word_places(np.full((6, 5), -1), np.array([0, 9])) == [pytest.approx([]), pytest.approx([])]
    assert word_places(np.zeros((6, 0), int), np.empty(0, int)) == []


@given(st.sampled_from("+-"), st.integers(0, 10**6))
@settings(max_examples=20)
def test_a_block_of_words_has_the_readable_bases_alone(letters, read_strand, seed):
    genome, texts = letters
    region = GenomicRegion("a", 3, len(texts["a"]) - 2)
    readable = np.random.default_rng(seed).random(len(region)) < 0.8
    nothing = np.zeros(len(region) + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    block = word_block(genome, FeatureBlock(region, read_strand, readable, *nothing, 5))
    columns = by_slices(texts["a"], region, read_strand)
    assert block.d_sae == WORDS and block.region == region and (block.value == 1).all()
    for i in range(len(region)):
        row = block.feature[block.indptr[i] : block.indptr[i + 1]].tolist()
        assert row == [columns[k][i] for k in range(6) if columns[k][i] >= 0 and readable[i]]


# directions


@pytest.fixture(scope="module", params=["+", "-"])
def read(request, tmp_path_factory):
    """A source of an untrained model, its readings, and its directions."""
    lm = UntrainedOneHotLM(64).untrained("random", 0)
    text = random_dna(300, 5) + "N" * 12 + random_dna(100, 6)
    genome = Genome(write_fasta(tmp_path_factory.mktemp("directions") / "g.fa", a=text))
    source = Source(lm, identity_sae(), genome, None, (request.param,), window=48, context=8, allow_mismatch=True)
    readings = []
    for _ in source.blocks(on_reading=readings.append):
        pass
    return source, readings, Directions(source, request.param)


def test_directions_are_active_above_the_quantiles_of_all_windows(read):
    """Of a source of few windows all are looked at; values that tie with a quantile do not exceed it."""
    _, readings, directions = read
    d, random = 6, directions._random.numpy()
    assert len(readings) <= 16
    x = np.concatenate([reading.activations.float().numpy() for reading in readings])
    readable = np.concatenate([reading.readable for reading in readings])
    projected = np.concatenate([x, x @ random], axis=1)
    signed = [projected[:, i // 2] * (1, -1)[i % 2] for i in range(2 * d)] + list(projected[:, d:].T)
    found = np.concatenate([directions.block(reading).to_scipy().toarray() for reading in readings])
    assert found.shape == (len(x), len(directions)) and len(directions) == 2 * d + RANDOM
    assert not found[~readable].any()
    for column, values in enumerate(signed):
        cuts = np.quantile(values[readable].astype(np.float32), QUANTILES)
        expected = sum((values > cut).astype(int) for cut in cuts) * readable
        close = np.min([np.abs(values - cut) for cut in cuts], axis=0) < 1e-5  # float32 products round
        compared = ~close | (column < 2 * d)
        assert (found[:, column] == expected)[compared].all()
        assert compared.mean() > 0.5
    assert (found[:, : 2 * d].max(axis=0) > 0).sum() >= d


def test_levels_of_directions_are_those_of_their_cutoffs(read):
    _, readings, directions = read
    block = directions.block(readings[0])
    assert set(block.value.tolist()) <= set(range(1, len(QUANTILES) + 1))
    assert directions.cutoffs.shape == (len(QUANTILES), len(directions))
    assert (directions.cutoffs[:, 0] == np.arange(len(QUANTILES)) + 0.5).all()
    inside = [np.diff(block.feature[a:b]) for a, b in zip(block.indptr, block.indptr[1:])]
    assert all((step > 0).all() for step in inside)


class RareLM(UntrainedOneHotLM):
    """One channel is high on every 5,000th base of the contig, alone; the others are noise."""

    def activations(self, sequence):
        at = SEQUENCE.index(sequence)
        rows = np.random.default_rng(at).standard_normal((len(sequence), 6)).astype(np.float32)
        rows[np.arange(at, at + len(sequence)) % 5000 == 0, 2] = 9
        return torch.from_numpy(rows)


SEQUENCE = random_dna(80_000, 8).encode()


def test_a_dimension_that_marks_one_base_in_5000_has_a_level_for_it(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", a=SEQUENCE.decode()))
    source = Source(RareLM(4096), identity_sae(), genome, None, window=4096, context=0, allow_mismatch=True)
    directions, readings = Directions(source, "+"), []
    for _ in source.blocks(on_reading=readings.append):
        pass
    level = np.concatenate([directions.block(reading).to_scipy()[:, [4]].toarray().ravel() for reading in readings])
    active = [np.flatnonzero(level > least) for least in range(int(level.max()))]
    marked = set(range(0, 80_000, 5000))
    assert any(set(bases.tolist()) == marked for bases in active)


def test_random_directions_have_length_one_and_follow_the_seed(read):
    source, _, directions = read
    assert np.linalg.norm(directions._random.numpy(), axis=0) == pytest.approx(np.ones(RANDOM))
    again, other = (Directions(source, directions.read_strand, seed) for seed in (0, 1))
    assert (again._random == directions._random).all() and (other._random != directions._random).any()


def test_a_column_is_named_by_its_dimension_and_sign():
    assert [dimension_name(c) for c in (0, 1, 10, 11, -1)] == ["+0", "-0", "+5", "-5", ""]
