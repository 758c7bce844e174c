"""SAELens opens an SAE directory as it is and computes the same."""

import pytest
import torch
from test_train_sae import SETTINGS, sparse_rows, store_rows

from sae_tracks.training.sae import plan_training, train_sae

sae_lens = pytest.importorskip("sae_lens")


def test_saelens_encodes_and_decodes_the_same(tmp_path):
    data = store_rows(tmp_path / "shuffled", sparse_rows(1024))
    ours = train_sae(plan_training(data, SETTINGS, rows=10 * 256, device="cpu"), tmp_path / "sae")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "sae", device="cpu")

    x = torch.from_numpy(data.read_rows(0, 500)).float()
    with torch.no_grad():
        f = theirs.encode(x)
        decoded = theirs.decode(f)
    assert (f - ours.encode(x)).norm() <= 1e-5 * f.norm()
    assert (decoded - ours.decode(f)).norm() <= 1e-5 * decoded.norm()


def test_saelens_keeps_what_we_know_of_the_model(tmp_path):
    data = store_rows(tmp_path / "shuffled", sparse_rows(1024))
    train_sae(plan_training(data, SETTINGS, device="cpu"), tmp_path / "sae")
    config = sae_lens.SAE.load_from_disk(tmp_path / "sae", device="cpu").cfg
    assert (config.d_in, config.d_sae) == (data.d_model, SETTINGS.expansion * data.d_model)
    assert config.metadata.model_name == "toy" and config.metadata.hook_name == "x"
    assert config.metadata.lm["layer"] == 3
