"""``sae-tracks enrich`` and ``match-regions`` as users run them."""

import json

import pandas as pd
import pytest
from annotation_files import write
from command_line import run
from tiny import write_tiny_model
from toy import random_dna, write_fasta

WORDS = ("enrich", "sae", "g.fa")
MORE = ("-m", "lm", "-p", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A tiny language model, an SAE of it, a genome, two sets of peaks, all peaks, and genes."""
    folder = tmp_path_factory.mktemp("project")
    write_tiny_model(folder, max_seq_len=1026)
    write_fasta(folder / "g.fa", chr1=random_dna(20_000))
    everything = [f"chr1\t{start}\t{start + 50}\tp{start}" for start in range(100, 19_900, 200)]
    write(folder, "a.bed", *everything[::10])
    write(folder, "b.bed", *everything[5::10])
    write(folder, "all.bed", *everything)
    row = 'chr1\tx\texon\t{}\t{}\t.\t+\t.\tgene_id "{}"; transcript_id "{}"'
    write(folder, "g.gtf", *(row.format(start, start + 300, start, start) for start in range(1, 19_000, 1500)))
    return folder


def test_matched_regions_are_drawn_written_and_used_again(project):
    drawn = run("match-regions", "g.fa", "a.bed", "--genes", "g.gtf", "--per-region", "2", "-o", "m.bed", cwd=project)
    assert drawn.returncode == 0, drawn.stderr
    assert "tss_distance" in drawn.stdout and "a.bed: 10 of 10 regions have matches" in drawn.stderr
    first = run(*WORDS, "a.bed", "b.bed", "--genes", "g.gtf", "--per-region", "2", *MORE, "-o", "e", cwd=project)
    assert first.returncode == 0, first.stderr
    table = pd.read_csv(project / "e" / "enrichment.tsv", sep="\t")
    assert len(table) == 64 and table["set"].unique().tolist() == ["a", "b"]
    assert (project / "m.bed").read_bytes() == (project / "e" / "matched" / "a.bed").read_bytes()
    record = json.loads((project / "e" / "provenance.json").read_text())
    assert record["background"] == "matched" and record["per_region"] == 2 and "a.bed" in str(record["files"])
    again = run(*WORDS, "a.bed", "--matched", "m.bed", "--genes", "g.gtf", *MORE, "-o", "e2", cwd=project)
    assert again.returncode == 0, again.stderr
    mine = table[table["set"] == "a"].drop(columns="q").reset_index(drop=True)
    theirs = pd.read_csv(project / "e2" / "enrichment.tsv", sep="\t").drop(columns="q")
    pd.testing.assert_frame_equal(mine, theirs)
    parquet = pd.read_parquet(project / "e2" / "enrichment.parquet").drop(columns="q")
    pd.testing.assert_frame_equal(parquet, theirs, check_dtype=False)


@pytest.mark.parametrize(
    "more, kind, background",
    [
        (("--universe", "all.bed"), "universe", 89),
        (("--against", "b.bed"), "against", 10),
        (("--against", "b.bed", "--paired"), "paired", 10),
    ],
)
def test_other_backgrounds(project, tmp_path, more, kind, background):
    if kind == "paired":
        write(tmp_path, "b.bed", *(line.rsplit("\t", 1)[0] for line in (project / "b.bed").read_text().splitlines()))
        more = ("--against", tmp_path / "b.bed", "--paired")
    done = run(*WORDS, "a.bed", *more, "-f", "0-4", *MORE, "--read-strand", "both", "-o", tmp_path / "e", cwd=project)
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "e" / "enrichment.parquet")
    assert len(table) == 10 and set(table["background"]) == {background} and set(table["regions"]) == {10}
    assert json.loads((tmp_path / "e" / "provenance.json").read_text())["background"] == kind
    assert not (tmp_path / "e" / "matched").exists()
    assert f"regions, {background} in the background" in done.stdout


def test_a_file_is_no_folder(project, tmp_path):
    (tmp_path / "file").touch()
    done = run(*WORDS, "a.bed", *MORE, "-o", tmp_path / "file", cwd=project)
    assert done.returncode == 1 and done.stderr.endswith("it is a file; name a folder\n")


def test_aliases_serve_genes_and_a_region_takes_part_of_matched_ones(project, tmp_path):
    lines = [line.replace("chr1", "1", 1) for line in (project / "g.gtf").read_text().splitlines()]
    write(tmp_path, "g.gtf", *lines)
    drawn = run("match-regions", "g.fa", "a.bed", "--genes", tmp_path / "g.gtf", "--alias", "ucsc", "-o",
                tmp_path / "m.bed", cwd=project)  # fmt: skip
    assert drawn.returncode == 0, drawn.stderr
    part = run(*WORDS, "a.bed", "--matched", tmp_path / "m.bed", "-r", "chr1:1-10000", *MORE, "-o", tmp_path / "e",
               cwd=project)  # fmt: skip
    assert part.returncode == 0, part.stderr
    table = pd.read_parquet(tmp_path / "e" / "enrichment.parquet")
    assert set(table["regions"]) == {5} and 0 < table["background"].iloc[0] <= 25


@pytest.mark.parametrize(
    "words, status, message",
    [
        (("a.bed", "--universe", "all.bed", "--against", "b.bed"), 2, "one of --universe, --against and --matched"),
        (("a.bed", "--paired"), 2, "only sets --against each other are pairs: leave out --paired"),
        (("a.bed", "--universe", "all.bed", "--genes", "g.gtf"), 2, "only matched regions are drawn"),
        (("a.bed", "b.bed", "--against", "all.bed"), 2, "--against compares one set with another one"),
        (("a.bed", "b.bed", "--matched", "a.bed"), 2, "name one --matched file per set: there are 2 sets"),
        (("a.bed", "--universe", "a.bed"), 1, "all regions of a.bed overlap a.bed"),
        (("a.bed", "a.bed"), 1, "two sets are called a"),
        (("a.bed", "-r", "chr1:1-90"), 1, "no region of a.bed lies whole in the regions that are read"),
        (("g.gtf",), 1, "g.gtf is a table of genes"),
    ],
)
def test_what_cannot_be_done_is_one_line(project, words, status, message):
    done = run(*WORDS, *words, *MORE, "-o", "x", cwd=project)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ") and message in done.stderr
    assert not (project / "x").exists()
