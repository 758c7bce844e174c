"""HyenaDNA against reference outputs of the public code (random weights), and against itself in fp64."""

import json
import shutil

import pytest
import torch
from conftest import shared
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, load_lm

CASES = [
    "tiny.a_400nt_hg38chr1_500000",
    "tiny.b_batch2_300nt_withN",
    "tiny.c_1024nt_plus_SEP",
    "tiny.d_1nt",
    "small.a_400nt_hg38chr1_500000",
]


def relative_l2(ours, reference):
    return ((ours.double() - reference.double()).norm() / reference.double().norm()).item()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The vectors' models in the hub's layout, with an ``auto_map`` that must not be followed."""
    made = {}
    for kind in ("tiny", "small"):
        folder = tmp_path_factory.mktemp(kind)
        config = json.loads(shared(f"vectors/{kind}_random.config.json").read_text())
        config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "evil.py").write_text("raise SystemExit('remote code was run')\n")
        shutil.copy(shared(f"vectors/{kind}_random.hf.safetensors"), folder / "model.safetensors")
        made[kind] = folder
    return made


@pytest.mark.parametrize("case", CASES)
def test_every_hidden_state_and_the_logits_equal_the_reference(folders, case):
    reference = load_file(shared(f"vectors/{case}.safetensors"))
    model = AutoModelForCausalLM.from_pretrained(folders[case.split(".")[0]], dtype=torch.float32).eval()
    with torch.inference_mode():
        out = model(reference["input_ids"], output_hidden_states=True)

    states = sorted(k for k in reference if k.startswith("hidden_states."))
    assert len(states) == len(out.hidden_states) == model.config.n_layer + 2
    for name in states:
        ours = out.hidden_states[int(name.split(".")[1])][:, reference["positions"]]
        assert relative_l2(ours, reference[name]) <= 1e-5, name
    assert relative_l2(out.logits[:, reference["positions"]], reference["logits"]) <= 1e-5


def test_the_reader_gives_the_same_layer_without_the_trailing_sep(folders):
    reference = load_file(shared("vectors/tiny.c_1024nt_plus_SEP.safetensors"))
    letters = {7: b"A", 8: b"C", 9: b"G", 10: b"T", 11: b"N", 6: b"R"}
    sequence = b"".join(letters[i] for i in reference["input_ids"][0, :-1].tolist())
    kept = reference["positions"] < len(sequence)
    expected = reference["hidden_states.2"][0][kept]

    ours = load_lm(folders["tiny"], layer=2, device="cpu").activations(sequence)

    assert relative_l2(ours[reference["positions"][kept]], expected) <= 1e-5


def test_the_base_model_loads_from_a_causal_checkpoint(folders):
    reference = load_file(shared("vectors/tiny.d_1nt.safetensors"))
    model = AutoModel.from_pretrained(folders["tiny"], dtype=torch.float32).eval()
    with torch.inference_mode():
        last = model(reference["input_ids"]).last_hidden_state
    assert relative_l2(last, reference["hidden_states.3"]) <= 1e-5


def test_32k_bases_in_fp32_equal_fp64():
    torch.manual_seed(0)
    model = HyenaDNAForCausalLM(HyenaDNAConfig(d_model=64)).eval()  # a quarter of the channels: each is filtered alone
    ids = torch.randint(7, 11, (1, 32768))
    with torch.inference_mode():
        single = model(ids, output_hidden_states=True)
        double = model.double()(ids, output_hidden_states=True)
    for ours, reference in zip(single.hidden_states, double.hidden_states):
        assert relative_l2(ours, reference) <= 1e-5
    assert relative_l2(single.logits, double.logits) <= 1e-5


def test_saved_models_leave_out_derived_buffers_and_load_to_the_same_outputs(tmp_path):
    torch.manual_seed(0)
    model = HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=3, max_seq_len=66)).eval()
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as saved:
        assert not [k for k in saved.keys() if k.endswith((".z", ".t", ".deltas"))]  # noqa: SIM118
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.randint(6, 12, (2, 60))
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, again(ids).logits)


def test_the_tokenizer_is_the_references(tmp_path):
    HyenaDNAConfig().save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "HyenaDNATokenizer"}))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer("ACTGACTGACTGACTG")["input_ids"] == [7, 8, 10, 9] * 4 + [1]
    assert tokenizer("acgtNR")["input_ids"] == [6, 6, 6, 6, 11, 6, 1]
    assert tokenizer.decode([7, 8, 9, 10, 11]) == "ACGTN"


@pytest.mark.parametrize(("blocks", "layer", "said"), [(1, 1, "has 1 block:"), (2, 2, "has 2 blocks:"), (4, 3, "")])
def test_the_default_layer_fits_the_model_and_is_said(tmp_path, caplog, blocks, layer, said):
    config = HyenaDNAConfig(d_model=8, n_layer=blocks, max_seq_len=34)
    HyenaDNAForCausalLM(config).save_pretrained(tmp_path)
    with caplog.at_level("INFO", "sae_tracks"):
        assert load_lm(str(tmp_path), device="cpu").layer == layer
    assert (said in caplog.text) if said else not caplog.text
