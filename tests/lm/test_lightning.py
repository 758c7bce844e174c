"""The original checkpoint gives the same model as the hub's weights; what is no such model is refused by name."""

import json
import shutil

import pytest
import torch
from conftest import shared
from lightning_files import MODEL, assert_same, lightning_state, refused, save
from transformers import AutoModelForCausalLM

from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, load_lm
from sae_tracks.lm.lightning import load_lightning


@pytest.mark.parametrize("form", ["lightning", "lightning_gradckpt"])
def test_the_reference_checkpoints_give_the_hub_model_bit_for_bit(form, tmp_path):
    config = json.loads(shared("vectors/tiny_random.config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    shutil.copy(shared("vectors/tiny_random.hf.safetensors"), tmp_path / "model.safetensors")
    hub = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()

    ours = load_lightning(shared(f"vectors/tiny_random.{form}.ckpt"))

    assert not ours.training
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    assert_same(ours, hub)
    for size in ("d_model", "d_inner", "n_layer", "max_seq_len", "emb_dim", "filter_order", "num_inner_mlps"):
        assert getattr(ours.config, size) == config[size], size
    ids = torch.randint(7, 12, (2, 300), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        theirs, out = hub(ids, output_hidden_states=True), ours(ids, output_hidden_states=True)
    assert torch.equal(out.logits, theirs.logits)
    for a, b in zip(out.hidden_states, theirs.hidden_states, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("layer", ["", "layer."])
@pytest.mark.parametrize("inner", [1, 2, 3])
def test_sizes_follow_from_the_shapes(tmp_path, layer, inner):
    sizes = {"d_model": 8, "d_inner": 12, "n_layer": 3, "max_seq_len": 20, "filter_order": 5, "emb_dim": 7}
    sizes |= {"num_inner_mlps": inner, "short_filter_order": 4}
    model = HyenaDNAForCausalLM(HyenaDNAConfig(**sizes)).eval()
    state = lightning_state(model, layer)
    state = {k: v for k, v in state.items() if not (inner == 1 and k.endswith(".5.freq"))}

    loaded = load_lightning(save(tmp_path / "a.ckpt", state_dict=state))

    assert {name: getattr(loaded.config, name) for name in sizes} == sizes
    assert_same(loaded, model)


def test_a_folder_with_a_checkpoint_is_read_as_a_model(tmp_path):
    save(tmp_path / "weights.ckpt")
    lm = load_lm(tmp_path, 2, device="cpu")
    with torch.inference_mode():
        expected = MODEL(torch.tensor([[7, 8, 9, 10]]), output_hidden_states=True).hidden_states[2][0]
    assert torch.allclose(lm.activations(b"ACGT"), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(tmp_path, dtype):
    derived = ("pos_emb.z", "pos_emb.t", "deltas")
    state = {k: v if k.endswith(derived) else v.to(dtype) for k, v in lightning_state().items()}
    loaded = load_lightning(save(tmp_path / "a.ckpt", state_dict=state))
    weight = loaded.state_dict()["lm_head.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, MODEL.lm_head.weight.to(dtype).float())


def test_parameters_and_transposed_and_sliced_tensors_load(tmp_path):
    state = lightning_state()
    head = state["model.lm_head.weight"]
    state["model.lm_head.weight"] = head.t().contiguous().t()
    state["model.backbone.ln_f.bias"] = torch.cat([torch.full((3,), 9.0), state["model.backbone.ln_f.bias"]])[3:]
    state["model.backbone.ln_f.weight"] = torch.nn.Parameter(state["model.backbone.ln_f.weight"])
    assert_same(load_lightning(save(tmp_path / "a.ckpt", state_dict=state)))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_of_torch_loads(tmp_path, protocol):
    torch.save({"state_dict": lightning_state()}, tmp_path / "a.ckpt", pickle_protocol=protocol)
    assert_same(load_lightning(tmp_path / "a.ckpt"))


def test_the_counters_of_the_training_run_are_left_out(tmp_path):
    state = lightning_state()
    for part in ("train", "val", "test"):
        state[f"{part}_torchmetrics.num_tokens.count"] = torch.tensor(12)
    assert_same(load_lightning(save(tmp_path / "a.ckpt", state_dict=state)))


FREQ = "model.backbone.layers.1.mixer.filter_fn.implicit_filter.{}.freq"
WRONG = {
    "missing": ("model.backbone.ln_f.bias", None, "1 missing weights, such as hyena.backbone.ln_f.bias"),
    "headless": ("model.lm_head.weight", None, "1 missing weights, such as lm_head.weight"),
    "no positions": (
        "model.backbone.layers.0.mixer.filter_fn.pos_emb.z",
        None,
        "no weight .*0.mixer.filter_fn.pos_emb",
    ),
    "unknown": ("encoder.weight", torch.ones(2), "1 unknown weights, such as encoder.weight"),
    "a gap": ("model.backbone.layers.7.norm1.bias", torch.ones(6), "missing weights, such as .*layers.2.norm1.weight"),
    "shape": ("model.lm_head.weight", torch.ones(16, 7), r"lm_head.weight is \(16, 7\).*\(16, 6\)"),
    "vocabulary": ("model.backbone.embeddings.word_embeddings.weight", torch.ones(24, 6), r"\(24, 6\).*\(16, 6\)"),
    "flat": ("model.backbone.layers.0.mixer.filter_fn.pos_emb.z", torch.ones(5), "pos_emb.z has 1 dimensions"),
    "frequency": (FREQ.format(5), torch.ones(1, 4), "5.freq differs from .*1.freq"),
    "NaN": ("model.backbone.ln_f.bias", torch.full((6,), float("nan")), "ln_f.bias holds NaN or infinity"),
    "deltas": ("model.backbone.layers.1.mixer.filter_fn.modulation.deltas", torch.ones(1, 1, 6), "deltas is off by"),
    "dtype": ("model.lm_head.weight", torch.ones(16, 6).double(), "'torch DoubleStorage'; expected float32"),
    "twice": ("model.backbone.layers.0.mlp.layer.fc1.bias", torch.ones(10), "mlp.fc1.bias twice"),
    "no tensor": ("model.lm_head.weight", "weights", "lm_head.weight is not a tensor"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_such_model_is_refused_by_name(tmp_path, what):
    name, value, message = WRONG[what]
    state = lightning_state()
    if value is None:
        del state[name]
    else:
        state[name] = value
    refused(save(tmp_path / "a.ckpt", state_dict=state), message)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
@pytest.mark.parametrize("head", ["lm_head", "classifier", None])
def test_a_fine_tuned_checkpoint_is_read_whatever_its_head_is(tmp_path, prefix, head):
    state = lightning_state()
    if head != "lm_head":
        del state["model.lm_head.weight"]
    if head == "classifier":
        state["decoder.0.output_transform.weight"] = torch.zeros(2, 6)
    state = {prefix + name: tensor for name, tensor in state.items()}
    lm = load_lm(save(tmp_path / "a.ckpt", state_dict=state), 2, device="cpu")
    with torch.inference_mode():
        expected = MODEL(torch.tensor([[7, 8, 9, 10]]), output_hidden_states=True).hidden_states[2][0]
    assert torch.allclose(lm.activations(b"ACGT"), expected, atol=1e-6)
