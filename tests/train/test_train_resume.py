"""A training that was killed goes on to the same bytes, and one of several processes is that of one."""

import json
import logging
import os
import signal
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest
from command_line import run
from safetensors.numpy import load_file
from test_train_sae import SETTINGS, data, sparse_rows, store_rows  # noqa: F401
from warm import torchrun

from sae_tracks.activations.shards import open_shards
from sae_tracks.errors import SaeTracksError
from sae_tracks.train import train as training
from sae_tracks.train.checkpoint import checkpoints, newest, refuse_another_run, step_of
from sae_tracks.train.plan import plan_training
from sae_tracks.train.train import train_sae

ARCHS = ("standard", "topk", "batchtopk", "jumprelu")
ROWS = 40 * 256
WORDS = ("--batch-size", "256", "--tokens", str(ROWS), "--device", "cpu", "-p", "1", "--expansion", "4")


class KilledError(Exception):
    """Stands for a kill between two steps."""


def plan(data, settings=SETTINGS, **options):  # noqa: F811
    return plan_training(data, settings, rows=ROWS, device="cpu", **options)


def weights(folder):
    return (folder / "sae_weights.safetensors").read_bytes()


def train_until(plan, out, step):
    def kill(words, number):
        if number == step:
            raise KilledError

    with pytest.raises(KilledError):
        train_sae(plan, out, kill)


@pytest.fixture
def save_often(monkeypatch):
    monkeypatch.setattr(training, "SAVE_EVERY", -1.0)
    monkeypatch.setattr(training, "LOG_EVERY", 1)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("step", [1, 17, 39, 40])
def test_a_killed_run_ends_with_the_same_bytes(data, tmp_path, save_often, arch, step):  # noqa: F811
    settings = replace(SETTINGS, arch=arch, k=3)
    train_sae(plan(data, settings), tmp_path / "whole")
    train_until(plan(data, settings), tmp_path / "killed", step)
    assert not (tmp_path / "killed" / "cfg.json").exists()
    assert step_of(checkpoints(tmp_path / "killed")[0]) == step

    train_sae(plan(data, settings), tmp_path / "killed")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    logs = [
        [{**json.loads(line), "rows_per_second": 0} for line in (tmp_path / name / "train_log.jsonl").open()]
        for name in ("whole", "killed")
    ]
    assert logs[0] == logs[1]
    assert not (tmp_path / "killed" / "checkpoints").exists()


def test_a_run_from_before_the_first_checkpoint_begins_again(data, tmp_path):  # noqa: F811
    train_sae(plan(data), tmp_path / "whole")
    train_until(plan(data), tmp_path / "killed", 5)
    for path in checkpoints(tmp_path / "killed"):
        path.unlink()
    train_sae(plan(data), tmp_path / "killed")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


def test_a_torn_checkpoint_is_passed_over_with_a_warning(data, tmp_path, save_often, caplog):  # noqa: F811
    train_sae(plan(data), tmp_path / "whole")
    train_until(plan(data), tmp_path / "killed", 20)
    torn, good = checkpoints(tmp_path / "killed")
    torn.write_bytes(torn.read_bytes()[:-100])
    assert f"last checkpoint, {step_of(good)} of 40" in run("info", str(tmp_path / "killed")).stdout
    with caplog.at_level(logging.INFO, "sae_tracks"):
        train_sae(plan(data), tmp_path / "killed")
    assert f"{torn} is torn" in caplog.text and f"going on from step {step_of(good)} of 40" in caplog.text
    assert not torn.exists()
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


def test_only_the_newest_checkpoints_stay_and_a_stray_file_is_none(data, tmp_path, save_often):  # noqa: F811
    (tmp_path / "sae" / "checkpoints").mkdir(parents=True)
    stray = tmp_path / "sae" / "checkpoints" / "step-000000099.safetensors.part"
    stray.write_bytes(b"x")
    train_until(plan(data), tmp_path / "sae", 12)
    assert [step_of(path) for path in checkpoints(tmp_path / "sae")] == [12, 11]
    assert stray.exists()


def test_a_checkpoint_of_another_run_is_refused(data, tmp_path, save_often):  # noqa: F811
    train_until(plan(data), tmp_path / "sae", 3)
    other = store_rows(tmp_path / "other", sparse_rows(3000, seed=7))
    for changed, message in [
        (plan(data, replace(SETTINGS, lr=1e-4)), r"other settings \(lr 0.005, now 0.0001\): name another"),
        (plan(data, seed=3), r"other settings \(seed 0, now 3\)"),
        (plan(other), "other activations"),
    ]:
        with pytest.raises(SaeTracksError, match=message):
            train_sae(changed, tmp_path / "sae")


def test_a_checkpoint_is_of_the_data_with_which_the_run_began(data, tmp_path, save_often):  # noqa: F811
    folder = store_rows(tmp_path / "act", sparse_rows(3000, seed=8)).folder

    def change(words, number):
        if number == 3:
            (folder / "manifest.json").write_text(json.dumps(json.loads((folder / "manifest.json").read_text())))
        if number == 5:
            raise KilledError

    with pytest.raises(KilledError):
        train_sae(plan(open_shards(folder)), tmp_path / "sae", change)
    with pytest.raises(SaeTracksError, match="other activations"):
        train_sae(plan(open_shards(folder)), tmp_path / "sae")


def test_a_checkpoint_with_a_setting_that_is_not_known_is_refused(data, tmp_path, save_often):  # noqa: F811
    train_until(plan(data), tmp_path / "sae", 3)
    run = plan(data).identity()
    run["settings"]["ghost_grads"] = 3.0
    with pytest.raises(SaeTracksError, match=r"other settings \(ghost_grads None, now 3.0\)"):
        newest(tmp_path / "sae", run)
    with pytest.raises(SaeTracksError, match=r"other settings \(ghost_grads 3.0, now None\)"):
        refuse_another_run(tmp_path, run, plan(data).identity())


def test_a_complete_run_is_left_as_it_is_and_another_is_refused(data, tmp_path, caplog):  # noqa: F811
    train_sae(plan(data), tmp_path / "sae")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "sae").iterdir()}
    with caplog.at_level(logging.INFO, "sae_tracks"):
        again = train_sae(plan(data), tmp_path / "sae")
    assert "is complete" in caplog.text and again.d_sae == 32
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "sae").iterdir()} == before
    with pytest.raises(SaeTracksError, match="seed 0, now 1"):
        train_sae(plan(data, seed=1), tmp_path / "sae")


def test_divergence_keeps_the_last_good_checkpoint(data, tmp_path, save_often):  # noqa: F811
    rows = sparse_rows(3000)
    wild = store_rows(tmp_path / "wild", rows)
    settings = replace(SETTINGS, lr=3e37, lr_warmup=1.0)
    with pytest.raises(SaeTracksError, match="diverged at step"):
        train_sae(plan(wild, settings), tmp_path / "sae")
    kept = load_file(checkpoints(tmp_path / "sae")[0])
    assert np.isfinite(kept["weights"]).all() and not (tmp_path / "sae" / "cfg.json").exists()


@pytest.mark.parametrize(("lr", "arch"), [(1000.0, "standard"), (1e38, "jumprelu"), (1e30, "batchtopk")])
@pytest.mark.parametrize("steps", [2, 40])
def test_a_wild_learning_rate_leaves_no_sae_and_no_bad_checkpoint(data, tmp_path, lr, arch, steps):  # noqa: F811
    settings = replace(SETTINGS, lr=lr, arch=arch, k=3, lr_warmup=0.0)
    with pytest.raises(SaeTracksError, match="diverged at step"):
        train_sae(plan_training(data, settings, rows=steps * 256, device="cpu"), tmp_path / "sae")
    assert not (tmp_path / "sae" / "cfg.json").exists()
    assert all(np.isfinite(load_file(path)["weights"]).all() for path in checkpoints(tmp_path / "sae"))


@pytest.mark.parametrize("arch", ARCHS)
def test_a_batch_that_is_all_mean_stops_nothing(tmp_path, arch):
    rows = np.round(sparse_rows(768) * 8) / 8  # sums of these are exact, so the mean is met to the bit
    rows[256:512] = 5.0
    rows[512:] = 10.0 - rows[:256]
    settings = replace(SETTINGS, arch=arch, k=3)
    sae = train_sae(plan_training(store_rows(tmp_path / "data", rows), settings, device="cpu"), tmp_path / "sae")
    log = [json.loads(line) for line in (tmp_path / "sae" / "train_log.jsonl").open()]
    assert len(log) == 2 and np.isfinite(sae.metadata["maxima"]["fvu"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_has_lost_no_step(data, warm, tmp_path, number):  # noqa: F811
    words = ["train", str(data.folder), "-o", str(tmp_path / "sae"), *WORDS, "--tokens", str(256 * 100_000)]
    child = subprocess.Popen([warm, *words], stderr=subprocess.PIPE)
    log = tmp_path / "sae" / "train_log.jsonl"
    while child.poll() is None and not (log.exists() and log.read_text().count("\n") > 3):
        time.sleep(0.05)
    child.send_signal(number)
    _, said = child.communicate(timeout=600)
    assert child.returncode == 128 + number
    assert said.decode().endswith("the same command goes on from where it stopped\n")
    logged = json.loads(log.read_text().splitlines()[-1])["step"]
    assert 0 <= step_of(checkpoints(tmp_path / "sae")[0]) - logged < 20


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHS)
def test_two_processes_lose_what_one_loses(data, warm, tmp_path, arch):  # noqa: F811
    own = ("--k", "3") if "topk" in arch else ()
    # float64: in float32 a feature that is chosen or not by rounding carries runs apart within these steps
    words = (*WORDS, "--arch", arch, *own, "--batch-size", "255", "--dtype", "float64")  # shares of 127 and 128 rows
    alone = run("train", str(data.folder), "-o", str(tmp_path / "one"), *words)
    both = torchrun(warm, 2, "-m", "sae_tracks", "train", data.folder, "-o", tmp_path / "two", *words)
    assert alone.returncode == 0 and both.returncode == 0, alone.stderr + both.stderr

    one, two = ([json.loads(line) for line in (tmp_path / n / "train_log.jsonl").open()] for n in ("one", "two"))
    assert [line["rows"] for line in one] == [line["rows"] for line in two]
    for key in ("loss", "l0", "fvu"):
        assert [line[key] for line in one] == pytest.approx([line[key] for line in two], rel=1e-9)
    a, b = (load_file(tmp_path / n / "sae_weights.safetensors") for n in ("one", "two"))
    assert all(np.abs(a[name] - b[name]).max() < 1e-6 for name in a)  # saved as float32
    assert both.stderr.count("SAE in") == 1


@pytest.mark.slow
def test_the_first_step_of_two_processes_is_that_of_one_to_rounding(data, warm, tmp_path):  # noqa: F811
    words = (*WORDS, "--dtype", "float64", "--tokens", "512")
    alone = run("train", str(data.folder), "-o", str(tmp_path / "one"), *words)
    both = torchrun(warm, 2, "-m", "sae_tracks", "train", data.folder, "-o", tmp_path / "two", *words)
    assert alone.returncode == 0 and both.returncode == 0, alone.stderr + both.stderr
    one, two = ([json.loads(line) for line in (tmp_path / n / "train_log.jsonl").open()] for n in ("one", "two"))
    for key in ("loss", "reconstruction", "penalty", "fvu"):
        assert [line[key] for line in one] == pytest.approx([line[key] for line in two], rel=1e-12)


@pytest.mark.slow
def test_a_process_killed_by_the_system_goes_on(data, warm_python, tmp_path):  # noqa: F811
    """SIGKILL at a moment that nobody chose."""
    script = (
        "import sys; from sae_tracks.train import train; train.SAVE_EVERY = 0.02\n"
        "from sae_tracks.cli import main; sys.argv[0] = 'sae-tracks'; main()"
    )
    words = ["train", str(data.folder), "-o", str(tmp_path / "sae"), *WORDS, "--tokens", str(256 * 2000)]
    child = subprocess.Popen([warm_python, "-c", script, *words], stderr=subprocess.PIPE)
    while child.poll() is None and not checkpoints(tmp_path / "sae"):
        pass
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert not (tmp_path / "sae" / "cfg.json").exists()
    begun = step_of(checkpoints(tmp_path / "sae")[0])
    again = run(*words)
    assert again.returncode == 0 and f"going on from step {begun} of 2000" in again.stderr
    whole = run(*words[:3], str(tmp_path / "whole"), *words[4:])
    assert whole.returncode == 0
    assert weights(tmp_path / "sae") == weights(tmp_path / "whole")
