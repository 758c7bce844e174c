"""Shards of one's own arrays: they come back, shuffle and train as extracted ones do."""

import numpy as np
import pytest
import torch
from stored_rows import whole
from toy import OneHotLM

from sae_tracks.activations.shards import open_shards, write_shards
from sae_tracks.activations.shuffle import plan_shuffle, shuffle
from sae_tracks.errors import SaeTracksError
from sae_tracks.lm import describe
from sae_tracks.sae import load_sae
from sae_tracks.train.plan import plan_training
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.train import train_sae

ROWS = np.random.default_rng(0).normal(size=(1000, 6)).astype(np.float32)
FORMS = {
    "an array": lambda: ROWS,
    "a tensor": lambda: torch.from_numpy(ROWS),
    "a list of arrays": lambda: [ROWS[:1], ROWS[1:700], ROWS[700:]],
    "an iterator": lambda: (ROWS[i : i + 130] for i in range(0, 1000, 130)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [64, 250, 5000])
def test_rows_come_back_as_float16_in_order(tmp_path, form, size):
    shards = write_shards(tmp_path / "act", FORMS[form](), rows_per_shard=size)
    rows, loci = whole(open_shards(tmp_path / "act"))
    assert np.array_equal(rows, ROWS.astype(np.float16))
    assert np.array_equal(loci, np.stack([np.zeros(1000), np.arange(1000)], 1))
    assert [shard.rows for shard in shards.shards[:-1]] == [size] * ((1000 - 1) // size)
    assert not list((tmp_path / "act").glob(".*"))


def test_an_sae_trained_on_them_keeps_the_language_model(tmp_path):
    lm = OneHotLM()
    stored = write_shards(tmp_path / "act", ROWS, lm=lm)
    shuffle(stored, tmp_path / "mixed", plan_shuffle(stored, 1 << 30))
    settings = TrainSettings(batch_size=100, expansion=2, k=2)
    train_sae(plan_training(open_shards(tmp_path / "mixed"), settings, device="cpu"), tmp_path / "sae")
    assert load_sae(tmp_path / "sae").metadata["lm"] == describe(lm)


def test_rows_in_random_order_train_at_once_and_others_do_not(tmp_path):
    settings = TrainSettings(batch_size=100, expansion=2, k=2)
    mixed = write_shards(tmp_path / "mixed", ROWS, lm={"model": "me/lm", "layer": 3}, shuffled=True)
    assert plan_training(mixed, settings, device="cpu").steps == 10
    assert mixed.manifest["lm"]["model"] == "me/lm" and mixed.manifest["lm"]["weights_sha256"] is None
    with pytest.raises(SaeTracksError, match="genome order"):
        plan_training(write_shards(tmp_path / "act", ROWS), settings, device="cpu")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "there are no rows"),
        (np.zeros((0, 4)), "there are no rows"),
        ([ROWS, ROWS[:, :3]], "rows of 3 dimensions follow rows of 6"),
        (np.full((2, 3), 7e4), "an activation is 70000; float16"),
        (np.full((2, 3), np.nan), "an activation is nan; float16"),
        ([np.zeros(4)], r"rows of shape \(4,\)"),
        (np.full((2, 2), "a"), "type <U1"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(tmp_path, rows, message):
    with pytest.raises(SaeTracksError, match=message):
        write_shards(tmp_path / "act", rows)
    assert not list((tmp_path / "act").iterdir())


def test_a_folder_with_shards_is_not_overwritten(tmp_path):
    write_shards(tmp_path / "act", ROWS)
    with pytest.raises(SaeTracksError, match="holds activation shards already"):
        write_shards(tmp_path / "act", ROWS)
