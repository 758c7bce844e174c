"""A model's configuration is held against its weights before memory is taken, and never leads to foreign code."""

import json
import time

import lm_zoo
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import write_tiny_model

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm import load_lm
from sae_tracks.lm.sizes import check_sizes, read_shapes


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    write_tiny_model(folder)
    return folder / "lm"


@pytest.fixture
def change(made, tmp_path):
    """Write the model with another config.json, or with other weights."""

    def write(settings=None, weights=None, without=()):
        config = json.loads((made / "config.json").read_text()) | (settings or {})
        tensors = load_file(made / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k not in without}))
        save_file(weights(tensors) if weights else tensors, tmp_path / "model.safetensors", {"format": "pt"})
        return str(tmp_path)

    return write


def refused(folder, message):
    started = time.process_time()
    with pytest.raises(SaeTracksError, match=message) as caught:
        load_lm(folder, 3)
    assert "\n" not in str(caught.value)
    assert time.process_time() - started < 5  # nothing of that size was begun


@pytest.mark.parametrize(
    "name", ["n_layer", "num_inner_mlps", "emb_dim", "d_model", "d_inner", "filter_order", "short_filter_order",
             "hyena_order"]
)  # fmt: skip
@pytest.mark.parametrize("value", [1, 10**9, 10**18])
def test_sizes_that_are_not_those_of_the_weights_are_refused(change, name, value):
    refused(change({name: value}), f"config.json says {name} {value}; its weights have ")


@pytest.mark.parametrize("value", [-1, "4", 2.5, True, 10**30, [3]])
def test_sizes_that_are_no_whole_numbers_are_refused(change, value):
    refused(change({"n_layer": value}), "config.json: field n_layer must be a whole number from 0")


def test_a_quantization_that_is_null_is_none(change):
    folder = change({"quantization_config": None})
    assert load_lm(folder, 1, device="cpu").activations(b"ACGT").shape[0] == 4


@pytest.mark.parametrize("value", [0, 10**9, None])
def test_the_most_tokens_must_be_said_and_possible(change, value):
    refused(change({"max_seq_len": value}), "max_seq_len must be a whole number from 1 to 16,777,216")
    refused(change(without=["max_seq_len"]), "max_seq_len must be .*; it is missing")


def test_a_table_of_positions_in_the_weights_says_how_many(change):
    table = {"hyena.backbone.layers.0.mixer.filter_fn.pos_emb.z": torch.zeros(1, 90, 5)}
    refused(change(weights=lambda w: w | table), "it is 66; its weights have 90")


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool])
def test_weights_that_are_whole_numbers_are_refused(change, dtype):
    cast = lambda w: {name: tensor.to(dtype) for name, tensor in w.items()}  # noqa: E731
    refused(change(weights=cast), "is of type .*; weights are floating-point numbers")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"attn_implementation": "someone/kernel"},
            "takes attn_implementation from 'someone/kernel', code that is not",
        ),
        ({"_attn_implementation": "a/b:c"}, "code that is not run"),
        ({"attn_implementation": {"": "sdpa", "text": "a/b"}}, "code that is not run"),
        ({"text_config": {"attn_implementation": "a/b"}}, "code that is not run"),
        ({"experts_implementation": "a/b"}, "code that is not run"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "its weights are quantized"),
    ],
    ids=str,
)
def test_settings_that_fetch_code_are_refused(change, settings, message, monkeypatch, tmp_path):
    folder = change(settings)
    refused(folder, message)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    refused(folder, message)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"num_hidden_layers": 10**18}, "num_hidden_layers"),
        ({"n_layers": 1000}, "n_layers"),
        ({"hidden_size": 10**9}, "hidden_size"),
        ({"text_config": {"intermediate_size": 10**12}}, "intermediate_size"),
        ({"max_position_embeddings": 10**10}, "max_position_embeddings"),
    ],
    ids=str,
)
def test_any_model_has_no_more_layers_widths_and_positions_than_its_weights_can_hold(made, settings, name):
    tensors = read_shapes(made / "model.safetensors")
    with pytest.raises(SaeTracksError, match=f"config.json says {name} .*; its weights have at most"):
        check_sizes("x", settings, tensors)
    check_sizes("x", {"num_hidden_layers": 3, "hidden_size": 16, "vocab_size": 16, "max_window_layers": 500}, tensors)


@pytest.mark.parametrize("content", [b"", b"\x08", (1 << 40).to_bytes(8, "little") + b"{}", b"\x02" + bytes(7) + b"[]"])
def test_a_header_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(SaeTracksError):
        read_shapes(tmp_path / "x.safetensors")


def test_a_model_of_transformers_that_asks_for_far_more_weights_is_refused(tmp_path):
    folder = lm_zoo.six_mers(tmp_path)
    lm_zoo.edit_config(folder, intermediate_size=10**6)
    with pytest.raises(SaeTracksError, match=r"config\.json asks for .* weights; its files have"):
        load_lm(str(folder), 1)
