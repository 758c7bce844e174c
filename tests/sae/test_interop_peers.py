"""The peers' own code opens what is exported and computes what is imported, where it is installed."""

import json
import sys
import types
from importlib import import_module

import pytest
import torch
from interop_files import D_IN, D_SAE, activations, draw, weights
from toy import random_sae

from sae_tracks.sae import SAE, load_sae
from sae_tracks.sae.interop import export_sae, import_sae


def assert_same(sae, theirs, x, scale=1.0):
    """Of our SAE on x and their autoencoder on scaled x: features (and what is active) and reconstruction, to 1e-5."""
    with torch.no_grad():
        f = theirs.encode(x * scale)
        decoded = theirs.decode(f) / scale
    ours = sae.encode(x)
    assert (f > 0).any()
    assert (ours - f).norm() <= 1e-5 * f.norm()
    assert ((ours > 0) != (f > 0)).float().mean() < 1e-3
    assert (sae.decode(ours) - decoded).norm() <= 1e-5 * decoded.norm()


# dictionary_learning.


@pytest.fixture
def load_dictionary(monkeypatch):
    """Their loader; of what it imports for training alone, a name does."""
    for name, stub in {"nnsight": "LanguageModel", "datasets": "load_dataset", "zstandard": "open"}.items():
        try:
            __import__(name)
        except ImportError:
            module = types.ModuleType(name)
            setattr(module, stub, object)
            monkeypatch.setitem(sys.modules, name, module)
    return pytest.importorskip("dictionary_learning.utils", exc_type=ImportError).load_dictionary


def dictionary(name):
    """An autoencoder of theirs with drawn weights."""
    base = import_module("dictionary_learning.dictionary")
    top_k, batch_top_k, matryoshka = (
        import_module(f"dictionary_learning.trainers.{name}")
        for name in ("top_k", "batch_top_k", "matryoshka_batch_top_k")
    )
    made = {
        "AutoEncoder": lambda: base.AutoEncoder(D_IN, D_SAE),
        "AutoEncoderNew": lambda: base.AutoEncoderNew(D_IN, D_SAE),
        "GatedAutoEncoder": lambda: base.GatedAutoEncoder(D_IN, D_SAE),
        "JumpReluAutoEncoder": lambda: base.JumpReluAutoEncoder(D_IN, D_SAE),
        "AutoEncoderTopK": lambda: top_k.AutoEncoderTopK(D_IN, D_SAE, 4),
        "BatchTopKSAE": lambda: batch_top_k.BatchTopKSAE(D_IN, D_SAE, 4),
        "MatryoshkaBatchTopKSAE": lambda: matryoshka.MatryoshkaBatchTopKSAE(D_IN, D_SAE, 4, [5, 10]),
    }[name]()
    with torch.no_grad():
        for i, (key, parameter) in enumerate(sorted(made.named_parameters())):
            drawn = draw(*parameter.shape, seed=20 + i)
            parameter.copy_(drawn.abs() if key == "threshold" else drawn)
        if "threshold" in dict(made.named_buffers()):
            made.threshold.fill_(0.6)
    return made


CLASSES = [
    "AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "JumpReluAutoEncoder", "AutoEncoderTopK", "BatchTopKSAE",
    "MatryoshkaBatchTopKSAE",
]  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_a_dictionary_is_imported(tmp_path, load_dictionary, name):
    torch.save(dictionary(name).state_dict(), tmp_path / "ae.pt")
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": name, "k": 4}}))
    import_sae(tmp_path, tmp_path / "sae")

    theirs, _ = load_dictionary(str(tmp_path), "cpu")
    assert_same(load_sae(tmp_path / "sae"), theirs, activations())


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu"])
def test_a_dictionary_is_exported(tmp_path, load_dictionary, architecture, unit):
    sae = random_sae(D_IN, D_SAE, architecture)
    if unit:
        sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
    export_sae(sae, tmp_path, "dictionary_learning")
    theirs, config = load_dictionary(str(tmp_path), "cpu")
    assert type(theirs).__name__ == config["trainer"]["dict_class"]
    assert_same(sae, theirs, activations())


# SAELens.


@pytest.mark.parametrize("pre_bias", [True, False])
@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "gated", "topk"])
def test_an_sae_of_saelens_is_imported(tmp_path, architecture, rescale, pre_bias):
    saelens = pytest.importorskip("sae_lens")
    more = {"k": 4, "rescale_acts_by_decoder_norm": rescale} if architecture == "topk" else {}
    theirs = saelens.SAE.from_dict(
        {"architecture": architecture, "d_in": D_IN, "d_sae": D_SAE, "apply_b_dec_to_input": pre_bias, **more}
    )
    with torch.no_grad():
        for i, (name, parameter) in enumerate(sorted(theirs.named_parameters())):
            drawn = draw(*parameter.shape, seed=20 + i)
            parameter.copy_(drawn.abs() if name == "threshold" else drawn)
    theirs.save_model(tmp_path / "a")
    import_sae(tmp_path / "a", tmp_path / "sae")
    assert_same(load_sae(tmp_path / "sae"), saelens.SAE.load_from_disk(tmp_path / "a"), activations())


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("scale", [1.0, 0.37])
@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_a_checkpoint_of_saelens_is_what_its_training_would_save(tmp_path, architecture, scale, rescale):
    """The checkpoint, its scale beside, against the inference SAE that SAELens makes of it."""
    saelens = pytest.importorskip("sae_lens")
    scaler = import_module("sae_lens.training.activation_scaler").ActivationScaler

    normalize = "none" if scale == 1 else "expected_average_only_in"
    config = {"d_in": D_IN, "d_sae": D_SAE, "k": 4, "rescale_acts_by_decoder_norm": rescale}
    kind = {"topk": "TopK", "batchtopk": "BatchTopK"}[architecture]
    made = getattr(saelens, f"{kind}TrainingSAEConfig")(**config, normalize_activations=normalize)
    training = getattr(saelens, f"{kind}TrainingSAE")(made)
    with torch.no_grad():
        for name, tensor in weights().items():
            getattr(training, name).copy_(tensor)
        if architecture == "batchtopk":
            training.topk_threshold.fill_(1.1)
    training.save_model(tmp_path / "checkpoint")
    scaler(scale if scale != 1 else None).save(str(tmp_path / "checkpoint" / "activation_scaler.json"))
    import_sae(tmp_path / "checkpoint", tmp_path / "sae")

    if scale != 1:
        training.fold_activation_norm_scaling_factor(scale)
    training.save_inference_model(tmp_path / "final")
    assert_same(load_sae(tmp_path / "sae"), saelens.SAE.load_from_disk(tmp_path / "final"), activations())


@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu"])
def test_saelens_opens_what_is_exported(tmp_path, architecture):
    saelens = pytest.importorskip("sae_lens")
    sae: SAE = random_sae(D_IN, D_SAE, architecture)
    export_sae(sae, tmp_path / "out", "saelens")
    assert_same(sae, saelens.SAE.load_from_disk(tmp_path / "out"), activations())
