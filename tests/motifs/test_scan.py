"""Motif sites: every one, each once, whatever the chunks; and the verb."""

import json
import logging

import numpy as np
import pandas as pd
import pysam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motif_oracle import motifs, p_values, scores, sequences, sites
from typer.testing import CliRunner

from sae_tracks.cli.app import app
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.motifs import Motif, Scanner, loss_limit, scan_genome
from sae_tracks.motifs.matrix import cutoff
from sae_tracks.regions import GenomicRegion

TATAAA = Motif("MA0108.1", "TBP", np.array([[0, 0, 0, 9], [9, 0, 0, 0], [0, 0, 0, 9]] + [[9, 0, 0, 0]] * 3, float))
LONG = Motif("MA9999.1", "X", np.eye(4)[[0, 1, 2, 3, 0, 0, 1, 1, 2, 3, 3, 2, 1]] * 20)


def fasta(folder, **contigs):
    path = folder / "g.fa"
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in contigs.items()))
    return path


def random_letters(n, seed=0):
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), n))


@settings(deadline=None)  # the first example compiles
@given(motifs(max_width=6))
def test_p_values_are_those_of_all_words(motif):
    known = p_values(motif.counts)
    best = max(known)
    tail = cutoff(motif, p=1, relative=0).tail
    assert {best - score: p for score, p in known.items()} == pytest.approx(
        {best - score: tail[best - score] for score in known}, rel=1e-12
    )
    assert tail[-1] == pytest.approx(1)


@settings(deadline=None)
@given(motifs(), sequences(), st.sampled_from([1e-3, 0.01, 0.1, 1]), st.sampled_from([0, 0.5, 0.8, 1]))
def test_sites_are_those_of_a_walk_over_all_words(motif, sequence, p, relative):
    expected = sites(motif, sequence, p, relative)
    if loss_limit(motif, p, 0) < 0:
        assert not expected
        return
    hits = Scanner([motif], p=p, relative=relative).scan(sequence)
    columns = zip(hits.start.tolist(), hits.strand.tolist(), hits.relative, hits.minus_log10_p)
    found = {(start, strand): (share, 10**-score) for start, strand, share, score in columns}
    border = {where for where, values in expected.items() if values is None}
    assert found.keys() - border == expected.keys() - border
    for where in found.keys() - border:
        assert found[where] == pytest.approx(expected[where], abs=1e-9)


def test_every_width_from_one_word_to_many_is_looked_up_in_full():
    rng = np.random.default_rng(1)
    sequence = random_letters(3000, 2).encode()
    for width in range(1, 20):
        motif = Motif("MA0001.1", "", rng.integers(0, 4, (width, 4)) + 0.5)
        table = np.array(scores(motif.counts))
        codes = np.array([b"ACGT".index(x) for x in sequence])
        views = np.lib.stride_tricks.sliding_window_view(codes, width)
        score = table[np.arange(width), views].sum(axis=1)
        share = (score - table.min(axis=1).sum()) / (table.max(axis=1) - table.min(axis=1)).sum()
        hits = Scanner([motif], p=1, relative=0.6).scan(sequence)
        assert hits.start[hits.strand == 1].tolist() == np.flatnonzero(share >= 0.6).tolist()


def test_other_letters_never_match_and_case_does_not_matter():
    site = b"TATAAA"
    assert len(Scanner([TATAAA], p=1e-2).scan(site)) == 1
    assert len(Scanner([TATAAA], p=1e-2).scan(site.lower())) == 1
    for i in range(6):
        for letter in (b"N", b"R", b"-", b"\xff"):
            assert not len(Scanner([TATAAA], p=1, relative=0).scan(site[:i] + letter + site[i + 1 :]))


def test_a_sequence_shorter_than_the_motif_has_no_site():
    assert not len(Scanner([LONG]).scan(b"")) and not len(Scanner([LONG]).scan(b"ACGTAACCGTTG"))
    assert len(Scanner([LONG]).scan(b"ACGTAACCGTTGC")) == 1


def test_a_palindrome_is_found_on_both_strands():
    motif = Motif("MA1.1", "", np.eye(4)[[0, 0, 0, 0, 3, 3, 3, 3]] * 9)
    hits = Scanner([motif]).scan(b"GGAAAATTTTGG")
    assert hits.start.tolist() == [2, 2] and hits.strand.tolist() == [1, -1]


def test_motifs_that_cannot_reach_the_p_value_are_named(caplog):
    with caplog.at_level(logging.WARNING, "sae_tracks"):
        hits = Scanner([TATAAA, LONG]).scan(b"TATAAACGTAACCGTTGC")
    assert "MA0108.1" in caplog.text and "MA9999.1" not in caplog.text
    assert hits.motif.tolist() == [1]  # the index in the list given
    with pytest.raises(SaeTracksError, match=r"no word reaches p <= 0.0001 with MA0108\.1"):
        Scanner([TATAAA]).scan(b"TATAAA")


@pytest.mark.parametrize("chunk", [1, 5, 13, 64, 10_000])
def test_no_site_is_lost_or_doubled_where_chunks_and_regions_meet(tmp_path, chunk):
    genome = Genome(fasta(tmp_path, a=random_letters(400), b=random_letters(150, 1), c="ACG"))
    scanner = Scanner([TATAAA, LONG], p=0.2, relative=0.3)
    regions = [
        GenomicRegion("b", 20, 90),
        GenomicRegion("a", 100, 200),
        GenomicRegion("a", 150, 203),
        GenomicRegion("a", 203, 260),  # touches the one before: one region
        GenomicRegion("a", 300, 304),  # too narrow for any site
    ]
    rows = [t for table in scan_genome(genome, scanner, regions, chunk=chunk) for t in table.itertuples(index=False)]
    expected = []
    for contig, start, end in (("a", 100, 260), ("b", 20, 90)):
        hits = scanner.scan(genome.sequence(GenomicRegion(contig, start, end)))
        for m, s, strand in zip(hits.motif, hits.start + start, hits.strand):
            motif = scanner.motifs[m]
            where = contig, s, s + motif.width, motif.matrix_id, "+-"[int(strand < 0)], motif.tf
            expected.append(where)
    assert [(r.Chromosome, r.Start, r.End, r.Name, r.Strand, r.TF) for r in rows] == sorted(expected)
    assert len(expected) > 50


def test_contigs_come_in_the_order_of_the_fasta_and_scores_are_capped(tmp_path):
    site, long = "ACGTAACCGTTGC", Motif("MA9.1", "Y", np.eye(4)[[0] * 20] * 99)
    genome = Genome(fasta(tmp_path, z=f"{site}N{'A' * 20}", b=site))
    sites = pd.concat(scan_genome(genome, Scanner([LONG, long])), ignore_index=True)
    assert sites["Chromosome"].tolist() == ["z", "z", "b"]
    assert sites["Start"].tolist() == [0, 14, 0]
    assert sites["Score"].tolist() == [782, 1000, 782]  # -log10(4 ** -13) is 7.827; 4 ** -20 is beyond the cap


def test_one_matrix_given_twice_is_refused(tmp_path):
    genome = Genome(fasta(tmp_path, a="ACGT" * 9))
    with pytest.raises(SaeTracksError, match="two motifs have one matrix ID"):
        next(scan_genome(genome, Scanner([LONG, LONG])))


def run(*words):
    return CliRunner().invoke(app, ["scan", *map(str, words)])


@pytest.fixture
def job(tmp_path):
    """Genome and matrices of the verb."""
    contig = random_letters(200) + "TATAAA" + random_letters(100, 3) + "ACGTAACCGTTGC" + random_letters(50, 4)
    pfm = tmp_path / "m.pfm"
    text = ""
    for motif in (TATAAA, LONG):
        text += f">{motif.matrix_id} {motif.tf}\n" + "".join(
            f"{base} [ {' '.join(map(str, row))} ]\n" for base, row in zip("ACGT", motif.counts.T.tolist())
        )
    pfm.write_text(text)
    return fasta(tmp_path, chr2=contig, chr1="TATAAA"), pfm


def test_the_verb_writes_sorted_bed_with_index_and_provenance(job, tmp_path):
    genome, pfm = job
    out = tmp_path / "out" / "sites.bed.gz"
    done = run(genome, "--motifs", pfm, "--p-value", 0.01, "-o", out)
    assert done.exit_code == 0, done.exception
    with pysam.TabixFile(str(out)) as tabix:
        rows = [row.split("\t") for row in tabix.fetch()]
        assert ["chr2", "200", "206", "MA0108.1", "361", "+", "TBP"] in [
            r.split("\t") for r in tabix.fetch("chr2", 200, 201)
        ]
    assert ["chr2", "306", "319", "MA9999.1", "782", "+", "X"] in rows
    assert rows[-1] == ["chr1", "0", "6", "MA0108.1", "361", "+", "TBP"]
    assert all(len(row) == 7 for row in rows)
    provenance = json.loads((out.parent / "sites.bed.gz.provenance.json").read_text())
    assert provenance["motifs"] == ["MA0108.1", "MA9999.1"] and provenance["sites"] == len(rows)
    piped = run(genome, "--motifs", pfm, "--p-value", 0.01, "-o", "-")
    assert [line.split("\t") for line in piped.stdout.splitlines()] == rows


def test_contigs_too_long_for_tbi_get_csi(job, tmp_path, monkeypatch):
    monkeypatch.setattr("sae_tracks.files.LONGEST_TBI", 300)
    genome, pfm = job
    assert run(genome, "--motifs", pfm, "-o", tmp_path / "s.bed.gz").exit_code == 0
    assert (tmp_path / "s.bed.gz.csi").exists() and not (tmp_path / "s.bed.gz.tbi").exists()
    with pysam.TabixFile(str(tmp_path / "s.bed.gz"), index=str(tmp_path / "s.bed.gz.csi")) as tabix:
        assert len(list(tabix.fetch("chr2", 306, 319))) == 1


def test_only_motifs_and_contigs_with_sites_have_rows(tmp_path):
    genome = Genome(fasta(tmp_path, a="ACGT" * 5, b="ACGTAACCGTTGC"))
    sites = pd.concat(scan_genome(genome, Scanner([TATAAA, LONG])))
    assert [sites[name].unique().tolist() for name in ("Chromosome", "Name", "Strand", "TF")] == [
        ["b"],
        ["MA9999.1"],
        ["+"],
        ["X"],
    ]
    assert pd.concat(scan_genome(genome, Scanner([LONG]), [GenomicRegion("a", 0, 20)])).empty


def test_the_verb_takes_regions_and_matrices(job):
    genome, pfm = job
    words = (genome, "--motifs", pfm, "--p-value", 0.01, "-o", "-")
    row = "chr2\t306\t319\tMA9999.1\t782\t+\tX"
    assert run(*words, "--matrix", "MA9999.1", "-r", "chr2:307-319").stdout.splitlines() == [row]
    assert row not in run(*words, "--matrix", "MA9999.1", "-r", "chr2:308-319").stdout
    done = run(*words, "--matrix", "MA9999.2")
    assert "no matrix 'MA9999.2' in m.pfm: it has MA9999.1" in str(done.exception)
