"""The SAE directory: what is saved comes back, and what is unsound is refused by name."""

import json

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_cli import run
from toy import OneHotLM, identity_sae, random_dna, unit_stats, write_fasta

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm import describe
from sae_tracks.sae import SAE, load_sae, save_sae
from sae_tracks.sae.directory import check_match

NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")


@pytest.fixture
def folder(tmp_path):
    """A saved SAE of random weights, 6 channels and 10 features."""
    torch.manual_seed(0)
    sae = SAE(torch.randn(6, 10), torch.randn(10), torch.randn(10, 6), torch.randn(6), {"lm": describe(OneHotLM())})
    sae.stats = pd.DataFrame({"feature": range(10), "max": 1.0, "mean": 0.5, "density": 0.1, "dead": False})
    save_sae(sae, tmp_path / "sae")
    return tmp_path / "sae"


def rewrite(folder, **tensors):
    save_file(load_file(folder / "sae_weights.safetensors") | tensors, folder / "sae_weights.safetensors")


def configure(folder, **changes):
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | changes))


def test_what_is_saved_comes_back(folder, tmp_path):
    sae = load_sae(folder)
    save_sae(sae, tmp_path / "again")
    again = load_sae(tmp_path / "again")
    assert all(torch.equal(getattr(sae, name), getattr(again, name)) for name in NAMES)
    assert sae.metadata == again.metadata and sae.checksum == again.checksum
    pd.testing.assert_frame_equal(sae.stats, again.stats)


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
    (lambda f: configure(f, architecture="topk"), "'topk' is not supported"),
    (lambda f: configure(f, apply_b_dec_to_input=False), "apply_b_dec_to_input"),
    (lambda f: configure(f, normalize_activations="layer_norm"), "normalize_activations"),
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
    with pytest.raises(SaeTracksError, match="reads 5 channels"):
        check_match(identity_sae(5), lm, allow_mismatch=True)
