"""What is refused of a model that transformers opens: weights, pickles, code of its own."""

import json

import lm_zoo
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from toy import random_dna

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm import load_lm

DNA = random_dna(60, 5)


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("bert.encoder.layer.1.output.dense.weight"),
            "1 missing weights, such as encoder.layer.1.output",
        ),
        (lambda w: w.update({"bert.encoder.layer.3.x": torch.ones(1)}), "1 unexpected weights, such as .*layer.3.x"),
        (lambda w: w["bert.encoder.layer.0.output.dense.bias"].fill_(torch.nan), "layer.0.output.dense.bias holds NaN"),
        (
            lambda w: w.update({"bert.embeddings.LayerNorm.bias": torch.ones(7)}),
            "cannot load the weights of|mismatched",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, change, message):
    folder = lm_zoo.byte_pairs(tmp_path)
    change_weights(folder, change)
    with pytest.raises(SaeTracksError, match=message) as error:
        load_lm(folder, 1, device="cpu")
    assert "\n" not in str(error.value)


def test_heads_and_poolers_of_the_file_are_left_out_and_do_not_change_the_checksum(tmp_path):
    folder = lm_zoo.byte_pairs(tmp_path)
    before = load_lm(folder, 1, device="cpu").checksum
    change_weights(
        folder, lambda w: w.update({"bert.pooler.dense.weight": torch.ones(16, 16), "extra_head.w": torch.ones(2)})
    )
    assert load_lm(folder, 1, device="cpu").checksum == before
    change_weights(folder, lambda w: w["bert.embeddings.LayerNorm.bias"].add_(1))
    assert load_lm(folder, 1, device="cpu").checksum != before


def test_weights_in_a_pickle_are_not_opened(tmp_path):
    folder = lm_zoo.byte_pairs(tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/run'\ntR.")
    with pytest.raises(SaeTracksError, match="safetensors only, a pickle is never run"):
        load_lm(folder, 1, device="cpu")


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path):
    folder = lm_zoo.letters(tmp_path)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(SaeTracksError, match="tokenizer"):
        load_lm(folder, 1, device="cpu")


OWN_CODE = """
from transformers import EsmConfig
from transformers.models.esm.modeling_esm import EsmForMaskedLM
class Config(EsmConfig):
    model_type = "owngene"
class Model(EsmForMaskedLM):
    config_class = Config
"""


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """A model type that transformers does not have, with its code beside the weights."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = lm_zoo.six_mers(tmp_path / "own")
    (folder / "own.py").write_text(OWN_CODE + f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    lm_zoo.edit_config(
        folder, model_type="owngene", auto_map={"AutoConfig": "own.Config", "AutoModelForMaskedLM": "own.Model"}
    )
    lm_zoo.edit_config(folder, "tokenizer_config.json", tokenizer_class="EsmTokenizer")
    return folder


def test_code_of_a_models_own_is_run_only_where_it_is_asked_for(own_code, tmp_path):
    with pytest.raises(SaeTracksError, match=r"brings Python code of its own.*--trust-remote-code"):
        load_lm(own_code, 2, device="cpu")
    assert not (tmp_path / "ran").exists()

    lm = load_lm(own_code, 2, device="cpu", trust_remote_code=True)

    assert (tmp_path / "ran").exists()
    assert lm.hook_name == "esm.encoder.layer.1"
    native = load_lm(lm_zoo.six_mers(tmp_path / "native"), 2, device="cpu")
    assert torch.equal(lm.activations(DNA.encode()), native.activations(DNA.encode()))


def test_a_tokenizer_of_its_own_is_run_only_where_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = lm_zoo.bare_six_mers(tmp_path / "generator")
    with pytest.raises(SaeTracksError, match=r"brings Python code of its own.*--trust-remote-code"):
        load_lm(folder, 2, device="cpu")

    lm = load_lm(folder, 2, device="cpu", trust_remote_code=True)

    assert lm.causal and lm.max_length == 79 * 6  # <s> takes one
    sequence = b"ACGTACGTACGTACNGATTACA"
    assert np.flatnonzero(lm.token_starts(sequence)).tolist() == [0, 6, 12, 14, 15, 21]
    rows = lm.activations(sequence)
    assert torch.equal(rows[12], rows[13]) and not torch.equal(rows[13], rows[14])


def test_code_that_lies_in_another_repository_is_refused(own_code, tmp_path):
    lm_zoo.edit_config(own_code, auto_map={"AutoConfig": "other/repo--own.Config"})
    with pytest.raises(SaeTracksError, match=r"takes its code from other/repo--own.Config, which no revision pins"):
        load_lm(own_code, 2, device="cpu", trust_remote_code=True)


def test_a_misfit_of_a_model_with_code_of_its_own_names_the_flag(tmp_path):
    folder = lm_zoo.byte_pairs(tmp_path)
    lm_zoo.edit_config(folder, num_hidden_layers=4, auto_map={"AutoModel": "own.Model"})
    with pytest.raises(SaeTracksError, match=r"missing weights, .*--trust-remote-code"):
        load_lm(folder, 1, device="cpu")


def test_a_model_type_that_nobody_has_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nobody"}))
    with pytest.raises(SaeTracksError, match="cannot load a language model from") as error:
        load_lm(tmp_path, 1)
    assert "\n" not in str(error.value)
