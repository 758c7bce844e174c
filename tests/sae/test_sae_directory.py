"""The SAE directory: what is saved comes back, and what is unsound is refused by name."""

import json
import os
from dataclasses import replace

import pandas as pd
import pytest
import torch
from command_line import run
from safetensors.torch import load_file, save_file
from toy import OneHotLM, identity_sae, random_dna, random_sae, unit_stats, write_fasta

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import sha256
from sae_tracks.lm import describe
from sae_tracks.sae import SAE, load_sae, save_sae
from sae_tracks.sae.directory import check_match

NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")


def described_sae(architecture):
    """Random weights, 6 channels and 10 features."""
    sae = random_sae(6, 10, architecture)
    sae.metadata = {"lm": describe(OneHotLM()), "training": {"arch": architecture, "k": 3}}
    sae.stats = pd.DataFrame({"feature": range(10), "max": 1.0, "mean": 0.5, "density": 0.1, "dead": False})
    return sae


@pytest.fixture
def folder(tmp_path):
    save_sae(described_sae("standard"), tmp_path / "sae")
    return tmp_path / "sae"


def rewrite(folder, **tensors):
    save_file(load_file(folder / "sae_weights.safetensors") | tensors, folder / "sae_weights.safetensors")


def configure(folder, **changes):
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | changes))


def jumprelu(folder, threshold):
    configure(folder, architecture="jumprelu")
    rewrite(folder, threshold=threshold)


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "topk"])
def test_what_is_saved_comes_back(tmp_path, architecture):
    sae = described_sae(architecture)
    save_sae(sae, tmp_path / "sae")
    again = load_sae(tmp_path / "sae")
    assert all(torch.equal(getattr(sae, name), getattr(again, name)) for name in NAMES)
    assert again.architecture == architecture and again.k == sae.k
    assert (again.threshold is None) == (architecture != "jumprelu")
    assert sae.threshold is None or torch.equal(sae.threshold, again.threshold)
    assert sae.metadata.items() <= again.metadata.items() and sae.checksum == again.checksum
    pd.testing.assert_frame_equal(sae.stats, again.stats)

    x = torch.randn(50, 6)
    assert torch.equal(sae.encode(x), again.encode(x))


def test_another_architecture_takes_the_place_of_what_was_there(tmp_path):
    for architecture in ("jumprelu", "topk", "standard"):
        save_sae(described_sae(architecture), tmp_path)
        assert load_sae(tmp_path).architecture == architecture
    assert load_file(tmp_path / "sae_weights.safetensors").keys() == set(NAMES)


def test_a_k_of_more_than_all_features_is_saved_as_all(tmp_path):
    sae = described_sae("topk")
    sae.k = 64
    save_sae(sae, tmp_path)
    again, x = load_sae(tmp_path), torch.randn(50, 6)
    assert again.k == 10 and torch.equal(again.encode(x), sae.encode(x))


def test_a_pipe_in_place_of_the_weights_is_not_waited_for(folder):
    (folder / "sae_weights.safetensors").unlink()
    os.mkfifo(folder / "sae_weights.safetensors")
    with pytest.raises(SaeTracksError, match="no file"):
        load_sae(folder)


def test_the_checksum_is_that_of_the_present_weights(folder):
    sae, again = load_sae(folder), load_sae(folder)
    before = sae.checksum
    assert before == sha256(folder / "sae_weights.safetensors")
    sae.W_dec[0, 0] += 1
    assert sae.checksum not in (before, replace(again, threshold=torch.ones(10)).checksum)
    save_sae(sae, folder)
    assert sae.checksum == sha256(folder / "sae_weights.safetensors") == load_sae(folder).checksum


def test_a_threshold_below_0_acts_as_0_in_memory_and_once_saved(tmp_path):
    sae = described_sae("jumprelu")
    sae.threshold = torch.linspace(-1, 1, 10)
    save_sae(sae, tmp_path)
    x = torch.randn(50, 6)
    assert torch.equal(load_sae(tmp_path).encode(x), sae.encode(x)) and sae.encode(x).min() == 0
    assert torch.equal(load_sae(tmp_path).threshold, sae.threshold.clamp(min=0))


def test_the_encoder_folds(folder):
    sae, x = load_sae(folder), torch.randn(50, 6)
    weight, bias = sae.folded_encoder()
    assert torch.allclose(sae.encode(x), torch.relu(x @ weight + bias), atol=1e-5)


BAD = [
    (lambda f: rewrite(f, W_enc=torch.full((6, 10), float("nan"))), "W_enc holds NaN"),
    (lambda f: rewrite(f, b_dec=torch.tensor([1.0, 2, 3, 4, 5, float("inf")])), "b_dec holds NaN or infinity"),
    (lambda f: rewrite(f, W_dec=torch.zeros(6, 10)), "W_dec is"),
    (lambda f: save_file({"W_enc": torch.zeros(6, 10)}, f / "sae_weights.safetensors"), "no tensor b_enc"),
    (lambda f: (f / "sae_weights.safetensors").write_bytes(b"\x80\x04cposix\nsystem\n."), "not a safetensors file"),
    (lambda f: (f / "sae_weights.safetensors").unlink(), "no file"),
    (lambda f: (f / "sae_weights.safetensors").rename(f / "ae.pt"), "ae.pt is a pickle, which is never run"),
    (lambda f: (f / "cfg.json").unlink(), "no file"),
    (lambda f: (f / "cfg.json").write_text("{"), "as JSON"),
    (lambda f: configure(f, architecture="jumprelu"), "no tensor threshold"),
    (lambda f: jumprelu(f, torch.zeros(6)), r"threshold is \(6,\); cfg.json says \(10,\)"),
    (lambda f: jumprelu(f, torch.tensor(0.5)), r"threshold is \(\)"),
    (lambda f: jumprelu(f, torch.full((10,), float("nan"))), "threshold holds NaN"),
    (lambda f: jumprelu(f, torch.linspace(-1e-6, 1, 10)), "threshold holds a negative value"),
    (
        lambda f: configure(f, architecture="topk"),
        "k is None; a topk needs a whole number from 1 to 10, the number of features",
    ),
    (lambda f: configure(f, architecture="topk", k=0), "k is 0"),
    (lambda f: configure(f, architecture="topk", k=11), "k is 11"),
    (lambda f: configure(f, architecture="topk", k=2.0), "k is 2.0"),
    (lambda f: configure(f, architecture="topk", k=True), "k is True"),
    (lambda f: configure(f, architecture="temporal"), "'temporal' is not supported, only 'standard', .* 'topk'$"),
    (lambda f: configure(f, architecture=["topk"]), "is not supported"),
    (lambda f: configure(f, normalize_activations="layer_norm"), "'layer_norm' is not supported, only 'none'$"),
    (lambda f: unit_stats(1).to_parquet(f / "feature_stats.parquet"), "has 1 rows"),
    (lambda f: pd.DataFrame({"feature": [0]}).to_parquet(f / "feature_stats.parquet"), "has no column"),
    (lambda f: (f / "feature_stats.parquet").write_bytes(b"PAR1 cut"), "is damaged"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD)
def test_what_is_unsound_is_refused_in_one_line(folder, spoil, message):
    spoil(folder)
    with pytest.raises(SaeTracksError, match=message) as error:
        load_sae(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("architecture", "batchtopk"),
        ("architecture", "gated"),
        ("apply_b_dec_to_input", False),
        ("rescale_acts_by_decoder_norm", True),
        ("activation_fn_str", "topk"),
    ],
)
def test_what_can_be_converted_is_refused_with_the_way_to_do_it(folder, key, value):
    configure(folder, **{key: value})
    with pytest.raises(
        SaeTracksError, match=f"{key} {value!r} is not supported.*; `sae-tracks import-sae` converts it$"
    ):
        load_sae(folder)


@pytest.mark.parametrize(("spoil", "message"), [BAD[0], BAD[4], BAD[6]])
def test_the_command_line_refuses_it_and_writes_nothing(folder, tmp_path, spoil, message):
    spoil(folder)
    fasta = write_fasta(tmp_path / "g.fa", chr1=random_dna(200))
    out = run("export-bed", str(folder), str(fasta), "-f", "0", "-o", str(tmp_path / "out.bed"))
    assert out.returncode == 1
    assert out.stderr.startswith("error: ") and message in out.stderr and len(out.stderr.splitlines()) == 1
    assert not (tmp_path / "out.bed").exists()


def test_an_interrupted_overwrite_leaves_no_configuration(folder, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(SaeTracksError, match=r"cannot write .*sae_weights.safetensors: No space left on device"):
        save_sae(identity_sae(), folder)
    assert not (folder / "cfg.json").exists() and not list(folder.glob(".*"))


def test_an_sae_is_refused_on_another_model_layer_or_width():
    lm = OneHotLM()
    sae = identity_sae(lm=describe(lm))
    check_match(sae, lm)
    for name, value in {"checksum": "other", "layer": 2}.items():
        other = OneHotLM()
        setattr(other, name, value)
        with pytest.raises(SaeTracksError, match="trained on another"):
            check_match(sae, other)
        check_match(sae, other, allow_mismatch=True)
    with pytest.raises(SaeTracksError, match="reads 5 dimensions"):
        check_match(identity_sae(5), lm, allow_mismatch=True)


def test_an_sae_is_short_in_print_and_moves_to_a_device_whole():
    sae = SAE(torch.ones(4, 8), torch.ones(8), torch.ones(8, 4), torch.ones(4), {"lm": {"model": "me/lm"}}, k=3)
    assert repr(sae) == "SAE(topk, 4 -> 8, k 3, me/lm)"
    sae.threshold = torch.ones(8)
    moved = sae.to("meta")
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    assert {getattr(moved, name).device.type for name in names} == {"meta"}
    assert sae.W_enc.device.type == "cpu" and moved.metadata == sae.metadata
