"""SAELens opens an SAE directory as it is and computes the same, and the other way round."""

import pytest
import torch
from test_train_sae import SETTINGS, sparse_rows, store_rows
from toy import random_sae

from sae_tracks.errors import SaeTracksError
from sae_tracks.sae import load_sae, save_sae
from sae_tracks.train.plan import plan_training
from sae_tracks.train.train import train_sae

sae_lens = pytest.importorskip("sae_lens")
X = torch.randn(500, 8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def assert_the_same(ours, theirs):
    """Features and reconstructions of X; both round differently."""
    f = theirs.encode(X)
    assert 0 < (f > 0).sum() < f.numel()
    torch.testing.assert_close(ours.encode(X), f, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.decode(f), theirs.decode(f), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "topk"])
def test_saelens_opens_every_architecture(tmp_path, architecture):
    ours = random_sae(8, 40, architecture)
    save_sae(ours, tmp_path)
    theirs = sae_lens.SAE.load_from_disk(tmp_path, device="cpu")
    assert theirs.cfg.architecture() == architecture
    assert_the_same(ours, theirs)


def made_by_saelens(architecture, training, **config):
    """An SAE of SAELens of 8 channels and 40 features, of drawn weights."""
    classes = {
        ("standard", False): (sae_lens.StandardSAE, sae_lens.StandardSAEConfig),
        ("jumprelu", False): (sae_lens.JumpReLUSAE, sae_lens.JumpReLUSAEConfig),
        ("topk", False): (sae_lens.TopKSAE, sae_lens.TopKSAEConfig),
        ("standard", True): (sae_lens.StandardTrainingSAE, sae_lens.StandardTrainingSAEConfig),
        ("jumprelu", True): (sae_lens.JumpReLUTrainingSAE, sae_lens.JumpReLUTrainingSAEConfig),
        ("topk", True): (sae_lens.TopKTrainingSAE, sae_lens.TopKTrainingSAEConfig),
        ("batchtopk", True): (sae_lens.BatchTopKTrainingSAE, sae_lens.BatchTopKTrainingSAEConfig),
    }
    model, settings = classes[architecture, training]
    sae = model(settings(d_in=8, d_sae=40, **config))
    drawn = random_sae(8, 40, "jumprelu")
    with torch.no_grad():
        for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold"):
            if hasattr(sae, name):
                getattr(sae, name).copy_(getattr(drawn, name))
    return sae


@pytest.mark.parametrize(
    ("architecture", "training", "config"),
    [
        ("standard", False, {}),
        ("jumprelu", False, {}),
        ("topk", False, {"k": 5}),
        ("standard", True, {}),
        ("jumprelu", True, {}),
        ("topk", True, {"k": 5, "rescale_acts_by_decoder_norm": False}),
    ],
)
def test_what_saelens_saved_is_opened(tmp_path, architecture, training, config):
    theirs = made_by_saelens(architecture, training, **config)
    (theirs.save_inference_model if training else theirs.save_model)(tmp_path)
    ours = load_sae(tmp_path)
    assert ours.architecture == architecture and ours.k == config.get("k")
    assert_the_same(ours, theirs)


@pytest.mark.parametrize("rescale", [False, True])
def test_a_batchtopk_of_saelens_is_a_jumprelu(tmp_path, rescale):
    theirs = made_by_saelens("batchtopk", True, k=5, rescale_acts_by_decoder_norm=rescale)
    theirs.topk_threshold.fill_(1.5)
    with torch.no_grad():
        _, h = theirs.encode_with_hidden_pre(X)
    theirs.save_inference_model(tmp_path)
    ours = load_sae(tmp_path)
    assert ours.threshold is not None and (ours.threshold == 1.5).all()
    assert_the_same(ours, sae_lens.SAE.load_from_disk(tmp_path, device="cpu"))
    torch.testing.assert_close(ours.encode(X), torch.where(h > 1.5, h, 0), rtol=1e-4, atol=1e-4)


def test_a_topk_by_decoder_norms_is_refused_with_the_way_to_convert_it(tmp_path):
    made_by_saelens("topk", True, k=5, rescale_acts_by_decoder_norm=True).save_inference_model(tmp_path)
    with pytest.raises(SaeTracksError, match=r"rescale_acts_by_decoder_norm True.*`sae-tracks import-sae` converts it"):
        load_sae(tmp_path)


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
