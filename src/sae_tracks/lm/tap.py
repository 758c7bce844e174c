"""Where in a transformers model an activation is taken: the output of a module, or an entry of ``hidden_states``."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sae_tracks.errors import SaeTracksError

Inputs = Mapping[str, torch.Tensor]


class _Enough(Exception):
    """Ends a forward pass: nothing behind the module that raised it is needed."""


@dataclass(frozen=True, slots=True)
class Tap:
    """A place to read.

    Attributes
    ----------
    layer : int or None
        1-based: ``hidden_states[layer]``; None where a module was named.
    hook_name : str
        Path of the module whose output it is, or ``hidden_states[layer]`` where it is no block's output (models that
        end in a norm put that at the end of the last one).
    """

    layer: int | None
    hook_name: str

    def read(self, model: nn.Module, inputs: Inputs) -> torch.Tensor:
        """(t, d_model): the activations of one sequence of t tokens; a module's successors are not run."""
        found = hidden_states(model, inputs)[self.layer] if self._is_state else _output(model, self.hook_name, inputs)
        tokens = inputs["input_ids"].shape[1]
        if found is None or found.shape[:-1] not in ((1, tokens), (tokens,)):  # some models leave out the batch
            shape = "nothing" if found is None else tuple(found.shape)
            raise SaeTracksError(f"{self.hook_name} gives {shape}; (1, {tokens}, d) is what can be read")
        return found.reshape(tokens, -1)

    @property
    def _is_state(self) -> bool:
        return self.hook_name.startswith("hidden_states[")


def find_tap(model: nn.Module, inputs: Inputs, layer: int | None, hook: str | None, name: str) -> Tap:
    """The place of a layer or of a named module.

    Parameters
    ----------
    model, inputs
        The model, and a short sequence to try it on.
    layer, hook : int, str
        One of them. A path may begin with the model's name among its heads: ``esm.encoder.layer.2``.
    name : str
        Of the model, for errors.

    Raises
    ------
    SaeTracksError
        There is no such layer or module; the error lists those that there are.
    """
    if hook is not None:
        return Tap(None, _module_path(model, hook, name))
    states = hidden_states(model, inputs)
    if not states:
        raise SaeTracksError(f"{name} does not give hidden_states: name a module with --hook")
    if layer is None or not 1 <= layer < len(states):
        raise SaeTracksError(f"no layer {layer} in {name}: it has layers 1 to {len(states) - 1}")
    return Tap(layer, _block_of(model, inputs, states[layer]) or f"hidden_states[{layer}]")


def hidden_states(model: nn.Module, inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """(1, t, d) each; none where the model does not give them."""
    out = model(**inputs, output_hidden_states=True, return_dict=True)
    return getattr(out, "hidden_states", None) or ()


def _module_path(model: nn.Module, hook: str, name: str) -> str:
    modules = dict(model.named_modules())
    path = hook.removeprefix(f"{getattr(model, 'base_model_prefix', '')}.") if hook not in modules else hook
    if path and path in modules:
        return path
    parent = path
    while parent not in modules:
        parent = parent.rpartition(".")[0]
    children = [child for child, _ in modules[parent].named_children()]
    there = f"0 to {len(children) - 1}" if children and children[0] == "0" else ", ".join(children) or "nothing"
    raise SaeTracksError(f"no module {hook!r} in {name}: {parent or 'the model'} has {there}")


def _block_of(model: nn.Module, inputs: Inputs, state: torch.Tensor) -> str | None:
    """Path of the first block (a member of a ModuleList) whose output is `state`, bit for bit."""
    lists = [(path, module) for path, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    blocks = {f"{path}.{i}": block for path, members in lists for i, block in enumerate(members)}
    outputs: dict[str, torch.Tensor] = {}

    def keep(path: str, output: torch.Tensor | None) -> None:
        if output is not None:
            outputs.setdefault(path, output.clone())  # later blocks may write into it

    with ExitStack() as hooks:
        for path, block in blocks.items():
            hooks.enter_context(_hooked(block, lambda output, path=path: keep(path, output)))
        model(**inputs)
    return next((path for path, output in outputs.items() if torch.equal(output, state)), None)


def _output(model: nn.Module, path: str, inputs: Inputs) -> torch.Tensor | None:
    """What a module gives at its first call; the pass ends there."""
    found: list[torch.Tensor | None] = []

    def take(output: torch.Tensor | None) -> None:
        found.append(output)
        raise _Enough

    with _hooked(model.get_submodule(path), take), suppress(_Enough):
        model(**inputs)
    return found[0] if found else None


@contextmanager
def _hooked(module: nn.Module, call: Callable[[torch.Tensor | None], None]) -> Iterator[None]:
    """Call with the module's output, the first tensor of a tuple, whenever it runs."""

    def forwarded(_module: nn.Module, _inputs: Any, output: Any) -> None:
        parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple) else [output]
        call(next((part for part in parts if isinstance(part, torch.Tensor)), None))

    handle = module.register_forward_hook(forwarded)
    try:
        yield
    finally:
        handle.remove()
