"""The verbs as users run them: what they write, and one line where they cannot."""

import json
import sys

import numpy as np
import pytest
import torch
from command_line import run
from toy import random_dna, unit_stats, write_fasta
from track_oracle import read_back

from sae_tracks.cli import main
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, describe, load_lm
from sae_tracks.sae import SAE, save_sae

BIGWIG, BED = (["export-" + kind, "sae", "toy.fa", "-m", "lm", "-p", "1"] for kind in ("bigwig", "bed"))
RECORDS = {"chr14": random_dna(200), "chr15": "N" * 120 + random_dna(50, seed=1)}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a tiny language model, an SAE trained on it, one of another width, and a genome."""
    folder = tmp_path_factory.mktemp("project")
    torch.manual_seed(0)
    HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=3, max_seq_len=66)).save_pretrained(folder / "lm")
    metadata = {"lm": describe(load_lm(str(folder / "lm"), 3))}
    for name, width in {"sae": 16, "narrow": 8}.items():
        weights = torch.randn(width, 32, generator=torch.Generator().manual_seed(1))
        zeros = torch.zeros(32), torch.zeros(width)
        save_sae(SAE(weights, zeros[0], weights.T, zeros[1], metadata, unit_stats(32)), folder / name)
    write_fasta(folder / "toy.fa", **RECORDS)
    return folder


@pytest.fixture
def verb(project, monkeypatch, capsys):
    """A function that runs a verb in this process and gives what it prints, or the message it exits with."""
    monkeypatch.chdir(project)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["sae-tracks", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
        return capsys.readouterr().out if done.value.code == 0 else str(done.value.code)

    return call


def test_bed_on_stdout_is_the_bed_in_a_file(project, verb):
    arguments = [*BED, "-f", "0-9", "-r", "chr14:20-150", "-t", "0.05", "--scale", "raw"]
    done = run(*arguments, "-o", "-", cwd=project)
    assert done.returncode == 0
    assert done.stderr.endswith(f"{len(done.stdout.splitlines())} intervals of 10 features in stdout\n")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows and all(row[0] == "chr14" and 19 <= int(row[1]) < int(row[2]) <= 150 for row in rows)
    verb(*arguments, "-o", "f.bed")
    assert done.stdout == (project / "f.bed").read_text()


def test_an_error_is_one_line_on_stderr(project):
    done = run(*BIGWIG, "-f", "3", "-r", "14", "-o", "failed", cwd=project)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: no contig '14' in the genome: did you mean 'chr14'?\n"


def test_export_hub_and_session(project, verb):
    assert verb(*BIGWIG, "-f", "3,f12", "-o", "tracks", "--read-strand", "both") == ""
    names = {f"f{feature}.{strand}.bw" for feature in (3, 12) for strand in ("plus", "minus")}
    assert {path.name for path in (project / "tracks").iterdir()} == {*names, "provenance.json"}
    values = read_back(project / "tracks" / "f3.plus.bw", "chr15")
    assert np.isnan(values[:120]).all() and not np.isnan(values[120:]).any()

    link = verb("hub", "tracks", "--assembly", "toy1", "--url", "https://example.org/t")
    assert link.startswith("https://genome.ucsc.edu/cgi-bin/hgTracks?db=toy1&hubUrl=https://example.org/t/hub.txt&")

    assert verb("igv", "tracks", "--genome", "toy.fa", "-o", "session") == ""
    assert (project / "session.xml").is_file()
    assert json.loads((project / "session.json").read_text())["tracks"][0]["url"] == "tracks/f3.plus.bw"


def tracks(project, folder):
    return {path.name: path.read_bytes() for path in sorted((project / folder).glob("*.bw"))}


def test_features_are_named_by_number_by_list_by_score_or_all(project, verb, capsys):
    (project / "list.txt").write_text("f12\n3\n")
    (project / "scores.tsv").write_text(
        "concept\tsite_strand\tfeature\tread_strand\tf1\nx\t+\tf3\t+\t0.4\ny\t+\tf12\t+\t0.5\nz\t+\tf9\t+\t0.3\n"
    )
    for folder, words in {
        "named": ["-f", "3,12"],
        "listed": ["-f", "@list.txt"],
        "scored": ["--top", "2", "--from", "scores.tsv"],
    }.items():
        assert verb(*BIGWIG, *words, "-o", folder) == ""
        assert tracks(project, folder) == tracks(project, "named") and len(tracks(project, folder)) == 2
    assert verb(*BIGWIG, "--all", "-bs", "20", "--scale", "max", "-o", "all") == ""
    assert len(tracks(project, "all")) == 32
    for words in ([], ["-f", "3", "--all"], ["--top", "2"], ["--from", "scores.tsv", "-f", "3"]):
        assert verb(*BIGWIG, *words, "-o", "unnamed") == "2"
        assert "name features with one of -f" in capsys.readouterr().err
    assert not (project / "unnamed").exists()


def test_shards_merge_to_the_bytes_of_one_run(project, verb):
    words = ["-f", "0-5", "--read-strand", "both", "-bs", "7", "--bin-stat", "mean"]
    verb(*BIGWIG, *words, "-o", "single")
    for i in (1, 2, 3):
        assert verb(*BIGWIG, *words, "--shard", f"{i}/3", "-o", f"parts/{i}") == ""
    assert verb("merge-bigwig", "parts/2", "parts/3", "parts/1", "-o", "joined", "-p", "2") == ""
    assert len(tracks(project, "joined")) == 12
    assert tracks(project, "joined") == tracks(project, "single")


def test_narrowpeak_goes_into_a_pipe_without_comments(project, verb):
    words = [*BED, "-f", "0-9", "-t", "0.05", "--scale", "raw", "--merge-gap", "3", "--min-length", "2"]
    found = [line.split("\t") for line in verb(*words, "--format", "narrowpeak", "-o", "-").splitlines()]
    assert found and {len(row) for row in found} == {10}
    assert all(int(row[2]) - int(row[1]) >= 2 and 0 <= int(row[9]) < int(row[2]) - int(row[1]) for row in found)


@pytest.mark.parametrize("command, out", [(BIGWIG, "planned"), (BED, "planned.bed")])
def test_a_dry_run_writes_nothing(project, verb, command, out):
    said = verb(*command, "-f", "3,12", "-o", out, "--dry-run")
    assert out in said and "250 bases in 7 windows, 2 tracks; disk about" in said
    assert not (project / out).exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["-f", "32"], "no feature 32: this SAE has features 0 to 31"),
        (["-f", "3", "-r", "14"], "no contig '14' in the genome: did you mean 'chr14'?"),
        (["-f", "3", "-r", "chr14:1-201"], "region 'chr14:1-201' ends past chr14, which has 200 bases"),
        (["-f", "3", "-r", "NC_000014.9"], "no contig 'NC_000014.9' in the genome: did you mean 'chr14'?"),
        (["-f", "3", "-r", "chr14:1:100"], "region 'chr14:1:100' has deepTools' colons: write chr14:1-100"),
        (["-f", "3", "--regions", "ensembl.bed"], "did you mean 'chr14'?"),
        (["-f", "3", "--regions", "hg19.bed"], "chr14, which has 200 bases"),
        (["-f", "3", "-bl", "hg19.bed"], "chr14, which has 200 bases"),
        (["-f", "3", "-r", "chr15:1-120"], "nothing to read: the regions hold no base outside runs of N"),
    ],
)
def test_a_wrong_request_leaves_nothing(project, verb, arguments, message):
    (project / "ensembl.bed").write_text("chr15\t0\t9\n14\t0\t9\n")
    (project / "hg19.bed").write_text("chr14\t0\t201\n")
    said = verb(*BIGWIG, *arguments, "-o", "failed")
    assert said.startswith("error: ") and message in said and "\n" not in said
    assert not list(project.glob("failed/*"))


def test_an_sae_of_another_width_is_refused(project, verb):
    said = verb("export-bed", "narrow", "toy.fa", "-m", "lm", "-f", "3", "-o", "failed.bed")
    assert said == f"error: the SAE reads 8 dimensions; {project / 'lm'} has 16"
    assert not (project / "failed.bed").exists()


def test_an_output_that_cannot_be_written_is_an_error(verb):
    assert verb(*BED, "-f", "3", "-o", "toy.fa/f.bed") == "error: cannot write toy.fa/f.bed: toy.fa is a file"
