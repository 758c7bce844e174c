"""Weights of splice networks, read as data: a frozen TensorFlow graph, safetensors, and OpenSpliceAI's ``.pt``."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from cispliceai_tracks.network import GROUP, KERNELS
from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.torchfile import read_tensors

FLOAT = 1  # TensorFlow's DT_FLOAT
Message = dict[int, list]  # protobuf: values by field number; int, or the bytes of strings, messages and fixed numbers
NORM = {"g": "mul/ReadVariableOp", "b": "ReadVariableOp_2", "m": "ReadVariableOp_1", "v": "ReadVariableOp"}


def read_graph(path: Path, number: int) -> tuple[dict[str, torch.Tensor], float]:
    """Weights and epsilon of one of the networks (1, 2 ...) in the graph that the package cispliceai carries."""
    try:
        constants = dict(_constants(memoryview(path.read_bytes())))
    except (IndexError, ValueError, KeyError) as error:
        raise SaeTracksError(f"{path} is no TensorFlow graph, or it is damaged") from error
    call = "" if number == 1 else f"_{number - 1}"
    layers = ["in", "sk0"]
    for group in range(len(KERNELS)):
        layers += [f"{group * GROUP + i}.c{j}" for i in range(GROUP) for j in (1, 2)] + [f"sk{group + 1}"]
    names: dict[str, str] = {}
    for i, layer in enumerate([*layers, "head"], 1):
        names[f"{layer}.w"] = f"conv1d_{i}/conv1d{call}/ExpandDims_1/ReadVariableOp"
        names[f"{layer}.b"] = f"conv1d_{i}/BiasAdd{call}/ReadVariableOp"
    for i in range(2 * GROUP * len(KERNELS)):
        of = f"{i // 2}.bn{i % 2 + 1}"
        names |= {f"{of}.{part}": f"batch_normalization_{i + 1}/batchnorm{call}/{op}" for part, op in NORM.items()}
    try:
        weights = {name: _tensor(constants[f"model_1/{op}/resource"]) for name, op in names.items()}
        eps = constants[f"model_1/batch_normalization_1/batchnorm{call}/add/y"]
    except KeyError as error:
        raise SaeTracksError(f"{path} has no network {number}: it lacks {error.args[0]}") from error
    return weights, float(eps)


def _tensor(array: np.ndarray) -> torch.Tensor:
    """A bias, or the (kernel, in, out) weight of a convolution as torch has it."""
    return torch.from_numpy(array.transpose().copy())


def _constants(graph: memoryview) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and value of every float32 constant of a GraphDef."""
    for node in _fields(graph)[1]:  # GraphDef.node
        fields = _fields(node)
        if bytes(fields[2][0]) != b"Const":  # NodeDef.op
            continue
        attributes = {bytes(entry[1][0]): entry[2][0] for entry in map(_fields, fields[5])}
        tensor = _fields(_fields(attributes[b"value"])[8][0])  # AttrValue.tensor
        if tensor[1] == [FLOAT]:
            yield bytes(fields[1][0]).decode(), _value(tensor)


def _value(tensor: Message) -> np.ndarray:
    """The value of a float32 TensorProto, whose bytes must be those of its shape."""
    sizes = _fields(tensor[2][0]).get(2, []) if 2 in tensor else []
    shape = [_fields(size)[1][0] for size in sizes]
    content = tensor[4][0] if 4 in tensor else b"".join(tensor[5])  # raw, or a list of numbers
    if len(content) != 4 * math.prod(shape):
        raise ValueError("a tensor has other bytes than its shape says")
    return np.frombuffer(content, "<f4").reshape(shape)


def _fields(message: memoryview) -> Message:
    """The fields of a protobuf message. Nothing is interpreted, and nothing beyond its end is read."""
    found: Message = {}
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = message[at : at + size], at + size
        if at > len(message):
            raise ValueError("a field is longer than its message")
        found.setdefault(key >> 3, []).append(value)
    return found


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """An integer of at most ten bytes, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        value, at = value | (byte & 127) << shift, at + 1
        if byte < 128:
            return value, at
    raise ValueError("an integer does not end")


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], float]:
    """Weights by the names of `SpliceNet`, and ``bn_eps`` of the metadata."""
    try:
        with safe_open(path, "pt") as file:
            eps = float((file.metadata() or {})["bn_eps"])
            return {name: file.get_tensor(name) for name in file.keys()}, eps  # noqa: SIM118
    except KeyError as error:
        raise SaeTracksError(f"{path} does not say bn_eps, the epsilon of its norms, in its metadata") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise SaeTracksError(f"{path} cannot be read as safetensors: {error}") from error


def read_openspliceai(path: Path) -> dict[str, torch.Tensor]:
    """Weights of OpenSpliceAI's state_dict, by the names of `SpliceNet`. No pickle is run."""
    found = {name: x for name, x in read_tensors(path).items() if not name.endswith("num_batches_tracked")}
    units = sorted({int(name.split(".")[1]) for name in found if name.startswith("residual_units.")})
    parts = {"initial_conv": "in", "initial_skip.conv": "sk0", "final_conv": "head"}
    for unit in units:
        blocks, rest = divmod(unit, GROUP + 1)
        if rest == GROUP:
            parts[f"residual_units.{unit}.conv"] = f"sk{blocks + 1}"
            continue
        for j in (1, 2):
            parts[f"residual_units.{unit}.conv{j}"] = f"{blocks * GROUP + rest}.c{j}"
            parts[f"residual_units.{unit}.batchnorm{j}"] = f"{blocks * GROUP + rest}.bn{j}"
    ends = {"bias": "b", "running_mean": "m", "running_var": "v"}
    weights = {}
    for name, tensor in found.items():
        part, _, end = name.rpartition(".")
        of = parts.get(part, part)
        weights[f"{of}.{ends.get(end, 'g' if 'bn' in of else 'w')}"] = tensor
    return weights
