"""What is refused of a model that transformers opens: weights, pickles, code of its own."""

import json
import re

import lm_zoo
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from toy import random_dna
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, load_causal_lm, load_lm
from sae_tracks.pretrain.pretrain import save_model

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
            r"1 mismatched weights, such as embeddings.LayerNorm.bias: \(7,\) in the file, \(16,\) by config.json",
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


@pytest.mark.parametrize("auto_map", [["evil/repo--tok.Tok", None], {"AutoTokenizer": ["kmers.T", "evil/repo--t.T"]}])
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_another_repository_is_not_even_asked_for(tmp_path, monkeypatch, file, auto_map):
    monkeypatch.setattr("huggingface_hub.utils._http.http_backoff", lambda *a, **k: pytest.fail("asked the hub"))
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *a, **k: pytest.fail("opened"))
    folder = lm_zoo.bare_six_mers(tmp_path / "generator")
    lm_zoo.edit_config(folder, file, auto_map=auto_map)
    with pytest.raises(SaeTracksError, match=r"takes its code from evil/repo--.*, which no revision pins"):
        load_lm(folder, 2, device="cpu", trust_remote_code=True)


def test_a_second_configuration_brings_no_code(own_code, tmp_path):
    (own_code / "config.4.0.0.json").write_text(
        (own_code / "config.json").read_text().replace("own.", "evil/repo--own.")
    )
    lm_zoo.edit_config(own_code, configuration_files=["config.4.0.0.json"])
    with pytest.raises(SaeTracksError, match=r"its config.json names other configurations, whose code is not run"):
        load_lm(own_code, 2, device="cpu", trust_remote_code=True)


@pytest.fixture(params=["hyenadna", "bert"])
def model(request, tmp_path):
    """A folder that is read natively, and one that transformers reads."""
    if request.param == "bert":
        return lm_zoo.byte_pairs(tmp_path / "bert")
    config = HyenaDNAConfig(d_model=16, n_layer=2, max_seq_len=66)
    save_model(HyenaDNAForCausalLM(config), tmp_path / "hyenadna")
    return tmp_path / "hyenadna"


def refused(model, message, **how):
    with pytest.raises(SaeTracksError, match=message) as error:
        load_lm(model, 1, device="cpu", **how)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_weights_that_are_cut_off_are_one_line(model, kept):
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    cut = r"model\.safetensors is not a safetensors file, or it is cut short"
    refused(
        model, rf"{cut}|cannot load the weights of .* \(safetensors only, a pickle is never run\): SafetensorError: "
    )


def test_a_weight_of_another_shape_is_named(model):
    name = next(name for name in load_file(model / "model.safetensors") if re.search(r"layers?\.1\..*weight", name))
    change_weights(model, lambda w: w.update({name: torch.ones(3, 5, 7)}))
    refused(
        model,
        rf"1 mismatched weights, such as {name.removeprefix('bert.')}: \(3, 5, 7\) in the file, \(.*\) by config.json$",
    )


def test_a_size_that_is_no_number_is_one_line(model):
    sizes = {"d_model": "x"} if model.name == "hyenadna" else {"hidden_size": "x"}
    lm_zoo.edit_config(model, **sizes)
    refused(model, "cannot load (a language model from|the weights of) .*: .|field d_model must be a whole number")


@pytest.mark.parametrize("text", ["[]", '"bert"', "3"])
def test_a_configuration_that_is_no_object_is_one_line(model, text):
    (model / "config.json").write_text(text)
    refused(model, r"config\.json: the document must be an object; it is (a list|\"bert\"|3)")


def test_a_tokenizer_configuration_that_is_no_object_is_one_line(model):
    (model / "tokenizer_config.json").write_text("[]")
    if model.name == "bert":
        refused(model, r"tokenizer_config\.json: the document must be an object; it is a list")
        refused(model, r"tokenizer_config\.json: the document must be an object", trust_remote_code=True)


@pytest.mark.parametrize(
    "name",
    ["nosuch.ckpt", "./nofolder", "../no/folder", "~/nofolder", "/no/folder", "no/such/folder", "no/m.safetensors"],
)
def test_a_path_to_nothing_is_called_that(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    refused(name, f"^cannot load a language model from {name}: no such file or folder$")


@pytest.mark.parametrize("name", ["one.fa", "lm/model.safetensors", "notes"])
def test_a_file_is_told_from_a_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lm").mkdir()
    (tmp_path / name).write_text(">chr1\nACGT\n")
    refused(name, f"^cannot load a language model from {name}: it is a file; name its folder$")


def test_a_folder_without_a_configuration_says_so(tmp_path):
    refused(tmp_path, "no config.json is there$")


OTHER_POSITIONS = """
import torch
from transformers import BertConfig, BertModel
class Model(BertModel):
    config_class = BertConfig
    def forward(self, *args, **options):
        with torch.no_grad():
            self.embeddings.position_embeddings.weight.zero_()
        return super().forward(*args, **options)
"""


def test_a_class_of_its_own_is_not_silently_replaced_by_one_that_fits_the_weights(tmp_path, monkeypatch):
    """As DNABERT-2: BERT's names and shapes, and activations without absolute positions."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = lm_zoo.byte_pairs(tmp_path / "own")
    native = load_lm(folder, 2, device="cpu").activations(DNA.encode())
    (folder / "own.py").write_text(OTHER_POSITIONS)
    lm_zoo.edit_config(folder, auto_map={"AutoModel": "own.Model"})
    refused(
        folder, r"brings Python code of its own \(AutoModel: own.Model\), .*: read the code, .* --trust-remote-code$"
    )
    own = load_lm(folder, 2, device="cpu", trust_remote_code=True)
    assert type(own.model).__name__ == "Model"
    assert not torch.allclose(own.activations(DNA.encode()), native)


@pytest.mark.parametrize("auto_map", [{"AutoConfig": "own.Config"}, {"AutoModelForSequenceClassification": "own.M"}])
def test_any_class_of_its_own_in_the_configuration_needs_trust(tmp_path, auto_map):
    folder = lm_zoo.byte_pairs(tmp_path)
    lm_zoo.edit_config(folder, num_hidden_layers=4, auto_map=auto_map)  # nor does it fit
    refused(folder, "brings Python code of its own .*--trust-remote-code")


def test_code_of_its_own_for_a_head_alone_does_not_make_it_transformers_model(tmp_path):
    folder = lm_zoo.byte_pairs(tmp_path)
    lm_zoo.edit_config(folder, auto_map={"AutoModelForSequenceClassification": "own.M"})
    refused(
        folder, "brings AutoModelForSequenceClassification, and none of AutoModel, .*plug-in", trust_remote_code=True
    )


@pytest.mark.parametrize(
    ("file", "auto_map"),
    [
        ("config.json", {"AutoTokenizer": ["own.T", None]}),
        ("tokenizer_config.json", {"AutoTokenizer": ["own.T", None]}),
        ("tokenizer_config.json", ["own.T", None]),
    ],
)
def test_a_tokenizer_of_its_own_is_not_silently_replaced(tmp_path, file, auto_map):
    """Its ``tokenizer_class`` is one that transformers has, and would open."""
    folder = lm_zoo.six_mers(tmp_path)
    lm_zoo.edit_config(folder, file, auto_map=auto_map)
    refused(folder, r"brings Python code of its own \(AutoTokenizer: own.T\).*--trust-remote-code")


def wrap(folder, prefix):
    weights = load_file(folder / "model.safetensors")
    wrapped = {prefix + name: tensor for name, tensor in weights.items()}
    save_file(wrapped, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_removed(model, prefix):
    before = load_lm(model, 1, device="cpu")
    wrap(model, prefix)
    after = load_lm(model, 1, device="cpu")
    assert after.checksum == before.checksum
    assert torch.equal(after.activations(b"ACGTACGT"), before.activations(b"ACGTACGT"))


@pytest.fixture
def hyenadna(tmp_path):
    save_model(HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=2, max_seq_len=66)), tmp_path / "hyenadna")
    return tmp_path / "hyenadna"


def drop_head(weights):
    del weights["lm_head.weight"]


def add_classifier(weights):
    weights["score.weight"] = torch.zeros(2, 16)


def only_classifier(weights):
    drop_head(weights)
    add_classifier(weights)


def only_body(weights):
    for name in list(weights):
        tensor = weights.pop(name)
        if name.startswith("hyena."):
            weights[name.removeprefix("hyena.")] = tensor


@pytest.mark.parametrize("change", [drop_head, add_classifier, only_classifier, only_body])
@pytest.mark.parametrize("where", [{"layer": 2}, {"hook": "hyena.backbone.layers.1"}])
def test_a_fine_tuned_hyenadna_is_read_whatever_its_heads_are(hyenadna, change, where):
    expected = load_lm(hyenadna, **where, device="cpu").activations(b"ACGTNACGT")
    change_weights(hyenadna, change)
    lm = load_lm(hyenadna, **where, device="cpu")
    assert torch.equal(lm.activations(b"ACGTNACGT"), expected)
    assert lm.checksum == load_lm(hyenadna, **where, device="cpu").checksum


def test_a_hyenadna_without_a_next_base_head_has_no_loss_and_says_so(hyenadna):
    assert load_lm(hyenadna, 2, device="cpu").causal_lm.lm_head.weight.shape == (16, 16)
    change_weights(hyenadna, drop_head)
    with pytest.raises(SaeTracksError, match="has no next-base head"):
        _ = load_lm(hyenadna, 2, device="cpu").causal_lm
    with pytest.raises(SaeTracksError, match=r"1 missing weights, such as lm_head\.weight"):
        load_causal_lm(str(hyenadna))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("hyena.backbone.ln_f.bias"), "1 missing weights, such as hyena.backbone.ln_f.bias"),
        (
            lambda w: w.update({"hyena.backbone.layers.2.x": torch.ones(1)}),
            "config.json says n_layer 2; its weights have 3",
        ),
    ],
)
def test_the_body_of_a_hyenadna_must_fit_all_the_same(hyenadna, change, message):
    change_weights(hyenadna, drop_head)
    change_weights(hyenadna, change)
    refused(hyenadna, message)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path):
    folder = lm_zoo.letters(tmp_path, "llama")
    words = [*"abcdefghijkl", "[UNK]", *"ACGTN"]
    inner = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]").save_pretrained(folder)
    refused(folder, "its tokenizer gives DNA the token 17, and the model knows tokens 0 to 9: .* another model$")


def test_tokens_that_dna_never_has_may_be_more_than_the_model_has(tmp_path):
    folder = lm_zoo.letters(tmp_path, "llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save_pretrained(folder)
    assert load_lm(folder, 1, device="cpu").activations(b"ACGTN").shape == (5, 16)


@pytest.mark.parametrize("mask", [None, "[MASK]"])
def test_a_tokenizer_that_fails_on_n_reads_it_as_mask_or_is_refused(tmp_path, mask):
    folder = lm_zoo.letters(tmp_path, "llama", alphabet="ACGT")
    words = ["[MASK]", *"ACGT"]
    inner = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[GONE]"))
    inner.pre_tokenizer = Split(Regex("."), "isolated")
    with pytest.raises(Exception, match=r"Missing .* token"):
        inner.encode("N")
    PreTrainedTokenizerFast(tokenizer_object=inner, mask_token=mask).save_pretrained(folder)
    if mask:
        assert load_lm(folder, 1, device="cpu").activations(b"ACNGT").shape == (5, 16)
    else:
        refused(folder, "its tokenizer has neither N nor an unknown or mask token to read it as")


def test_a_model_type_that_nobody_has_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nobody"}))
    with pytest.raises(SaeTracksError, match="cannot load a language model from") as error:
        load_lm(tmp_path, 1)
    assert "\n" not in str(error.value)
