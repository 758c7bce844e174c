"""Chance: how many decoys, their sites as labels, draws, and false discovery rates, against the definitions."""

import numpy as np
import pandas as pd
import pytest
from chance_oracle import slow_bh, slow_competition, slow_q
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import random_dna, write_fasta

from sae_tracks.arrays import adjusted
from sae_tracks.controls.chance import (
    CompetitorLabels,
    competition,
    decoys_for,
    draws_q,
    q_values,
)
from sae_tracks.genome import Genome
from sae_tracks.metrics import Halves
from sae_tracks.motifs import Motif, match_decoys
from sae_tracks.regions import GenomicRegion

NAN = np.nan


scores = st.integers(0, 6).map(lambda x: x / 6)


@st.composite
def averages(draw, most=13):
    """Scores of targets, some NaN, and of their decoys, of which there are different numbers, some none."""
    n, k = draw(st.integers(1, 10)), draw(st.integers(1, most))
    found = np.full((n, 1 + k), NAN)
    for i in range(n):
        own = draw(st.sampled_from([k, k, k // 2, 0]))
        found[i, : 1 + own] = draw(st.lists(scores, min_size=1 + own, max_size=1 + own))
        if draw(st.integers(0, 5)) == 0:
            found[i, 0] = NAN
    return found


@given(averages())
def test_q_values_of_unequal_numbers_of_decoys_equal_the_definition(average):
    found = q_values(average[:, 0], average[:, 1:])
    assert found.tolist() == pytest.approx(slow_q(average[:, 0], average[:, 1:]), nan_ok=True)


@given(averages(), st.booleans())
@settings(max_examples=200)
def test_the_outcome_of_a_competition_equals_the_definition(average, few):
    table, expected = competition(average, few), slow_competition(average, few)
    for i, row in enumerate(expected):
        assert table["decoy_win"][i] is row.pop("decoy_win")
        assert table.loc[i, [*row]].tolist() == pytest.approx([*row.values()], nan_ok=True)


def test_a_competition_of_nobody_is_empty():
    for few in (True, False):
        assert not len(competition(np.empty((0, 4)), few))


@given(averages())
def test_q_of_draws_is_that_of_p_by_counting(average):
    p = [
        (1 + sum(d >= row[0] for d in row[1:])) / (1 + sum(~np.isnan(row[1:]))) if not np.isnan(row[:2]).any() else NAN
        for row in average
    ]
    assert draws_q(average[:, 0], average[:, 1:]).tolist() == pytest.approx(slow_bh(p), nan_ok=True)


@given(st.lists(st.integers(1, 100).map(lambda x: x / 100) | st.just(NAN), max_size=12))
def test_adjusted_is_benjamini_and_hochberg_among_the_known(p):
    assert adjusted(np.array(p, float)).tolist() == pytest.approx(slow_bh(p), nan_ok=True)


@pytest.mark.parametrize(
    ("pairs", "decoys"), [(0, 199), (1, 199), (9, 199), (10, 199), (21, 190), (100, 40), (800, 5), (4000, 5)]
)
def test_the_number_of_decoys_falls_with_the_number_of_motifs(pairs, decoys):
    assert decoys_for(pairs) == decoys


def test_nine_targets_can_each_be_found_alone_by_the_draws():
    average = np.zeros((9, 200))
    average[:, 1:] = 0.5
    average[4, 0] = 1
    assert competition(average, True)["decoy_q"][4] == pytest.approx(9 / 200)


# sites as labels


@pytest.fixture(scope="module")
def competing(tmp_path_factory):
    """A genome of two contigs with N and lower case, and two motifs with their decoys; sites at all borders."""
    letters = list(random_dna(30_000, 4))
    for start in (0, 4994, 4996, 5000, 9995, 10_000, 29_993):
        letters[start : start + 7] = "GATTACA"
    letters[7000:7150] = "N" * 150
    text = "".join(letters)
    path = write_fasta(tmp_path_factory.mktemp("chance") / "g.fa", a=text[:8000] + text[8000:].lower(), b=text[:9000])
    genome = Genome(path)
    motifs = [
        Motif(name, "", np.eye(4)[["ACGT".index(x) for x in word]] * 60 + 4)
        for name, word in (("MA0001.1", "GATTACA"), ("MA0002.1", "TTGCAACGTC"))
    ]
    return genome, match_decoys(genome, motifs, 3, None, p=3e-3, relative=0.6)


def labels_by_scan(genome, competitors, halves, region):
    """From the sites of the whole contig: those of the select half that have a base in the region."""
    length = genome.lengths[region.contig]
    rows = zip(*(column.tolist() for column in competitors.sites(genome, GenomicRegion(region.contig, 0, length))))
    return sorted(
        (start, end, 4 + 2 * motif + (strand < 0))
        for motif, start, end, strand, competes in rows
        if competes and start < region.end and end > region.start and halves.of(region.contig, np.array(start)) == 0
    )


HALVES = [
    Halves(5000),
    Halves(5000, 1500),
    Halves(),
    Halves(named=([GenomicRegion("a", 4990, 10_003)], [GenomicRegion("b", 0, 9000)])),
]


@given(st.sampled_from(HALVES), st.sampled_from("ab"), st.integers(0, 29_999), st.integers(1, 6000))
@settings(deadline=None, max_examples=60)
def test_labels_of_a_region_are_those_of_the_whole_contig(competing, halves, contig, start, length):
    check_labels(*competing, halves, contig, start, length)


@pytest.mark.parametrize("halves", HALVES)
@pytest.mark.parametrize("start", [0, 1, 6, 7, 4994, 4999, 5000, 5001, 5006, 5007, 9996, 10_000, 29_993, 29_999])
def test_labels_at_borders_are_those_of_the_whole_contig(competing, halves, start):
    for length in (1, 6, 7, 5001):
        check_labels(*competing, halves, "a", start, length)


def check_labels(genome, competitors, halves, contig, start, length):
    start = min(start, genome.lengths[contig] - 1)
    region = GenomicRegion(contig, start, min(start + length, genome.lengths[contig]))
    found = CompetitorLabels(genome, competitors, halves).overlapping(region)
    rows = list(zip(found["Start"].tolist(), found["End"].tolist(), found["concept"].tolist()))
    assert sorted(rows) == labels_by_scan(genome, competitors, halves, region)
    assert found["Start"].is_monotonic_increasing
    assert set(found["copies"]) <= {1} and set(found["Chromosome"]) <= {contig}


def test_rows_of_concepts_are_letters_then_each_matrix_on_both_strands(competing):
    genome, competitors = competing
    assert competitors.names == ["MA0001.1", "MA0002.1"]
    assert any(labels_by_scan(genome, competitors, Halves(), GenomicRegion("a", 0, 30_000)))
    concepts = CompetitorLabels(genome, competitors, Halves(5000)).concepts
    names = [motif.matrix_id for motif in competitors.motifs]
    assert concepts["concept"].tolist() == [*"ACGT", *(name for name in names for _ in "+-")]
    assert concepts["site_strand"].tolist() == ["+"] * 4 + ["+", "-"] * len(names)
    assert isinstance(concepts, pd.DataFrame) and set(concepts) == {"concept", "site_strand", "tf"}
