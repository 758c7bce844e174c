"""Verdicts on features of known behaviour, on real sequence: none given too easily, none withheld without reason."""

import numpy as np
import pytest
from conftest import SHARED, benchmark_module, shared
from toy import random_dna, write_fasta

from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion

LENGTHS = {"a": 30_000, "b": 9_000}


@pytest.fixture(scope="module")
def benchmark():
    """The modules `detectors` and `verdicts`."""
    return benchmark_module("detectors"), benchmark_module("verdicts")


@pytest.fixture(scope="module")
def planted(benchmark, tmp_path_factory):
    """A source of 40 random features on two contigs, and their dense activations by contig."""
    detectors, _ = benchmark
    rng, dense = np.random.default_rng(1), {}
    texts = {name: random_dna(n, seed) for seed, (name, n) in enumerate(LENGTHS.items())}
    genome = Genome(write_fasta(tmp_path_factory.mktemp("detectors") / "g.fa", **texts))
    for name, n in LENGTHS.items():
        values = rng.uniform(0.1, 1, (n, 40)).astype(np.float32) * (rng.random((n, 40)) < 0.01)
        values[[0, -1], 3] = 1  # the first and the last base of a contig
        dense[name] = values
    tables = {}
    for name, values in dense.items():
        tables[name] = detectors.Table.of([(np.flatnonzero(v), v[v > 0]) for v in values.T])
    return detectors.detector_source(genome, tables), dense


def test_the_features_are_active_exactly_where_the_table_says(planted):
    """Over several windows, and on the first and the last base of both contigs."""
    source, dense = planted
    found = {name: np.zeros_like(values) for name, values in dense.items()}
    for block in source.blocks():
        found[block.region.contig][block.region.start : block.region.end] = block.to_scipy().toarray()
    for name, values in dense.items():
        assert ((found[name] > 0) == (values > 0)).all()
        np.testing.assert_allclose(found[name], values, atol=1e-5)


def test_a_region_gives_the_same_activations_in_other_windows(planted):
    from dataclasses import replace

    source, dense = planted
    some = replace(source, regions=[GenomicRegion("a", 7_000, 20_500)], window=1000, context=300)
    rows = [block.to_scipy().toarray() for block in some.blocks()]
    np.testing.assert_allclose(np.concatenate(rows), dense["a"][7_000:20_500], atol=1e-5)


def test_the_maxima_are_those_of_both_contigs(planted):
    source, dense = planted
    expected = np.max([values.max(axis=0) for values in dense.values()], axis=0)
    np.testing.assert_allclose(source.sae.maxima(), expected)


def test_no_single_dimension_is_a_detector(planted):
    """The activations of a feature are spread over dimensions, under noise."""
    source, dense = planted
    lm, text = source.lm, source.genome.sequence(GenomicRegion("a", 0, 8192))
    rows = lm.activations(text).numpy()
    correlation = np.corrcoef(rows.T, dense["a"][:8192].T)[: lm.d_model, lm.d_model :]
    assert np.nanmax(np.abs(correlation)) < 0.6


def test_a_window_that_is_not_in_the_genome_is_refused(planted):
    from sae_tracks.errors import SaeTracksError

    with pytest.raises(SaeTracksError, match="not in the genome"):
        planted[0].lm.activations(b"A" * 100)


@pytest.mark.parametrize(
    ("behaviour", "bases"),
    [
        ("full", [10, 11, 12, 13, 14, 15, 16, 30, 31]),
        ("half", [14, 15, 16, 31]),
        ("last3", [14, 15, 16, 30, 31]),
        ("last1", [16, 31]),
    ],
)
def test_a_detector_is_active_on_the_bases_that_are_read_last(benchmark, behaviour, bases):
    detectors, _ = benchmark
    assert detectors.on_sites(np.array([10, 30]), np.array([17, 32]), behaviour).tolist() == bases


def test_a_part_of_the_sites_is_found_at_the_precision_that_was_asked_for(benchmark):
    detectors, _ = benchmark
    start = np.arange(0, 200_000, 100)
    first, last = detectors.partly(start, start + 10, 200_010, np.random.default_rng(0))
    right = np.isin(first, start)
    assert right.mean() == pytest.approx(0.6, abs=0.01)
    assert right.sum() / len(start) == pytest.approx(0.3, abs=0.03)
    away = first[~right] % 100
    assert ((away >= 10) & (away <= 90)).all()  # touches no site
    assert (last - first == 10).all()


def test_a_filter_of_twelve_letters_scores_every_letter_once(benchmark, monkeypatch):
    """The bases on which it is active are those with the highest sums over the letters read last."""
    detectors, _ = benchmark
    text = (random_dna(5000, 3) + "N" + random_dna(3000, 4)).encode()
    (column,) = detectors.filter_columns(text, 12, 1, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    nearest, farthest = rng.standard_normal((6, 4)), rng.standard_normal((6, 4))
    weights = np.concatenate([farthest, nearest])
    score = np.full(len(text), -np.inf)
    for base in range(11, len(text)):
        word = text[base - 11 : base + 1]
        if b"N" not in word:
            score[base] = sum(weights[j, "ACGT".index(chr(letter))] for j, letter in enumerate(word))
    bases, values = column
    assert 1 <= len(bases) <= 80
    assert set(bases) == set(np.argsort(-score)[: len(bases)])
    assert bases[values.argmax()] == score.argmax()


def test_words_are_active_on_their_last_base(benchmark):
    detectors, _ = benchmark
    text = b"ACGTACGTNACGT"
    code = int("".join(f"{'ACGT'.index(c):02b}" for c in "ACGTAC"), 2)
    assert detectors.word_ends(text, code).tolist() == [5]
    columns = detectors.word_columns(text, 10_000, np.random.default_rng(0))
    assert len(columns) == 4**4 + 4**5 + 4**6
    fours = [bases.tolist() for bases, _ in columns[: 4**4]]
    assert fours[0b00011011] == [3, 7, 12]


@pytest.fixture(scope="module")
def ground(benchmark, tmp_path_factory):
    _, verdicts = benchmark
    shared(f"data/{verdicts.SEQUENCE}")
    shared(f"data/{verdicts.MATRICES}")
    return verdicts.Ground.at(SHARED / "data", tmp_path_factory.mktemp("ground"))


@pytest.mark.slow
@pytest.mark.real
def test_features_that_know_no_motif_win_once_in_six_times_and_support_none(benchmark, ground):
    found = benchmark[1].null(ground, True)
    wins = found["null_wins"]["filters6"]
    assert wins["pairs"] >= 40 and wins["decoys"] == 5
    assert found["null_wins_within"]["filters6"], wins
    assert found["null_discoveries"]["filters6"] <= 0.05
    assert found["null_supported"]["filters6"] <= 0.02


@pytest.mark.slow
@pytest.mark.real
def test_features_that_know_all_sites_of_a_motif_are_supported(benchmark, ground):
    full = benchmark[1].power(ground, True)["power"]["full"]
    assert full["pairs"] == 8
    assert full["supported"] >= 0.95, full


def test_what_was_measured_is_a_table(benchmark):
    verdicts = benchmark[1]
    wins = {"share": 0.17, "pairs": 600, "decoys": 5, "low": 0.13, "high": 0.2}
    one = {"pairs": 64, "supported": 0.95}
    found = {
        "null_wins": dict.fromkeys(verdicts.KINDS, wins),
        "null_discoveries": dict.fromkeys(verdicts.KINDS, 0.0),
        "null_supported": dict.fromkeys(verdicts.KINDS, 0.01),
        "regions_null": {"exon": {"annotations": 20, "regions_p": 0.05, "shift_p": 0.5, "supported": 0.0}},
        "power": dict.fromkeys(verdicts.BEHAVIOURS, one) | {"partial": {"by_width": {"full": one, "last1": one}}},
        "word_is_word": {"pairs": 64, "word": 1.0},
        "repeat_is_repeat": {"pairs": 10, "repeat": 1.0, "sites_inside_and_outside": one},
        "single_motif_supported": {"full": "supported", "last1": "word"},
        "rare": {"peaks": 1050, "bases": 50_000_000, "instances": 496, "verdict": "chance"},
    }
    rows = verdicts.markdown(found)
    assert all(row.count("|") == 4 for row in rows)
    assert rows[2].endswith("| 1 / 6; 0.130 to 0.200 | 0.170 |") and rows[-1].endswith("| `chance` |")
    assert rows[-2].endswith("| `supported`, `word` |")
