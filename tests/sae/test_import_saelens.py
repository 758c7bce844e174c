"""Every variant of SAELens that weights can express computes here what SAELens says; the others are refused."""

import json

import numpy as np
import pytest
import torch
from interop_files import D_IN, D_SAE, activations, assert_computes, decoded, draw, largest, pre_activations, weights
from safetensors.torch import save_file

from sae_tracks.errors import SaeTracksError
from sae_tracks.sae import load_sae
from sae_tracks.sae.interop import import_sae

THRESHOLD = draw(D_SAE, seed=5).abs()
GATE = {"r_mag": draw(D_SAE, seed=6), "b_gate": draw(D_SAE, seed=7), "b_mag": draw(D_SAE, seed=8)}
SCALE = 0.37


def saelens(folder, architecture, tensors=(), scaler=None, **changes):
    """A folder as SAELens 6 writes it; `scaler` is what a training checkpoint has beside."""
    folder.mkdir()
    state = weights() | dict(tensors)
    if architecture == "gated":
        del state["b_enc"]
    save_file(state, folder / "sae_weights.safetensors")
    config = {"architecture": architecture, "d_in": D_IN, "d_sae": D_SAE, "dtype": "float32", "device": "cpu"}
    config |= {"apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none"}
    config |= {"metadata": {"sae_lens_version": "6.54.12", "dataset_path": "me/genomes"}}
    (folder / "cfg.json").write_text(json.dumps(config | changes))
    if scaler:
        (folder / "activation_scaler.json").write_text(json.dumps(scaler))
    return folder


def imported(source, tmp_path):
    assert import_sae(source, tmp_path / "sae").format == "SAELens"
    return load_sae(tmp_path / "sae")


def relu(h):
    return np.maximum(h, 0)


def above(threshold):
    return lambda h: relu(h) * (h > np.asarray(threshold, np.float64))


def gated(h):
    u = h - np.asarray(weights()["b_enc"], np.float64)
    r_mag, b_gate, b_mag = (np.asarray(tensor, np.float64) for tensor in GATE.values())
    return (u + b_gate > 0) * relu(np.exp(r_mag) * u + b_mag)


CASES = {
    "standard": ({}, {}, relu),
    "jumprelu": ({"threshold": THRESHOLD}, {}, above(THRESHOLD)),
    "jumprelu, log": ({"log_threshold": THRESHOLD.log()}, {}, above(THRESHOLD)),
    "jumprelu, below 0": ({"threshold": -THRESHOLD}, {}, relu),
    "gated": (GATE, {}, gated),
    "topk": ({}, {"k": 4}, lambda h: largest(relu(h), 4)),
    "batchtopk": (
        {"topk_threshold": torch.tensor(0.8, dtype=torch.float64)},
        {"k": 2.5, "rescale_acts_by_decoder_norm": False},
        above(0.8),
    ),
    "batchtopk, threshold unset": (
        {"topk_threshold": torch.tensor(0.0)},
        {"k": 2.0, "rescale_acts_by_decoder_norm": False},
        lambda h: largest(relu(h), 2),
    ),
}


@pytest.mark.parametrize("pre_bias", [True, False])
@pytest.mark.parametrize("scale", [1.0, SCALE])
@pytest.mark.parametrize("case", CASES)
def test_pre_bias_and_input_scale_are_folded(tmp_path, case, scale, pre_bias):
    tensors, changes, activate = CASES[case]
    if scale != 1:
        changes = changes | {"normalize_activations": "expected_average_only_in"}
    architecture, scaler = case.split(",")[0], {"scaling_factor": scale, "has_whitening": False}
    folder = saelens(tmp_path / "a", architecture, tensors, scaler, apply_b_dec_to_input=pre_bias, **changes)
    sae = imported(folder, tmp_path)

    w, x = weights(), activations()
    features = activate(pre_activations(x.double() * scale, w, pre_bias=pre_bias))
    assert_computes(sae, x, features, decoded(features, w) / scale)


@pytest.mark.parametrize("scale", [1.0, SCALE])
@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka_batchtopk"])
def test_features_in_units_of_their_direction_are_folded(tmp_path, architecture, scale):
    tensors = {} if architecture == "topk" else {"topk_threshold": torch.tensor(2.0)}
    folder = saelens(
        tmp_path / "a", architecture, tensors, {"scaling_factor": scale}, k=4, rescale_acts_by_decoder_norm=True,
        normalize_activations="expected_average_only_in",
    )  # fmt: skip
    sae = imported(folder, tmp_path)

    w, x = weights(), activations()
    lengths = np.linalg.norm(np.asarray(w["W_dec"], np.float64), axis=1)
    scaled = pre_activations(x.double() * scale, w, pre_bias=True) * lengths
    kept = largest(relu(scaled), 4) if architecture == "topk" else above(2.0)(scaled)
    assert_computes(sae, x, kept / scale, decoded(kept / lengths, w) / scale)
    assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(D_SAE))


def test_a_rescaled_top_k_chooses_by_the_scaled_features(tmp_path):
    folder = saelens(tmp_path / "a", "topk", k=1, rescale_acts_by_decoder_norm=True)
    chosen = imported(folder, tmp_path).encode(activations()).argmax(1).numpy()
    h = relu(pre_activations(activations(), weights(), pre_bias=True))
    lengths = weights()["W_dec"].norm(dim=1).numpy()
    assert (chosen == (h * lengths).argmax(1)).all() and (chosen != h.argmax(1)).any()


def test_what_it_says_of_itself_is_kept(tmp_path):
    sae = imported(saelens(tmp_path / "a", "standard"), tmp_path)
    assert sae.metadata["dataset_path"] == "me/genomes" and "lm" not in sae.metadata
    config = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert config["metadata"]["sae_lens_version"] == "6.0.0"


def test_what_has_the_name_of_a_field_of_ours_is_put_aside(tmp_path):
    folder = saelens(tmp_path / "a", "standard")
    config = json.loads((folder / "cfg.json").read_text())
    theirs = {"training": {"betas": [0.9, 0.99]}, "context": "x", "lm": "gpt2", "genome": "hg38"}
    config["metadata"] |= theirs
    (folder / "cfg.json").write_text(json.dumps(config))
    sae = imported(folder, tmp_path)
    assert sae.metadata["training"] == theirs.pop("training") and sae.metadata["saelens"] == theirs


def test_a_configuration_from_before_version_6_is_read(tmp_path):
    folder = saelens(tmp_path / "a", "standard", {"scaling_factor": torch.ones(D_SAE)})
    old = {
        "d_in": D_IN,
        "d_sae": D_SAE,
        "dtype": "torch.float32",
        "normalize_activations": False,
        "hook_point": "blocks.2",
    }
    old |= {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}}
    (folder / "cfg.json").write_text(json.dumps(old))
    assert imported(folder, tmp_path).k == 4


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors"])
def test_either_file_may_be_named(tmp_path, name):
    assert imported(saelens(tmp_path / "a", "standard") / name, tmp_path).architecture == "standard"


IN = {"normalize_activations": "expected_average_only_in"}
REFUSED = [
    ("standard", {}, {"normalize_activations": "layer_norm"}, None, "layer_norm treats each row by its own norm"),
    ("standard", {}, {"normalize_activations": "constant_norm_rescale"}, None, "treats each row by its own norm"),
    ("standard", {}, {"normalize_activations": "covariance_whitening"}, None, "reads whitened activations"),
    ("standard", {}, IN, None, "does not say the scale: put it beside as activation_scaler.json"),
    ("standard", {}, IN, {"scaling_factor": None}, "does not say the scale"),
    ("standard", {}, IN, {"scaling_factor": 0}, "does not say the scale"),
    ("standard", {}, IN, {"scaling_factor": "1"}, "does not say the scale"),
    ("abstopk", {}, {"k": 3}, None, "architecture 'abstopk' cannot be imported; standard, jumprelu"),
    ("transcoder", {}, {}, None, "architecture 'transcoder' cannot be imported"),
    ("topk", {}, {}, None, "k is None; a topk needs a whole number"),
    ("topk", {}, {"k": 2.5}, None, "k is 2.5; a topk needs a whole number"),
    ("standard", {}, {"activation_fn": "tanh-relu"}, None, "activation 'tanh-relu' cannot be imported"),
    ("standard", {"threshold": THRESHOLD}, {}, None, "threshold is not part of such an autoencoder"),
    ("standard", {"scaling_factor": torch.full((D_SAE,), 2.0)}, {}, None, "scaling_factor is not part"),
    ("jumprelu", {}, {}, None, "has no tensor threshold"),
    ("jumprelu", {"threshold": THRESHOLD[:-1].clone()}, {}, None, r"threshold is \(14,\); the others make it \(15,\)"),
    ("batchtopk", {}, {}, None, "has no tensor topk_threshold"),
    ("standard", {"W_dec": draw(D_IN, D_SAE)}, {}, None, r"W_dec is \(6, 15\); the others make it \(15, 6\)"),
    ("standard", {"W_enc": torch.full((D_IN, D_SAE), float("nan"))}, {}, None, "W_enc holds NaN"),
    ("gated", GATE | {"r_mag": torch.full((D_SAE,), 99.0)}, {}, None, "overflows float32"),
]


@pytest.mark.parametrize(("architecture", "tensors", "changes", "scaler", "message"), REFUSED)
def test_what_weights_cannot_express_is_refused_in_one_line(tmp_path, architecture, tensors, changes, scaler, message):
    folder = saelens(tmp_path / "a", architecture, tensors, scaler, **changes)
    with pytest.raises(SaeTracksError, match=message) as error:
        import_sae(folder, tmp_path / "sae")
    assert "\n" not in str(error.value) and not (tmp_path / "sae").exists()


def test_a_damaged_or_missing_file_is_refused(tmp_path):
    folder = saelens(tmp_path / "a", "standard")
    weight = folder / "sae_weights.safetensors"
    weight.write_bytes(weight.read_bytes()[:-8])
    with pytest.raises(SaeTracksError, match="is not a safetensors file"):
        import_sae(folder, tmp_path / "sae")
    weight.unlink()
    with pytest.raises(SaeTracksError, match=r"no file .*sae_weights\.safetensors"):
        import_sae(folder, tmp_path / "sae")
    (folder / "cfg.json").write_text("[]")
    with pytest.raises(SaeTracksError, match="the document must be an object"):
        import_sae(folder, tmp_path / "sae")


def test_a_batch_top_k_whose_threshold_was_never_set_says_what_it_becomes(tmp_path):
    unset, own = {"topk_threshold": torch.tensor(0.0)}, {"rescale_acts_by_decoder_norm": False}
    found = import_sae(saelens(tmp_path / "a", "batchtopk", unset, k=4.0, **own), tmp_path / "sae")
    assert found.sae.k == 4 and "topk_threshold is still 0" in found.note
    trained = {"topk_threshold": torch.tensor(0.5)}
    assert import_sae(saelens(tmp_path / "b", "batchtopk", trained, k=4.0, **own), tmp_path / "other").note == ""
    with pytest.raises(SaeTracksError, match=r"k is 2\.5; a topk needs a whole number"):
        import_sae(saelens(tmp_path / "c", "batchtopk", unset, k=2.5, **own), tmp_path / "none")
