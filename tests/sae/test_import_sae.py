"""SAEs of dictionary_learning, InterPLM and Evo 2 compute here what their published code computes."""

import json

import numpy as np
import pytest
import torch
from command_line import run
from interop_files import (
    D_IN,
    D_SAE,
    activations,
    assert_computes,
    decoded,
    draw,
    largest,
    linear,
    matrices,
    pre_activations,
    weights,
)
from safetensors.torch import save_file

from sae_tracks.errors import SaeTracksError
from sae_tracks.sae import load_sae
from sae_tracks.sae.interop import import_sae

K = torch.tensor(3, dtype=torch.int32)


def write(folder, state, trainer=None, name="ae.pt"):
    """A folder with a file of weights and, of dictionary_learning, its configuration."""
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / name)
    if trainer:
        (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
    return folder


def imported(source, tmp_path, **options):
    """What `import_sae` found and what the SAE directory then holds."""
    found = import_sae(source, tmp_path / "sae", **options)
    sae = load_sae(tmp_path / "sae")
    assert sae.metadata["imported_from"]["format"] == found.format
    return found, sae


# dictionary_learning: class, its state dict, whether x - b_dec is encoded, features from pre-activations.

THRESHOLD = draw(D_SAE, seed=5).abs()
GATE = {"r_mag": draw(D_SAE, seed=6), "gate_bias": draw(D_SAE, seed=7), "mag_bias": draw(D_SAE, seed=8)}


def relu(h):
    return np.maximum(h, 0)


def gated_state():
    state = linear("decoder_bias", **GATE)
    del state["encoder.bias"]
    return state


def gated(h):
    u = h - np.asarray(weights()["b_enc"], np.float64)  # the encoder has no bias of its own
    r_mag, b_gate, b_mag = (np.asarray(GATE[name], np.float64) for name in ("r_mag", "gate_bias", "mag_bias"))
    return (u + b_gate > 0) * relu(np.exp(r_mag) * u + b_mag)


CLASSES = {
    "AutoEncoder": (lambda: linear("bias", unit=True), True, relu),
    "AutoEncoderNew": (lambda: linear("decoder.bias"), False, relu),
    "AutoEncoderTopK": (lambda: linear("b_dec", k=K, threshold=torch.tensor(0.7)), True, lambda h: largest(relu(h), 3)),
    "BatchTopKSAE": (lambda: linear("b_dec", k=K, threshold=torch.tensor(0.7)), True, lambda h: relu(h) * (h > 0.7)),
    "BatchTopKSAE, untrained": (lambda: linear("b_dec", k=K, threshold=torch.tensor(-1.0)), True, relu),
    "JumpReluAutoEncoder": (
        lambda: matrices(threshold=THRESHOLD), False, lambda h: relu(h) * (h > np.asarray(THRESHOLD, np.float64))
    ),
    "MatryoshkaBatchTopKSAE": (
        lambda: matrices(k=K, threshold=torch.tensor(0.7), group_sizes=torch.tensor([5, 10])),
        True,
        lambda h: relu(h) * (h > 0.7),
    ),
    "GatedAutoEncoder": (gated_state, True, gated),
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_of_dictionary_learning_computes_the_same(tmp_path, name):
    state, pre_bias, activate = CLASSES[name]
    trainer = {"dict_class": name.split(",")[0], "k": 3, "lm_name": "x"}
    found, sae = imported(write(tmp_path / "trainer_0", state(), trainer), tmp_path)
    assert found.format == "dictionary_learning" and found.note == "" and sae.stats is None

    w, x = weights(unit=name == "AutoEncoder"), activations()
    features = activate(pre_activations(x, w, pre_bias=pre_bias))
    assert_computes(sae, x, features, decoded(features, w))


def test_the_directions_of_an_autoencoder_are_made_unit_as_its_loader_makes_them(tmp_path):
    _, sae = imported(write(tmp_path / "trainer_0", linear("bias"), {"dict_class": "AutoEncoder"}), tmp_path)
    w, x = weights(), activations()
    lengths = np.linalg.norm(np.asarray(w["W_dec"], np.float64), axis=1)
    raw = relu(pre_activations(x, w, pre_bias=True))
    assert_computes(sae, x, raw * lengths, decoded(raw, w))
    assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(D_SAE))


def test_a_direction_of_length_zero_stays_finite(tmp_path):
    state = linear("bias")
    state["decoder.weight"][:, 4] = 0
    _, sae = imported(write(tmp_path / "trainer_0", state, {"dict_class": "AutoEncoder"}), tmp_path)
    assert sae.encode(activations())[:, 4].max() < 1e-6 and not sae.W_dec[4].any()


def test_a_feature_at_its_threshold_is_not_active(tmp_path):
    state = matrices(threshold=torch.full((D_SAE,), 0.5))
    state |= {"W_enc": torch.zeros(D_IN, D_SAE), "b_dec": torch.zeros(D_IN)}
    state["b_enc"] = torch.tensor([0.5, np.nextafter(np.float32(0.5), np.float32(1)), 0.49, *[0.0] * (D_SAE - 3)])
    _, sae = imported(write(tmp_path / "a", state), tmp_path)
    assert sae.encode(torch.zeros(1, D_IN))[0, :3].tolist() == [0, state["b_enc"][1].item(), 0]


def test_an_early_top_k_takes_its_k_from_the_configuration(tmp_path):
    _, sae = imported(write(tmp_path / "a", linear("b_dec"), {"dict_class": "AutoEncoderTopK", "k": 4}), tmp_path)
    assert sae.k == 4 and (sae.encode(activations()) > 0).sum(1).max() == 4


# InterPLM: features divided by their maxima.

MAXIMA = draw(D_SAE, seed=11).abs() + 0.2
MAXIMA[2] = 0  # never active where InterPLM measured
PLM = {"normalize_to_sqrt_d": torch.tensor(False)}
INTERPLM = {
    "ReLUSAE": (lambda: linear("bias", **PLM, activation_rescale_factor=MAXIMA), True, relu),
    "ReLUSAE_Tied": (lambda: linear("decoder.bias", **PLM, activation_rescale_factor=MAXIMA), False, relu),
    "JumpReLUSAE": (
        lambda: linear("decoder.bias", threshold=THRESHOLD, **PLM, activation_rescale_factor=MAXIMA),
        False,
        lambda h: relu(h) * (h > np.asarray(THRESHOLD, np.float64)),
    ),
    "BatchTopKSAE": (
        lambda: linear("b_dec", k=K, threshold=torch.tensor(0.7), **PLM, activation_rescale_factor=MAXIMA),
        True,
        lambda h: relu(h) * (h > 0.7),
    ),
}


@pytest.mark.parametrize("name", INTERPLM)
def test_interplm_divides_features_by_their_maxima_and_its_reconstruction_stays(tmp_path, name):
    state, pre_bias, activate = INTERPLM[name]
    folder = write(tmp_path / "plm", state(), name="ae_normalized.pt")
    (folder / "config.yaml").write_text("trainer_cfg:\n  k: 3\n  trainer_name: BatchTopKTrainer\n")
    found, sae = imported(folder, tmp_path)
    assert found.format == "InterPLM"

    w, x = weights(), activations()
    raw = activate(pre_activations(x, w, pre_bias=pre_bias))
    divisor = np.where(MAXIMA > 0, MAXIMA, 1).astype(np.float64)
    assert_computes(sae, x, raw / divisor, decoded(raw, w))
    assert sae.stats is not None
    assert sae.stats["max"].tolist() == [float(i != 2) for i in range(D_SAE)]
    assert sae.stats["dead"].tolist() == [i == 2 for i in range(D_SAE)] and sae.stats["density"].isna().all()
    assert sae.cutoffs(0.15, "max")[[0, 2]].tolist() == [np.float32(0.15), np.inf]


def test_maxima_of_a_top_k_are_kept_apart_since_scaling_would_change_which_are_largest(tmp_path):
    state = linear("b_dec", k=K, threshold=torch.tensor(-1.0), **PLM, activation_rescale_factor=MAXIMA)
    folder = write(tmp_path / "plm", state)
    (folder / "config.yaml").write_text("trainer_cfg:\n  k: 3\n  auxk_alpha: 0.03\n  trainer_name: TopKTrainer\n")
    _, sae = imported(folder, tmp_path)
    w, x = weights(), activations()
    features = largest(relu(pre_activations(x, w, pre_bias=True)), 3)
    assert_computes(sae, x, features, decoded(features, w))
    assert np.array_equal(sae.maxima(), MAXIMA)


def test_factors_of_one_are_no_maxima(tmp_path):
    folder = write(tmp_path / "plm", linear("bias", **PLM, activation_rescale_factor=torch.ones(D_SAE)))
    assert imported(folder, tmp_path)[1].stats is None


@pytest.mark.parametrize("name", ["ae_normalized.pt", "ae_unnormalized.pt"])
def test_an_early_file_of_interplm_is_taken_as_it_is(tmp_path, name):
    state = linear("bias")
    state["encoder.weight"][2], state["encoder.bias"][2], state["decoder.weight"][:, 2] = 0, 0, 0
    _, sae = imported(write(tmp_path / "layer_3", state, name=name), tmp_path)
    assert torch.equal(sae.W_enc.T, state["encoder.weight"]) and torch.equal(sae.W_dec.T, state["decoder.weight"])
    if name == "ae_unnormalized.pt":
        assert sae.stats is None
    else:
        assert sae.maxima().tolist() == [float(i != 2) for i in range(D_SAE)]


# Evo 2.


def evo2_state(dtype=torch.float32):
    w = weights()
    return {
        f"_orig_mod.{name}": w[ours].to(dtype)
        for name, ours in (("W", "W_enc"), ("b_enc", "b_enc"), ("b_dec", "b_dec"))
    }


def evo2_features(x, w, k):
    """relu(x W + b_enc), and of the whole batch the k n largest."""
    f = relu(pre_activations(x, w, pre_bias=False))
    keep = np.zeros(f.size, bool)
    keep[np.argsort(-f.ravel(), kind="stable")[: k * len(f)]] = True
    return f * keep.reshape(f.shape)


def test_the_sae_of_evo_2_keeps_as_much_a_row_as_its_code_does_on_average(tmp_path):
    folder = write(tmp_path / "evo2", evo2_state(), name="sae-layer26-mixed-expansion_8-k_4.pt")
    found, sae = imported(folder, tmp_path)
    assert (found.format, sae.k) == ("Evo 2", 4) and "all rows of a batch together" in found.note

    w, x = weights() | {"W_dec": weights()["W_enc"].T}, activations()
    features = largest(relu(pre_activations(x, w, pre_bias=False)), 4)
    assert_computes(sae, x, features, decoded(features, w))
    theirs, ours = evo2_features(x, w, 4), sae.encode(x).numpy()
    both = (theirs > 0) & (ours > 0)
    assert np.abs(theirs - ours)[both].max() <= 1e-5 * theirs.max()  # what both keep has the same value


def test_a_batch_of_one_row_is_what_evo_2_computes(tmp_path):
    _, sae = imported(write(tmp_path / "evo2", evo2_state(), name="k_4.pt"), tmp_path)
    w = weights() | {"W_dec": weights()["W_enc"].T}
    for x in activations(50).split(1):
        theirs = evo2_features(x, w, 4)
        assert np.abs(theirs - sae.encode(x).numpy()).max() <= 1e-5 * max(theirs.max(), 1)


def test_half_precision_and_a_renamed_file_are_read(tmp_path):
    _, sae = imported(write(tmp_path / "evo2", evo2_state(torch.bfloat16), name="sae.pt"), tmp_path, k=7)
    assert sae.k == 7 and torch.equal(sae.W_enc, weights()["W_enc"].bfloat16().float())


# What is kept, and the command line.


def test_the_verb_says_what_it_made_and_what_is_not_known(tmp_path):
    folder = write(tmp_path / "a", linear("bias", unit=True), {"dict_class": "AutoEncoder"})
    out = run("import-sae", str(folder), "-o", str(tmp_path / "sae"))
    assert out.returncode == 0, out.stderr
    assert "standard, 15 features of 6 dimensions" in out.stderr
    assert "of dictionary_learning" in out.stderr
    assert "--scale raw" in out.stderr and "--model and --layer" in out.stderr
    sae = load_sae(tmp_path / "sae")
    assert sae.metadata["imported_from"]["file"] == str(folder / "ae.pt")
    provenance = json.loads((tmp_path / "sae" / "provenance.json").read_text())
    assert provenance["imported_from"] == sae.metadata["imported_from"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model": "me/lm@v2", "layer": 3}, {"model": "me/lm", "revision": "v2", "layer": 3, "hook_name": None}),
        (
            {"model": "evo2:evo2_7b", "hook": "blocks.26"},
            {"model": "evo2:evo2_7b", "layer": None, "hook_name": "blocks.26"},
        ),
        ({"model": "demo", "layer": 2}, {"model": "demo", "revision": None}),
        ({"layer": 3}, {"layer": 3, "weights_sha256": None, "d_model": D_IN}),
    ],
)
def test_the_model_is_kept_as_it_is_loaded(tmp_path, options, expected):
    _, sae = imported(write(tmp_path / "a", linear("bias", unit=True)), tmp_path, **options)
    assert expected.items() <= sae.metadata["lm"].items()
    assert ("model" in sae.metadata["lm"]) == ("model" in options)


def test_a_model_that_is_a_folder_is_kept_by_its_absolute_path(tmp_path, monkeypatch):
    (tmp_path / "lm").mkdir()
    monkeypatch.chdir(tmp_path)
    _, sae = imported(write(tmp_path / "a", linear("bias", unit=True)), tmp_path, model="lm", layer=1)
    assert sae.metadata["lm"]["model"] == str(tmp_path / "lm")


# sparsify: cfg.json with sae.safetensors.


def sparsify(folder, tensors=(), **changes):
    """A folder as sparsify writes it, in which the latents are the rows of both matrices."""
    folder.mkdir()
    w = weights()
    state = {"encoder.weight": w["W_enc"].T.contiguous(), "encoder.bias": w["b_enc"]}
    save_file(state | {"W_dec": w["W_dec"], "b_dec": w["b_dec"]} | dict(tensors), folder / "sae.safetensors")
    config = {"activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": 0, "k": 3}
    config |= {"multi_topk": False, "skip_connection": False, "transcode": False, "d_in": D_IN}
    (folder / "cfg.json").write_text(json.dumps(config | changes))
    return folder


@pytest.mark.parametrize("name", ["", "cfg.json", "sae.safetensors"])
def test_the_top_k_of_sparsify_computes_the_same(tmp_path, name):
    found, sae = imported(sparsify(tmp_path / "layers.3") / name, tmp_path)
    assert found.format == "sparsify" and found.note == "" and sae.k == 3
    w, x = weights(), activations()
    features = largest(relu(pre_activations(x, w, pre_bias=True)), 3)
    assert_computes(sae, x, features, decoded(features, w))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transcode": True}, "transcode is set; only an SAE that is a TopK of its input"),
        ({"activation": "groupmax"}, "activation 'groupmax' cannot be imported"),
        ({"k": None}, "k is None; a topk needs a whole number"),
        ({"tensors": {"W_skip": torch.ones(D_IN, D_IN)}}, "W_skip is not part of such an autoencoder"),
    ],
)
def test_what_sparsify_computes_otherwise_is_refused(tmp_path, changes, message):
    with pytest.raises(SaeTracksError, match=message):
        import_sae(sparsify(tmp_path / "layers.3", **changes), tmp_path / "sae")


def test_a_safetensors_file_of_no_known_format_is_refused_with_the_formats_that_are_read(tmp_path):
    save_file({"x": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(SaeTracksError, match=r"of no format that is read: SAELens .*, sparsify \(cfg.json with"):
        import_sae(tmp_path / "model.safetensors", tmp_path / "sae")
