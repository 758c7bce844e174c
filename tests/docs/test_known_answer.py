"""The default trainer finds the directions that activations are made of, and starts without them."""

import pytest
from conftest import benchmark_module

from sae_tracks.train.plan import plan_training
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.train import initial_weights, train_sae

ROWS = 1 << 18
SIZES = {"DIRECTIONS": 256, "D_IN": 128, "ACTIVE": 8, "D_SAE": 512}  # a quarter of the benchmark's


@pytest.fixture
def known_answer(monkeypatch):
    module = benchmark_module("known_answer")
    for name, size in SIZES.items():
        monkeypatch.setattr(module, name, size)
    return module


@pytest.mark.slow
def test_the_default_settings_find_the_directions_that_activations_are_made_of(known_answer, tmp_path):
    data = known_answer.write_shards(tmp_path / "shards", ROWS)
    settings = TrainSettings(k=known_answer.ACTIVE)
    plan = plan_training(data, settings, d_sae=known_answer.D_SAE, device="cpu")
    assert known_answer.share_found(initial_weights(plan, plan.device).decoder) < 0.01

    sae = train_sae(plan, tmp_path / "sae")

    assert sae is not None
    assert known_answer.share_found(sae.W_dec) >= 0.99
