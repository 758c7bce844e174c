"""The bases that controls look at again: what the stream gave, and sites where the annotation has them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import OneHotLM, random_dna, random_sae, write_fasta

from sae_tracks.controls.sample import REPORT, SELECT, Sampler, bins_of, choose_bins, seen_through, sites_in, spread
from sae_tracks.features import run
from sae_tracks.genome import Genome
from sae_tracks.metrics import Halves
from sae_tracks.regions import GenomicRegion
from sae_tracks.source import Source

BINS = [GenomicRegion("a", 3, 50), GenomicRegion("a", 50, 130), GenomicRegion("a", 400, 520), GenomicRegion("b", 0, 90)]
HALF = [0, 1, 0, 1]


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    a = random_dna(300, 1) + "N" * 120 + random_dna(180, 2)
    return Genome(
        write_fasta(tmp_path_factory.mktemp("g") / "g.fa", a=a, b=random_dna(40, 3) + "NRN" + random_dna(60, 4))
    )


@pytest.fixture(scope="module", params=["+", "-"])
def sampled(request, genome):
    source = Source(OneHotLM(), random_sae(6, 40, bias=-0.5), genome, None, (request.param,), 64, 32)
    sampler = Sampler(genome, BINS, HALF, 6, 40, request.param)
    blocks = list(source.blocks())
    run(source.blocks(on_reading=sampler.add_activations), sampler)
    return sampler.sample(), source, blocks


def test_features_are_those_of_the_stream(sampled):
    sample, _, blocks = sampled
    expected = {}
    for block in blocks:
        for i in range(len(block.region)):
            for j in range(block.indptr[i], block.indptr[i + 1]):
                expected[block.region.contig, block.region.start + i, block.feature[j]] = block.value[j]
    number = 0
    for region in sample.bins:
        for position in range(region.start, region.end):
            for feature in range(40):
                got = sample.features.dense(feature, len(sample))[number]
                assert got == expected.get((region.contig, position, feature), 0)
            number += 1
    assert number == len(sample) == sample.offset[-1]


def test_letters_halves_and_readable_bases(sampled, genome):
    sample, _, _ = sampled
    letters = b"".join(genome.sequence(region) for region in BINS)
    assert sample.letters.tobytes() == letters
    assert sample.readable.tolist() == [letter in b"ACGT" for letter in letters]
    halves = [half for region, half in zip(BINS, HALF) for _ in range(len(region))]
    assert sample.in_half(REPORT).tolist() == [bool(h) and r for h, r in zip(halves, sample.readable)]
    assert sample.bin_of_base().tolist() == [i for i, region in enumerate(BINS) for _ in range(len(region))]


def test_activations_are_the_models(sampled, genome):
    sample, _, _ = sampled
    for channel, letter in enumerate(b"ACGT"):
        complement = b"TGCA"[channel]
        read = sample.letters == (letter if sample.read_strand == "+" else complement)
        where = sample.activations[:, channel] == 1
        inside = sample.readable
        assert (where[inside] == read[inside]).all()


def test_another_sae_sees_the_same_activations(sampled):
    """Its features differ from those of the stream by what float16 takes away."""
    sample, source, _ = sampled
    again = seen_through(sample, source.sae)
    for feature in range(40):
        dense = (columns.dense(feature, len(sample)) for columns in (again, sample.features))
        assert np.abs(np.subtract(*dense)).max() < 2e-3


intervals = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 99), st.integers(1, 60), st.integers(0, 3), st.integers(0, 9)),
    max_size=25,
)


@given(intervals)
def test_sites_lie_where_the_annotation_has_them(rows):
    bins = [GenomicRegion("a", 5, 40), GenomicRegion("a", 40, 100), GenomicRegion("b", 10, 60)]
    sample = blank_sample(bins)
    sites = pd.DataFrame(
        [(contig, start, start + length, score) for contig, start, length, _, score in rows],
        columns=["Chromosome", "Start", "End", "Score"],
    ).astype({"Start": int, "End": int, "Score": float})
    found = sites_in(sample, sites, np.array([row[3] for row in rows], np.int64), 4)
    for concept in range(4):
        labelled, whole = set(), []
        for contig, start, length, which, score in rows:
            if which == concept:
                for region, offset in zip(bins, sample.offset):
                    inside = [p for p in range(start, start + length) if region.contig == contig]
                    inside = [p - region.start + offset for p in inside if region.start <= p < region.end]
                    labelled |= {p for p in inside if sample.readable[p]}
                    if len(inside) == length:
                        whole.append((inside[0], inside[0] + length, score))
        base, value = found.labels[concept]
        assert base.tolist() == sorted(labelled)
        assert (value == 1).all()
        mine = found.of(concept)
        assert sorted(zip(found.start[mine], found.end[mine], found.score[mine])) == sorted(whole)
        assert (np.diff(found.start[mine]) >= 0).all()


def blank_sample(bins):
    """Every seventh base is not readable."""
    from sae_tracks.controls.sample import Columns, Sample

    offset = np.cumsum([0, *map(len, bins)])
    n = int(offset[-1])
    nothing = Columns(np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    readable = np.arange(n) % 7 > 0
    half = np.zeros(len(bins), np.int8)
    return Sample("+", bins, half, offset, readable, np.zeros(n, np.uint8), np.zeros((n, 1), np.float16), nothing)


def test_bins_are_of_equal_length_and_cover_their_tiles():
    tiles = [GenomicRegion("a", 0, 100_000), GenomicRegion("a", 200_000, 231_000)]
    bins = bins_of(tiles)
    assert [len(b) for b in bins] == [33_333, 33_333, 33_334, 31_000]
    assert [(b.start, b.end) for b in bins[:3]] == [(0, 33_333), (33_333, 66_666), (66_666, 100_000)]


def test_bins_are_spread_from_the_first_to_the_last():
    bins = [GenomicRegion("a", i * 100, i * 100 + 100) for i in range(10)]
    assert spread(bins, 1000) == bins
    assert spread(bins, 300) == [bins[0], bins[4], bins[9]]
    assert spread(bins, 10) == [bins[0]]


def test_no_bin_lies_in_a_run_of_n(tmp_path):
    sequence = "N" * 300_000 + random_dna(100_000) + "N" * 99 + random_dna(99_901, 1) + "N" * 200_000
    genome = Genome(write_fasta(tmp_path / "n.fa", chr1=sequence))
    bins, half = choose_bins(genome, genome.whole, Halves(100_000), most=70_000)
    assert [(b.start, b.end) for b in bins] == [
        (300_000, 333_333),
        (366_666, 400_000),
        (400_000, 433_333),
        (466_666, 500_000),
    ]
    assert half == [1, 1, 0, 0]


def test_bins_of_both_halves_are_chosen_in_genome_order(genome):
    bins, half = choose_bins(genome, genome.whole, Halves(50), most=200)
    assert [b.contig for b in bins] == sorted(b.contig for b in bins)
    assert all(one.start < other.start for one, other in zip(bins, bins[1:]) if one.contig == other.contig)
    for region, which in zip(bins, half):
        assert set(Halves(50).of(region.contig, np.arange(region.start, region.end)).tolist()) == {which}
    for which in (SELECT, REPORT):
        assert sum(len(b) for b, h in zip(bins, half) if h == which) <= 200
