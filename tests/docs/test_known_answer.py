"""The default trainer finds the directions that activations are made of, and starts without them."""

import pytest
from conftest import benchmark_module

from sae_tracks.train.plan import plan_training
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.train import initial_weights, train_sae

ROWS = 1 << 19


@pytest.fixture(scope="module")
def known_answer():
    return benchmark_module("known_answer")


@pytest.mark.slow
def test_the_default_settings_find_the_directions_that_activations_are_made_of(known_answer, tmp_path):
    data = known_answer.write_shards(tmp_path / "shards", ROWS)
    settings = TrainSettings(k=known_answer.ACTIVE)
    plan = plan_training(data, settings, d_sae=known_answer.D_SAE, device="cpu")
    assert known_answer.share_found(initial_weights(plan, plan.device).decoder) < 0.01

    sae = train_sae(plan, tmp_path / "sae")

    assert sae is not None
    assert known_answer.share_found(sae.W_dec) >= 0.99
