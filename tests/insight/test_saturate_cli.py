"""`sae-tracks saturate` as users call it."""

import json

import pytest
from command_line import run
from toy import OneHotLM, identity_sae, random_dna, write_fasta

from sae_tracks.sae import save_sae

CALL = ("saturate", "sae", "toy.fa", "-f", "5,2", "-o", "out")


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with an SAE and a genome; the language model is a toy."""
    write_fasta(tmp_path / "toy.fa", chr1=random_dna(500, seed=2))
    save_sae(identity_sae(lm={"model": "one-hot", "layer": 3}), tmp_path / "sae")
    monkeypatch.setattr("sae_tracks.lm.load.load_lm", lambda *_, **__: OneHotLM())
    return tmp_path


def test_files_and_what_is_said(work):
    done = run(*CALL, "-r", "chr1:101-120", "--read-strand", "both", "--at", "chr1:110", cwd=work)
    assert done.returncode == 0, done.stderr
    tracks = [f"f{feature}.{strand}" for feature in (2, 5) for strand in ("minus", "plus")]
    made = [
        f"{track}.{kind}" for track in tracks for kind in ("contributions.bw", "contributions.png", "dependency.png")
    ]
    rest = ["provenance.json", "saturate.npz", "saturate.tsv"]
    assert sorted(path.name for path in (work / "out").iterdir()) == sorted([*made, *rest])
    record = json.loads((work / "out" / "provenance.json").read_text())
    assert record["features"] == [5, 2] and record["regions"] == ["chr1:101-120"]
    assert record["peaks"] == [[109, 109], [109, 109]]
    assert "f/5, read strand -: " in done.stderr and "4 bigWigs and 8 figures in out" in done.stderr


def test_a_dry_run_writes_nothing(work):
    done = run(*CALL, "-r", "chr1:101-120", "--dry-run", cwd=work)
    assert done.stdout.startswith("out: 60 changed copies of chr1:101-120 per read strand")
    assert not (work / "out").exists()


@pytest.mark.parametrize("at", ["chr1:110-111", "chr1:110-", "chr1"])
def test_a_peak_of_several_bases_is_refused(work, at):
    done = run(*CALL, "-r", "chr1:101-120", "--at", at, cwd=work)
    assert done.returncode == 2 and "it is one base of chr1:101-120, such as chr1:101" in done.stderr


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry run"])
def test_a_peak_outside_of_the_region_is_refused_in_a_dry_run_too(work, dry):
    done = run(*CALL, "-r", "chr1:101-120", "--at", "chr1:130", *dry, cwd=work)
    assert done.returncode == 1 and "lies outside of chr1:101-120: name a base of the region" in done.stderr
    assert not (work / "out").exists()
