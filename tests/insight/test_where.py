"""Where features peak: shares by a walk over the bases, tests by scipy, positions by construction."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, false_discovery_control
from toy import OneHotLM, identity_sae, random_dna, write_fasta

from sae_tracks.annotations import Annotation
from sae_tracks.controls.alu import ALU
from sae_tracks.dna import reverse_complement
from sae_tracks.genome import Genome
from sae_tracks.genome_line import GenomeLine
from sae_tracks.insight.where import (
    Sites,
    _narrowest,
    alu_context,
    alu_positions,
    enrichment,
    half_bases,
    most_enriched,
    names_of,
)
from sae_tracks.metrics import Halves
from sae_tracks.regions import GenomicRegion
from sae_tracks.source import Source

COLUMNS = ["Chromosome", "Start", "End", "Name", "Score", "Strand", "TF"]
LENGTHS = {"a": 130, "b": 70}


def annotation(*rows):
    return Annotation(pd.DataFrame([(*row[:4], np.nan, row[4], "") for row in rows], columns=COLUMNS), "drawn")


def source_of(folder, **options):
    records = {"a": "N" * 5 + random_dna(125), "b": random_dna(70)}
    return Source(
        OneHotLM(), identity_sae(), Genome(write_fasta(folder / "g.fa", **records)), allow_mismatch=True, **options
    )


@st.composite
def sites(draw):
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        contig = draw(st.sampled_from(list(LENGTHS)))
        start = draw(st.integers(0, LENGTHS[contig] - 1))
        end = draw(st.integers(start + 1, LENGTHS[contig]))
        rows.append((contig, start, end, draw(st.sampled_from(["CDS:1", "gene"])), draw(st.sampled_from("+-."))))
    return rows


@given(sites(), st.lists(st.tuples(st.sampled_from(list(LENGTHS)), st.integers(0, 69)), min_size=1))
def test_counts_and_background_are_those_of_a_walk(rows, places):
    line = GenomeLine(LENGTHS, 100)
    half = [("a", at) for at in range(20, 110)] + [("b", at) for at in range(50)]
    bases = np.array([[20, 110], [line.starts["b"], line.starts["b"] + 50]])
    found = Sites.of(annotation(*rows), line, bases, stranded=True)
    on_line = np.array([line.starts[name] + at for name, at in places])
    counts = found.count([on_line, on_line[:0]])
    expected = sorted({(row[3], row[4]) for row in rows})
    assert found.names == [name if strand == "." else f"{name} {strand}" for name, strand in expected]
    for column, (name, strand) in enumerate(expected):
        mine = [row for row in rows if row[3:] == (name, strand)]

        def inside(place, mine=mine):
            return any(c == place[0] and start <= place[1] < end for c, start, end, *_ in mine)

        assert counts[0, column] == sum(map(inside, places)) and counts[1, column] == 0
        assert found.background[column] == pytest.approx(sum(map(inside, half)) / len(half))


def test_bases_of_a_half_leave_out_gaps_and_the_black_list(tmp_path):
    records = {"a": random_dna(150) + "N" * 150 + random_dna(100), "b": random_dna(250)}
    genome = Genome(write_fasta(tmp_path / "g.fa", **records))
    regions, black = [GenomicRegion("a", 0, 400), GenomicRegion("b", 50, 250)], [GenomicRegion("b", 60, 70)]
    source = Source(OneHotLM(), identity_sae(), genome, regions, black_list=black, allow_mismatch=True)
    line = GenomeLine(genome.lengths, 100)
    b = line.starts["b"]
    assert half_bases(source, Halves(100), 0, line).tolist() == [
        [0, 100],
        [b + 50, b + 60],
        [b + 70, b + 100],
        [b + 200, b + 250],
    ]
    assert half_bases(source, Halves(100), 1, line).tolist() == [[100, 150], [300, 400], [b + 100, b + 200]]


def test_q_values_are_those_of_scipy_over_all_features_and_kinds():
    rng = np.random.default_rng(0)
    places, background = np.array([100, 40, 7]), np.array([0.1, 0.5, 0.02, 0.9])
    counts = rng.binomial(places[:, None], np.minimum(background * 1.5, 1))
    q, gain = enrichment(counts, places, background)
    p = [
        [binomtest(int(k), int(n), b, alternative="greater").pvalue for k, b in zip(row, background)]
        for row, n in zip(counts, places)
    ]
    np.testing.assert_allclose(q.ravel(), false_discovery_control(np.array(p).ravel()))
    assert ((gain > 0) == (counts / places[:, None] > background)).all()


def test_a_name_needs_half_of_the_places_and_a_test_that_holds():
    line, rng = GenomeLine({"a": 100_000}, 100), np.random.default_rng(0)
    rows = [("a", at + i, at + i + 1, f"CDS:{i + 1}", "-") for at in range(0, 30_000, 3) for i in range(3)]
    rows += [("a", 0, 30_000, "CDS", "-"), ("a", 30_000, 100_000, "rest", ".")]
    found = Sites.of(annotation(*rows), line, np.array([[0, 100_000]]), stranded=True)
    third, anywhere = np.arange(2, 3002, 30), rng.integers(0, 100_000, 300)
    mixed = np.concatenate([np.arange(2, 3002, 60), rng.integers(30_000, 100_000, 60)])  # less than half
    table = most_enriched(found, [third, anywhere, mixed, third[:1], third[:0]], "concept")
    assert names_of(table, "concept") == ["codon position 3, CDS -", "", "", "", ""]  # one place proves nothing
    assert table["concept"].tolist()[0] == "CDS:3 -" and table["concept_background"][0] == pytest.approx(0.1)
    assert table["concept_share"][0] == 1 and table["concept_q"][0] < 1e-90
    assert table["concept"][2] == "CDS:3 -" and table["concept_q"][2] < 1e-10 and table["concept_share"][2] < 0.5
    assert table["concept"][4] == "" and np.isnan(table["concept_share"][4])


def alu_source(folder):
    """Copies of Alu on both strands; the places are base 120 of the consensus in each."""
    parts, places, at = [], [], 0
    for number in range(24):
        between = random_dna(700 + number, number)
        copy = ALU if number % 2 else reverse_complement(ALU)
        parts += [between, copy.decode()]
        at += len(between)
        places.append(at + (120 if number % 2 else len(ALU) - 1 - 120))
        at += len(ALU)
    genome = Genome(write_fasta(folder / "g.fa", first=random_dna(130, 99), c="".join(parts)))
    return Source(OneHotLM(), identity_sae(), genome, allow_mismatch=True), np.array(places)


def test_positions_in_the_consensus_of_alu_on_either_strand(tmp_path):
    source, places = alu_source(tmp_path)
    line = GenomeLine(source.genome.lengths, 100)
    start = line.starts["c"]
    others = np.array([5, start + 3, start + 600])
    inside, position = alu_positions(source.genome, line, np.concatenate([places[::-1] + start, others]))
    assert inside.tolist() == [True] * 24 + [False] * 3
    assert position.tolist() == [120] * 24 + [-1] * 3


def test_features_are_named_by_the_stretch_of_alu_that_holds_half_of_their_places(tmp_path):
    source, places = alu_source(tmp_path)
    line = GenomeLine(source.genome.lengths, 100)
    places = places + line.starts["c"]
    spread = places + np.where(np.arange(24) % 2, 1, -1) * (np.arange(24) // 2 - 6) * 20  # along the whole consensus
    others = line.starts["c"] + np.arange(0, 23_000, 137)
    table = alu_context(source.genome, line, [places, spread, others[:20], places[:0]], others)
    assert names_of(table, "repeat") == ["Alu 121", "Alu", "", ""]
    assert table["repeat_share"][0] == 1 and table["repeat_background"][0] == pytest.approx(0.28, abs=0.1)


def test_the_narrowest_stretch():
    position = np.array([5, 9, 9, 40, 41, 43, 200])
    assert _narrowest(position, 3) == "41-44" and _narrowest(position, 2) == "10"
    assert _narrowest(position, 7) is None and _narrowest(position, 8) is None and _narrowest(position[:0], 1) is None
