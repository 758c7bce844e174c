"""The same training by one process and by several that torchrun starts."""

import json
import re

import numpy as np
import pytest
from command_line import run
from safetensors.numpy import load_file
from toy import random_dna, write_fasta
from warm import torchrun

from sae_tracks.train.checkpoint import checkpoints

SCRIPT = """
import os, signal, sys
from pathlib import Path
from sae_tracks.genome import Genome
from sae_tracks.pretrain import pretrain as lm

def kill(step, loss):
    if step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

lm.SIZES["small"] = lm.Size(16, 2, 64)
settings = lm.PretrainSettings(size="small", steps=20, batch_size=5, save_every=6)
lm.pretrain(Genome(sys.argv[1]), Path(sys.argv[2]), settings, device="cpu", on_step=kill)
"""


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """Windows hold N in places, so processes have unlike numbers of bases."""
    folder = tmp_path_factory.mktemp("g")
    (folder / "held_out.bed").write_text("b\t0\t300\n")
    sequence = random_dna(900) + "N" * 99 + random_dna(300, 1) + "N" * 99 + "ACGGT" * 100
    return write_fasta(folder / "g.fa", a=sequence, b=random_dna(1200, 2))


def words_of(genome, out, *options):
    words = ["pretrain", str(genome), "-o", str(out), "--size", "tiny", "--device", "cpu"]
    return [*words, "--held-out", str(genome.parent / "held_out.bed"), *options]


def log_of(folder):
    return [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_with_unequal_shares_lose_what_one_loses(genome, warm, tmp_path):
    options = ("--steps", "3", "--batch-size", "3", "--lr", "1e-3")
    alone = run(*words_of(genome, tmp_path / "one", *options))
    both = torchrun(warm, 2, "-m", "sae_tracks", *words_of(genome, tmp_path / "two", *options))
    assert alone.returncode == 0 and both.returncode == 0, alone.stderr + both.stderr

    (one,), (two,) = log_of(tmp_path / "one"), log_of(tmp_path / "two")
    assert one["step"] == two["step"] == 3
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)
    weights = load_file(tmp_path / "one" / "model.safetensors")
    for name, theirs in load_file(tmp_path / "two" / "model.safetensors").items():
        np.testing.assert_allclose(theirs, weights[name], atol=2e-3, err_msg=name)
    records = [json.loads((tmp_path / name / "provenance.json").read_text()) for name in ("one", "two")]
    assert [record["processes"] for record in records] == [1, 2]
    losses = [record["held_out_scores"]["nats_per_base"] for record in records]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)

    for out in (alone, both):  # the first process alone speaks
        assert len(re.findall(r"Markov order 0 +1\.\d{4}", out.stderr)) == 1
        assert len(re.findall("model in ", out.stderr)) == 1
    again = torchrun(warm, 2, "-m", "sae_tracks", *words_of(genome, tmp_path / "two", *options))
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("two is complete") == 1


@pytest.mark.slow
def test_two_processes_that_were_killed_go_on_to_the_same_weights(genome, warm, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def train(folder, kill_at):
        return torchrun(warm, 2, script, genome, tmp_path / folder, kill_at)

    assert train("whole", 0).returncode == 0
    assert train("parts", 15).returncode != 0
    assert checkpoints(tmp_path / "parts")
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    assert train("parts", 0).returncode == 0
    whole, parts = (tmp_path / name / "model.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


@pytest.mark.slow
def test_a_batch_smaller_than_the_number_of_processes_is_refused(genome, warm, tmp_path):
    out = torchrun(warm, 2, "-m", "sae_tracks", *words_of(genome, tmp_path / "lm", "--steps", "1", "--batch-size", "1"))
    assert out.returncode != 0
    assert "error: --batch-size 1 is less than the 2 processes: raise it" in out.stderr
    assert not (tmp_path / "lm").exists()
