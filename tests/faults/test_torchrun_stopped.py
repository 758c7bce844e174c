"""Trainings that torchrun started, and SIGTERM."""

import json
import signal
import time

import pytest
from safetensors.numpy import load_file
from stored_rows import store
from toy import random_dna, write_fasta
from warm import start_torchrun, torchrun

from sae_tracks.train.checkpoint import checkpoints, step_of

SCRIPT = """
import sys, time
from pathlib import Path
from sae_tracks.cli.verb import _sigterm_raises
from sae_tracks.genome import Genome
from sae_tracks.pretrain import pretrain as lm

lm.SIZES["small"], lm.LOG_EVERY = lm.Size(16, 2, 64), 2
settings = lm.PretrainSettings(size="small", steps=60, batch_size=2)
with _sigterm_raises():
    lm.pretrain(Genome(sys.argv[1]), Path(sys.argv[2]), settings, device="cpu", on_step=lambda *_: time.sleep(0.05))
"""


def stopped(warm, words, out):
    """Stop a run after some steps; the step of its checkpoint, and what it said."""
    child = start_torchrun(warm, 2, *words)
    log = out / "train_log.jsonl"
    while child.poll() is None and not (log.exists() and log.read_text().count("\n") > 2):
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=600)
    assert child.returncode, said
    step = step_of(checkpoints(out)[0])
    assert step >= json.loads(log.read_text().splitlines()[-1])["step"]
    return step, said


@pytest.mark.slow
def test_a_training_of_two_processes_stops_at_one_step(warm, tmp_path):
    data, out = store(tmp_path / "data", [4096], shuffled=True).folder, tmp_path / "sae"
    words = ["train", str(data), "-o", str(out), "--d-sae", "64", "--batch-size", "64", "--device", "cpu"]
    step, said = stopped(warm, ["-m", "sae_tracks", *words, "--tokens", str(64 * 100_000)], out)
    assert said.count("stopped by SIGTERM: the same command goes on from where it stopped\n") == 1
    done = torchrun(warm, 2, "-m", "sae_tracks", *words, "--tokens", 64 * (step + 10))
    assert done.returncode and "is of a run with other settings" in done.stderr  # the checkpoint is whole


@pytest.mark.slow
def test_a_stopped_pretraining_of_two_processes_ends_with_the_weights_of_one_that_was_not(warm, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    genome = write_fasta(tmp_path / "g.fa", a=random_dna(3000))
    step, _ = stopped(warm, [str(script), str(genome), str(tmp_path / "lm")], tmp_path / "lm")
    assert step < 60
    for out in ("lm", "whole"):
        done = torchrun(warm, 2, script, genome, tmp_path / out)
        assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / out / "model.safetensors") for out in ("lm", "whole"))
    assert all((one[name] == two[name]).all() for name in one)
