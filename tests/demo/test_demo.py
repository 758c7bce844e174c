"""The demo genome: its truth lies where the BED says, and nothing else depends on chance."""

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from sae_tracks.demo import planted
from sae_tracks.demo.genome import ALU, background, make_genome, read_motifs
from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import bundled
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_genome(tmp_path_factory.mktemp("demo"), {"demo1": 60_000, "demo2": 50_000}, seed=3)


@pytest.fixture(scope="module")
def truth(made):
    rows = [line.split("\t") for line in made.truth.read_text().splitlines()]
    return [(GenomicRegion(r[0], int(r[1]), int(r[2])), r[3], r[5], r[6]) for r in rows]


def test_planted_things_are_sorted_and_disjoint_on_both_strands(truth):
    regions = [region for region, *_ in truth]
    assert regions == sorted(regions)
    assert all(a.contig != b.contig or a.end < b.start for a, b in zip(regions, regions[1:]))
    count = Counter((name, strand) for _, _, strand, name in truth)
    assert {name for name, _ in count} == {"Alu", "CTCF", "REST", "TP53", "MEF2A"}
    assert all(count[name, s] > 0 for name, _ in count for s in "+-")
    assert sum(n for (name, _), n in count.items() if name == "Alu") == 60_000 // 10 // len(ALU) + 50_000 // 10 // len(
        ALU
    )


def test_an_alu_in_the_truth_is_alu_in_the_sequence(made, truth):
    genome = Genome(made.fasta)
    for region, name, strand, _ in truth:
        if name != "Alu":
            continue
        copy = genome.sequence(region)
        copy = (copy if strand == "+" else reverse_complement(copy)).rstrip(b"A")
        body = np.frombuffer(copy, np.uint8)
        consensus = np.frombuffer(ALU, np.uint8)[-len(body) :] if len(body) <= len(ALU) else None
        assert consensus is None or np.mean(body == consensus[-len(body) :]) > 0.2
        best = max(np.mean(body[: len(c)] == c[: len(body)]) for c in _cuts(len(body)))
        assert best > 0.75


def _cuts(n):
    """The consensus cut so that about n bases are left (the tail's A may belong to either)."""
    letters = np.frombuffer(ALU, np.uint8)
    return [letters[max(len(ALU) - n - shift, 0) :] for shift in range(-6, 7)]


def test_a_motif_site_that_is_no_palindrome_scores_on_the_strand_that_the_truth_says(made, truth):
    genome = Genome(made.fasta)
    motifs = {matrix: p for (matrix, _), p in read_motifs(bundled("demo-genome") / "motifs.jaspar").items()}
    right = 0
    sites = [(region, name, strand) for region, name, strand, tf in truth if name in motifs and tf != "TP53"]
    for region, name, strand in sites:
        forward = genome.sequence(region)
        assert len(forward) == len(motifs[name])
        score = {s: _log_odds(motifs[name], forward if s == "+" else reverse_complement(forward)) for s in "+-"}
        right += score[strand] > score["+-".replace(strand, "")]
    assert len(sites) > 50 and right > 0.95 * len(sites)


def _log_odds(probabilities, site):
    return sum(np.log(p["ACGT".index(chr(base))] + 0.01) for p, base in zip(probabilities, site))


def test_the_same_seed_gives_the_same_bytes(made, tmp_path):
    again = make_genome(tmp_path, {"demo1": 60_000, "demo2": 50_000}, seed=3)
    assert again.fasta.read_bytes() == made.fasta.read_bytes()
    assert again.truth.read_bytes() == made.truth.read_bytes()
    assert (
        make_genome(tmp_path, {"demo1": 60_000, "demo2": 50_000}, seed=4).fasta.read_bytes() != made.fasta.read_bytes()
    )


def test_the_second_contig_begins_with_n(made):
    sequence = Genome(made.fasta).sequence(GenomicRegion("demo2", 0, 251))
    assert sequence[:250] == b"N" * 250 and sequence[250:] != b"N"


def test_the_background_is_as_poor_in_cg_as_the_human_genome():
    text = background(200_000, np.random.default_rng(0)).tobytes()
    gc = (text.count(b"G") + text.count(b"C")) / len(text)
    ratio = text.count(b"CG") * len(text) / (text.count(b"C") * text.count(b"G"))
    assert 0.40 < gc < 0.52
    assert 0.15 < ratio < 0.45


@pytest.mark.slow
def test_the_demo_with_known_truth_runs_to_its_last_line(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(planted, "CONTIGS", {"demo1": 30_000, "demo2": 70_000})
    halves = {"select": ["demo2:1-50,000"], "report": ["demo2:50,001-70,000"]}  # shorter than blocks
    monkeypatch.setattr(planted, "evaluate_on", partial(planted.evaluate_on, **halves))
    monkeypatch.setattr(planted, "PLACE", (30_000, 30_500))
    monkeypatch.setattr(planted, "LEARNING", replace(planted.LEARNING, windows=10, epochs=1))
    monkeypatch.setattr(planted, "LEAST_F1", 0.99)
    with (
        caplog.at_level("INFO"),
        pytest.raises(SaeTracksError, match=r"the Alu feature has F1 .* expected at least 0\.99"),
    ):
        planted.run_planted(tmp_path / "demo")
    assert caplog.messages[-1].startswith("made in ")
    for name in ("metrics/metrics.tsv", "untrained/metrics/metrics.tsv", "tracks/hub.txt", "figures/activation.png"):
        assert (tmp_path / "demo" / name).is_file()
