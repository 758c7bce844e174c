"""A model's configuration held against the shapes in its weights, before anything of that size is made."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sae_tracks.bounded import opened
from sae_tracks.errors import SaeTracksError
from sae_tracks.json_file import COUNT, Row, check, parse_json

MOST_HEADER = 1 << 27  # bytes of a safetensors header
TENSOR = {"dtype": str, "shape": [COUNT], "data_offsets": Row(COUNT, COUNT)}
FLOATS = {"F64", "F32", "F16", "BF16"}
MOST_TOKENS = 1 << 24  # read at once
LAYERS = re.compile(r"(?!max_).*layers?")
WIDTHS = re.compile(r"(?!chunk_|window_|block_).*_(size|dim)|d_(model|ff|inner|kv)|n_(embd|inner)|dim")
POSITIONS = re.compile(r".*(position_embeddings|positions|seq_len|sequence_length)")
BLOCK = re.compile(r".*\blayers\.(\d+)\.")


class Tensor(NamedTuple):
    """A tensor of a safetensors file, by the file's header."""

    dtype: str
    shape: tuple[int, ...]


def read_shapes(path: Path) -> dict[str, Tensor]:
    """The tensors that the header of a safetensors file names."""
    with opened(path) as file:
        size = int.from_bytes(file.read(8), "little")
        text = file.read(size) if size <= MOST_HEADER else b""
    if len(text) != size or not size:
        raise SaeTracksError(f"{path} is not a safetensors file, or it is cut short")
    named = parse_json(text, f"the header of {path}")
    named.pop("__metadata__", None)
    check(named, f"the header of {path}", {str: TENSOR})
    return {name: Tensor(one["dtype"], tuple(one["shape"])) for name, one in named.items()}


def check_weights(source: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that are whole numbers or bools: they are quantized, and would be read as if they were not."""
    for name, tensor in tensors.items():
        if tensor.dtype not in FLOATS and name.rpartition(".")[2] in ("weight", "bias", "freq", "deltas", "z", "t"):
            raise SaeTracksError(f"{source}: {name} is of type {tensor.dtype}; weights are floating-point numbers")


def check_hyenadna(source: str, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse a ``config.json`` of a HyenaDNA whose sizes are not those of its weights."""
    where = f"{source}: config.json"
    check(settings, where, {f"{name}?": (COUNT, None) for name in ("d_inner", "max_seq_len", *VOCABULARY, *HYENADNA)})
    length = next((t.shape[1] for name, t in tensors.items() if name.endswith("pos_emb.z") and len(t.shape) == 3), None)
    said = settings.get("max_seq_len")
    if said is None or not 0 < said <= MOST_TOKENS or length not in (None, said):
        has = f"; its weights have {length:,}" if length else ""
        raise SaeTracksError(
            f"{where}: max_seq_len must be a whole number from 1 to {MOST_TOKENS:,}, the most tokens that the model "
            f"reads; it is {'missing' if said is None else said}{has}"
        )
    from sae_tracks.lm.hyenadna import HyenaDNAConfig

    known = HyenaDNAConfig().to_dict() | {name: value for name, value in settings.items() if value is not None}
    d_model = known["d_model"]
    known["d_inner"] = settings.get("d_inner") or 4 * d_model
    rows = next(
        (t.shape[0] for name, t in tensors.items() if name.endswith("word_embeddings.weight") and t.shape), None
    )
    pad = known["pad_vocab_size_multiple"]
    if pad < 1 or rows not in (None, -(-known["vocab_size"] // pad) * pad):
        raise SaeTracksError(f"{where} says vocab_size {known['vocab_size']}; its weights have {rows} rows for it")
    for name, found in _hyenadna_sizes(tensors):
        if known[name] != found:
            raise SaeTracksError(f"{where} says {name} {known[name]}; its weights have {found}")


VOCABULARY = ("vocab_size", "pad_vocab_size_multiple")
HYENADNA = ("d_model", "n_layer", "emb_dim", "filter_order", "num_inner_mlps", "hyena_order", "short_filter_order")
FIRST = "layers.0."
FILTER = f"{FIRST}mixer.filter_fn.implicit_filter."


def _hyenadna_sizes(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, int]]:
    """Sizes that the weights tell, by the names of the configuration."""
    by_end = {name[name.index(FIRST) :]: t.shape for name, t in tensors.items() if FIRST in name}
    yield "n_layer", len({match[1] for name in tensors if (match := BLOCK.match(name))})
    for size, name, axis in (
        ("d_model", f"{FIRST}norm1.weight", 0),
        ("d_inner", f"{FIRST}mlp.fc1.weight", 0),
        ("filter_order", f"{FILTER}0.weight", 0),
        ("emb_dim", f"{FILTER}0.weight", 1),
        ("short_filter_order", f"{FIRST}mixer.short_filter.weight", 2),
    ):
        if name in by_end and len(by_end[name]) > axis:
            yield size, by_end[name][axis]
    inner = [name for name in by_end if re.fullmatch(re.escape(FILTER) + r"\d+\.weight", name)]
    if inner:
        yield "num_inner_mlps", len(inner) - 2
    widths = [by_end.get(f"{FIRST}{name}.weight", ()) for name in ("mixer.in_proj", "norm1")]
    if all(widths) and widths[1][0]:
        yield "hyena_order", widths[0][0] // widths[1][0] - 1


def check_sizes(source: str, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse a ``config.json`` of any model that names more layers, widths or positions than its weights can have."""
    numbers = sum(math.prod(tensor.shape) for tensor in tensors.values())
    for name, value in _integers(settings):
        most = None
        if LAYERS.fullmatch(name):
            most = max(len(tensors), 64)
        elif WIDTHS.fullmatch(name):
            most = max(numbers, 1 << 20)
        elif POSITIONS.fullmatch(name):
            most = MOST_TOKENS
        if most is not None and value > most:
            raise SaeTracksError(f"{source}: config.json says {name} {value:,}; its weights have at most {most:,}")


def check_parameters(source: str, model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a model, made without memory, that is far larger than its weights: the rest would be drawn at random."""
    wanted = sum(parameter.numel() for parameter in model.parameters())
    stored = sum(math.prod(tensor.shape) for tensor in tensors.values())
    if wanted > 2 * stored + (1 << 24):
        raise SaeTracksError(f"{source}: config.json asks for {wanted:,} weights; its files have {stored:,}")


def _integers(settings: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _integers(value)
        elif type(value) is int:
            yield name, value
