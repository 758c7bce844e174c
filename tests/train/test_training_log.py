"""The log of a training: whole lines, no step twice, and the same numbers for TensorBoard."""

import json
import math
import subprocess

import pytest

from sae_tracks.train.log import TrainingLog


def lines(folder):
    return [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]


def test_a_line_is_there_as_soon_as_it_is_written(tmp_path):
    with TrainingLog(tmp_path, 0) as log:
        log.write({"step": 1, "loss": 2.0})
        assert lines(tmp_path) == [{"step": 1, "loss": 2.0}]


def test_going_on_drops_the_steps_that_come_again_and_a_broken_line(tmp_path):
    with TrainingLog(tmp_path, 0) as log:
        for step in (1, 20, 40):
            log.write({"step": step, "loss": 1.0})
    with (tmp_path / "train_log.jsonl").open("a") as file:
        file.write('{"step": 60, "lo')
    with TrainingLog(tmp_path, 20) as log:
        log.write({"step": 40, "loss": 3.0})
    assert lines(tmp_path) == [{"step": 1, "loss": 1.0}, {"step": 20, "loss": 1.0}, {"step": 40, "loss": 3.0}]


def test_a_loss_that_is_no_number_is_kept(tmp_path):
    for step in (1, 2):
        with TrainingLog(tmp_path, step - 1) as log:
            log.write({"step": step, "loss": math.nan})
    assert [(line["step"], math.isnan(line["loss"])) for line in lines(tmp_path)] == [(1, True), (2, True)]


def test_tensorboard_reads_the_same_numbers(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with TrainingLog(tmp_path, 0, tensorboard=True) as log:
        for step in (1, 20):
            log.write({"step": step, "loss": step / 2, "l0": 16.0})
    with TrainingLog(tmp_path, 1, tensorboard=True) as log:
        log.write({"step": 20, "loss": 7.0, "l0": 15.0})
    events = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5), (20, 7.0)]
    assert set(events.Tags()["scalars"]) == {"loss", "l0"}


def test_without_the_package_the_error_names_it(warm_python, tmp_path):
    code = (
        "import sys; sys.modules['tensorboard'] = None\n"
        "from pathlib import Path; from sae_tracks.train.log import TrainingLog\n"
        "TrainingLog(Path(sys.argv[1]), 0, tensorboard=True)"
    )
    done = subprocess.run([warm_python, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "pip install 'sae-tracks[tensorboard]'" in done.stderr.splitlines()[-1]


def test_without_the_package_nothing_is_written(warm_python, tmp_path):
    code = (
        "import sys; sys.modules['tensorboard'] = None\n"
        "from pathlib import Path; from sae_tracks.train.train import train_sae\n"
        "train_sae(None, Path(sys.argv[1]) / 'sae', tensorboard=True)"
    )
    done = subprocess.run([warm_python, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "pip install 'sae-tracks[tensorboard]'" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())
