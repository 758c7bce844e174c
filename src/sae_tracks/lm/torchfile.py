"""Tensors of a torch checkpoint, read without running the checkpoint.

A checkpoint is a zip of raw numbers and ``data.pkl``, a program for pickle's stack machine that may call anything. Here
the program is read as data: an instruction that would look up a name, call it or set an object's state becomes a `Note`
and has no effect. No name of the file is imported, and no object of it is made. A note that describes a tensor is
turned into the tensor.
"""

import math
import pickletools
import re
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from sae_tracks.errors import SaeTracksError

DTYPES = {
    "torch FloatStorage": torch.float32,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
}
MORE_DTYPES = {
    "torch DoubleStorage": torch.float64,
    "torch IntStorage": torch.int32,
    "torch LongStorage": torch.int64,
    "torch BoolStorage": torch.uint8,  # a byte of a file need be neither 0 nor 1, as a bool must
}
REBUILD_TENSOR, REBUILD_PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
TENSOR_NAMES = re.compile(rf"{REBUILD_TENSOR}|{REBUILD_PARAMETER}|torch \w+Storage|collections OrderedDict")
LOOK_UPS = ("GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")
_DAMAGED = (zipfile.BadZipFile, EOFError, LookupError, RuntimeError, ValueError, OverflowError, OSError, struct.error)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_MARK = object()


@dataclass(slots=True, eq=False, repr=False)
class Note:
    """The object that an instruction of the program would make."""

    made_by: str  # the instruction, such as ``GLOBAL`` (a name is looked up) or ``REDUCE`` (it is called)
    operands: list[Any]  # the name as ``"module name"``; the callable and its arguments; ...
    items: dict[str, Any] = field(default_factory=dict)  # set later under string keys; other keys are dropped


def read_pickle(program: bytes) -> Any:
    """Return the value of a pickle: numbers, strings, bytes and tuples as they are, everything else as a `Note`.

    A malformed program raises ValueError, LookupError or OverflowError.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(program):
        name, slot = opcode.name, cast(int, argument)  # the place in the memo, of instructions that have one
        if name == "STOP":
            break
        if name == "MARK":
            stack.append(_MARK)
        elif name.endswith("PUT"):
            memo[slot] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name.endswith("GET"):
            stack.append(memo[slot])
        else:
            stack += _result(opcode, argument, _take(stack, opcode))
    return stack.pop()


def _take(stack: list[Any], opcode: pickletools.OpcodeInfo) -> list[Any]:
    """Pop the operands of an instruction, by pickletools' description of it, without the mark."""
    before = [item.name for item in opcode.stack_before]
    fixed, above = len(before), []
    if "mark" in before:
        fixed = before.index("mark")
        while (top := stack.pop()) is not _MARK:
            above.append(top)
    return [stack.pop() for _ in range(fixed)][::-1] + above[::-1]


def _result(opcode: pickletools.OpcodeInfo, argument: Any, operands: list[Any]) -> list[Any]:
    """Return the values that an instruction leaves on the stack."""
    name = opcode.name
    if name in ("SETITEM", "SETITEMS"):
        _set_items(operands)
    if name in ("SETITEM", "SETITEMS", "APPEND", "APPENDS", "ADDITEMS", "BUILD"):
        return operands[:1]
    if not opcode.stack_after:
        return []
    if name == "DUP":
        return operands * 2
    if "TUPLE" in name:
        return [tuple(operands)]
    if name in _CONSTANTS:
        return [_CONSTANTS[name]]
    if argument is not None and opcode.stack_after[0].name != "any":
        return [argument]
    if name == "STACK_GLOBAL":
        if not all(isinstance(operand, str) for operand in operands):
            raise ValueError("a name that is looked up is not text")
        return [Note("GLOBAL", [" ".join(operands)])]
    return [Note(name, operands if argument is None else [argument, *operands])]


def _set_items(operands: list[Any]) -> None:
    target, keys, values = operands[0], operands[1::2], operands[2::2]
    if not isinstance(target, Note) or len(keys) != len(values):
        raise ValueError("an item is set on something that holds none")
    target.items.update((key, value) for key, value in zip(keys, values) if isinstance(key, str))


def read_state_dict(path: Path, wanted: Callable[[str], bool]) -> dict[str, torch.Tensor]:
    """Return the wanted tensors under ``state_dict`` of a checkpoint in torch's zip format (torch >= 1.6).

    They are float32, float16 or bfloat16 as stored, on the CPU, in the file's order, and may share memory. Nothing in
    the file is run, so it may come from anyone. A wanted value that is not a tensor is an error.
    """
    with _open(path, DTYPES) as checkpoint:
        top = read_pickle(checkpoint.program())
        state = top.items.get("state_dict") if isinstance(top, Note) else None
        if not isinstance(state, Note):
            raise SaeTracksError(f"{path} has no 'state_dict': it is not a checkpoint of PyTorch Lightning")
        return {name: checkpoint.tensor(name, value) for name, value in state.items.items() if wanted(name)}


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a state dict that ``torch.save`` wrote (torch >= 1.6).

    They are floats, integers and, as uint8, bools, as stored, on the CPU, in the file's order, and may share memory.
    Nothing in the file is run, so it may come from anyone. A file that holds anything but named tensors is an error.
    """
    with _open(path, DTYPES | MORE_DTYPES) as checkpoint:
        program = checkpoint.program()
        for opcode, argument, _ in pickletools.genops(program):
            if opcode.name in LOOK_UPS and not TENSOR_NAMES.fullmatch(argument or ""):
                what = argument or opcode.name
                raise SaeTracksError(f"{path} holds more than tensors: {what!r}, which would have to be run")
        top = read_pickle(program)
        if not isinstance(top, Note) or not top.items:
            raise SaeTracksError(f"{path} holds no named tensors: it is not a state dict")
        return {name: checkpoint.tensor(name, value) for name, value in top.items.items()}


@contextmanager
def _open(path: Path, dtypes: dict[str, torch.dtype]) -> "Iterator[_Checkpoint]":
    """Open a checkpoint. Any error of a damaged file becomes one error that names the file."""
    if not path.is_file():
        raise SaeTracksError(f"no file {path}")
    try:
        if not zipfile.is_zipfile(path):
            raise SaeTracksError(f"{path} is no zip archive, as torch writes since 1.6: cut short, or of another kind")
        with zipfile.ZipFile(path) as archive:
            yield _Checkpoint(path, archive, dtypes)
    except SaeTracksError:
        raise
    except _DAMAGED as error:
        raise SaeTracksError(f"{path} is damaged, or not a checkpoint of torch: {error}") from error


class _Checkpoint:
    """An open checkpoint and the storages read so far."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, dtypes: dict[str, torch.dtype]) -> None:
        self.path, self.archive, self.dtypes = path, archive, dtypes
        programs = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(programs) != 1:
            raise SaeTracksError(f"{path} is a zip archive but not torch's: it holds {len(programs)} data.pkl, not one")
        self.folder = programs[0].removesuffix("data.pkl")
        self.storages: dict[str, torch.Tensor] = {}

    def program(self) -> bytes:
        order = self.folder + "byteorder"
        if order in self.archive.NameToInfo and self.record("byteorder") != sys.byteorder.encode():
            raise SaeTracksError(f"{self.path} was written on a machine of another byte order; convert it there")
        return self.record("data.pkl")

    def record(self, name: str) -> bytes:
        """Read a file of the archive and check its CRC. A compressed one is refused: it could unfold to any size."""
        info = self.archive.getinfo(self.folder + name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise SaeTracksError(f"{self.path}: {info.filename} is compressed, which torch does not do")
        return self.archive.read(info)

    def tensor(self, name: str, value: Any) -> torch.Tensor:
        """Return the tensor that a note describes, after a check that it lies inside its storage."""
        if parameter := _arguments(value, REBUILD_PARAMETER):
            value = parameter[0]
        match _arguments(value, REBUILD_TENSOR):
            case (Note("BINPERSID", [place]), int(offset), tuple(size), tuple(stride), *_):
                storage = self.storage(name, place)
            case _:
                raise SaeTracksError(f"{self.path}: {name} is not a tensor")
        if not _inside(len(storage), offset, size, stride):
            raise SaeTracksError(f"{self.path}: {name} reaches outside the {len(storage):,} numbers stored for it")
        return storage.as_strided(size, stride, offset)

    def storage(self, name: str, place: Any) -> torch.Tensor:
        """Return all numbers of one storage, (n,)."""
        match place:
            case ("storage", Note("GLOBAL", [str(kind)]), str(key), str(), int(count)) if kind in self.dtypes:
                dtype = self.dtypes[kind]
            case ("storage", Note("GLOBAL", [str(kind)]), *_):
                expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in self.dtypes.values())
                raise SaeTracksError(f"{self.path}: {name} is of {kind!r}; expected {expected}")
            case _:
                raise SaeTracksError(f"{self.path}: {name} has its numbers in no storage of this file")
        if key not in self.storages:
            self.storages[key] = torch.frombuffer(bytearray(self.record(f"data/{key}")), dtype=torch.uint8)
        found = len(self.storages[key])
        if found != count * dtype.itemsize:
            raise SaeTracksError(f"{self.path}: {name} claims {count:,} numbers, but {found:,} bytes are stored")
        return self.storages[key].view(dtype)


def _arguments(value: Any, function: str) -> tuple | None:
    """Return the arguments if the value is a call of this rebuilding function of torch, else None."""
    match value:
        case Note("REDUCE", [Note("GLOBAL", [name]), tuple(arguments)]) if name == function:
            return arguments
    return None


def _inside(count: int, offset: int, size: tuple, stride: tuple) -> bool:
    """Whether a view that is not empty and has at most `count` numbers lies inside a storage of `count`."""
    if len(size) != len(stride) or not all(type(n) is int for n in size + stride):
        return False
    if offset < 0 or any(n < 1 for n in size) or any(not 0 <= step <= count for step in stride):
        return False
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    return last < count and math.prod(size) <= count
