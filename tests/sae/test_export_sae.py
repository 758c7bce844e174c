"""What export-sae writes: the classes that other programs would open, computed here from their formulas."""

import json

import numpy as np
import pytest
import torch
from command_line import run
from interop_files import decoded, largest, pre_activations
from toy import identity_sae, random_sae

from sae_tracks.errors import SaeTracksError
from sae_tracks.sae import load_sae, save_sae
from sae_tracks.sae.interop import export_sae, import_sae

D_IN, D_SAE = 6, 15


def trained(architecture="standard", *, unit=True):
    """An SAE of random weights; sae-tracks trains directions of length 1."""
    sae = random_sae(D_IN, D_SAE, architecture)
    if unit:
        sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
    sae.metadata = {"lm": {"model": "me/lm", "layer": 3, "hook_name": "blocks.2"}}
    return sae


def opened(folder):
    """The tensors and the configuration of dictionary_learning, as `torch.load` of today opens them."""
    return torch.load(folder / "ae.pt", weights_only=True), json.loads((folder / "config.json").read_text())["trainer"]


def their_weights(state):
    """Our names for the tensors, whichever way round they are stored."""
    if "W_enc" in state:
        return {name: state[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    b_dec = next(state[name] for name in ("bias", "b_dec", "decoder.bias") if name in state)
    names = {"W_enc": state["encoder.weight"].T, "W_dec": state["decoder.weight"].T}
    return names | {"b_enc": state["encoder.bias"], "b_dec": b_dec}


def relu(h):
    return np.maximum(h, 0)


CASES = [
    ("standard", True, "AutoEncoder", True, lambda h, state: relu(h)),
    ("standard", False, "AutoEncoderNew", False, lambda h, state: relu(h)),
    ("topk", True, "AutoEncoderTopK", True, lambda h, state: largest(relu(h), state["k"].item())),
    ("topk", False, "AutoEncoderTopK", True, lambda h, state: largest(relu(h), state["k"].item())),
    ("jumprelu", True, "JumpReluAutoEncoder", False, lambda h, state: relu(h) * (h > state["threshold"].numpy())),
    ("jumprelu", False, "JumpReluAutoEncoder", False, lambda h, state: relu(h) * (h > state["threshold"].numpy())),
]


@pytest.mark.parametrize(("architecture", "unit", "name", "pre_bias", "activate"), CASES)
def test_the_class_of_dictionary_learning_computes_the_same(tmp_path, architecture, unit, name, pre_bias, activate):
    sae, x = trained(architecture, unit=unit), torch.randn(300, D_IN)
    assert export_sae(sae, tmp_path / "out", "dictionary_learning") == name
    state, trainer = opened(tmp_path / "out")
    assert trainer["dict_class"] == name and (trainer["activation_dim"], trainer["dict_size"]) == (D_IN, D_SAE)
    assert (trainer["lm_name"], trainer["submodule_name"]) == ("me/lm", "blocks.2")

    w = their_weights(state)
    features = activate(pre_activations(x, w, pre_bias=pre_bias), state)
    assert np.abs(sae.encode(x).numpy() - features).max() <= 1e-5 * features.max()
    ours = sae.decode(sae.encode(x)).numpy()
    assert np.abs(ours - decoded(features, w)).max() <= 1e-5 * np.abs(ours).max()


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu"])
@pytest.mark.parametrize("target", ["saelens", "dictionary_learning"])
def test_what_goes_out_comes_back(tmp_path, target, architecture, unit):
    sae, x = trained(architecture, unit=unit), torch.randn(300, D_IN)
    export_sae(sae, tmp_path / "out", target)
    import_sae(tmp_path / "out", tmp_path / "back")
    back = load_sae(tmp_path / "back")
    assert back.architecture == architecture and back.k == sae.k
    assert torch.allclose(back.encode(x), sae.encode(x), atol=2e-5)
    assert torch.allclose(back.decode(back.encode(x)), sae.decode(sae.encode(x)), atol=2e-5)
    if unit and architecture != "jumprelu":  # nothing to fold
        assert torch.equal(back.W_enc, sae.W_enc) and torch.equal(back.b_enc, sae.b_enc)


def test_a_k_above_the_number_of_features_is_what_it_does(tmp_path):
    sae = trained("topk")
    sae.k = 99
    export_sae(sae, tmp_path / "out", "dictionary_learning")
    state, trainer = opened(tmp_path / "out")
    assert trainer["k"] == state["k"].item() == D_SAE


def test_the_directory_of_saelens_is_without_statistics(tmp_path):
    save_sae(identity_sae(**trained().metadata), tmp_path / "sae")
    sae = load_sae(tmp_path / "sae")
    assert export_sae(sae, tmp_path / "out", "saelens") == "standard"
    held = {path.name for path in (tmp_path / "out").iterdir()}
    assert held == {"cfg.json", "sae_weights.safetensors", "provenance.json"}
    again = load_sae(tmp_path / "out")
    assert sae.stats is not None and again.stats is None
    assert again.metadata == sae.metadata and again.checksum == sae.checksum


@pytest.mark.parametrize("name", ["cfg.json", "ae.pt", "config.json", "feature_stats.parquet"])
@pytest.mark.parametrize("target", ["saelens", "dictionary_learning"])
def test_a_folder_that_holds_an_sae_is_left_as_it_is(tmp_path, target, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(SaeTracksError, match=f"holds {name} already"):
        export_sae(trained(), tmp_path, target)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_an_interrupted_export_leaves_no_file(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(SaeTracksError, match=r"cannot write .*ae\.pt: No space left on device"):
        export_sae(trained(), tmp_path / "out", "dictionary_learning")
    assert not list((tmp_path / "out").iterdir())


def test_the_verb_writes_and_says_what(tmp_path):
    sae = trained()
    save_sae(sae, tmp_path / "sae")
    out = run("export-sae", str(tmp_path / "sae"), "--to", "dictionary_learning", "-o", str(tmp_path / "out"))
    assert out.returncode == 0 and "AutoEncoder in " in out.stderr
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert provenance["sae_sha256"] == sae.checksum
    again = run("export-sae", str(tmp_path / "sae"), "--to", "dictionary_learning", "-o", str(tmp_path / "out"))
    assert again.returncode == 1 and "holds ae.pt already" in again.stderr
