"""Any gene language model that transformers can open, read at one layer or module."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sae_tracks.dna import complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.protocol import check_length, weights_checksum
from sae_tracks.lm.spans import PROBE, DNATokenizer, Tokens
from sae_tracks.lm.untrained import Kind, untrained_id, without_learning

DEFAULT_TOKENS = 8192  # read at once if neither the configuration nor the tokenizer names a limit
SANE = 1 << 40  # a tokenizer without a limit reports 1e30
LIMITS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")
PROBE_BASES = 96
Inputs = Mapping[str, torch.Tensor]


class AutoReader:
    """A transformers model at one layer, as a `GeneLM`. Every base gets the activation of the token that covers it.

    The model is fp32, on its device, with a head or without. `hook` is the path of a module whose output is read
    instead of ``hidden_states[layer]``; if the output is a tuple, its first tensor is read. A tokenizer that does not
    read DNA is refused, and one with tokens that the model does not have.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        layer: int | None = None,
        hook: str | None = None,
        model_id: str = "unnamed",
        revision: str | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.model.config.use_cache = False
        self.model_id, self.revision = model_id, revision
        self.architecture, self.checksum = model.config.model_type, weights_checksum(model)
        self.tokenizer = DNATokenizer(tokenizer, model_id)
        self._embeddings = _embeddings(model)
        self._check_ids(self.tokenizer.largest_id)
        self._mask = "attention_mask" in tokenizer.model_input_names and _takes(model, "attention_mask")
        self._limit = max(token_limit(model, tokenizer) - self.tokenizer.around, 1)
        self.max_length = max(int(self._limit * self.tokenizer.bases_per_token), 1)
        self._tokens = lru_cache(maxsize=4)(self.tokenizer.encode)
        with torch.no_grad():
            probe = self._inputs(self._probe(PROBE[:PROBE_BASES]).ids)
            self._tap = find_tap(self.model, probe, layer, hook, model_id)
            self.layer, self.hook_name = self._tap.layer, self._tap.hook_name
            self.d_model = self._tap.read(self.model, probe).shape[1]
            self.causal = self._measure_causal()

    def untrained(self, kind: Kind, seed: int) -> "AutoReader":
        """See `OffersUntrained`."""
        model, name = without_learning(self.model, kind, seed), untrained_id(self, kind, seed)
        hook = self.hook_name if self.layer is None else None
        made = AutoReader(model, self.tokenizer.tokenizer, self.layer, hook, name)
        # Both were found by trying the weights. In a new model, some paths between tokens may be closed.
        made._tap, made.causal = self._tap, self.causal
        made.hook_name = self.hook_name
        return made

    def token_starts(self, sequence: bytes) -> NDArray[np.bool_]:
        """See `GeneLM`."""
        return self._tokens(sequence).starts

    @torch.no_grad()  # not inference_mode, whose tensors nothing can be trained on
    def activations(self, sequence: bytes) -> torch.Tensor:
        """See `GeneLM`.

        A sequence of more tokens than the model reads at once is read in chunks of that many tokens. The last chunk
        ends at the end of the sequence, and a token of two chunks is taken from the first.
        """
        check_length(self, sequence)
        tokens = self._tokens(sequence)
        rows = torch.empty(len(tokens.ids), self.d_model)
        for start in range(0, len(rows), self._limit):
            first = max(min(start, len(rows) - self._limit), 0)
            rows[start : first + self._limit] = self._read(tokens.ids[first : first + self._limit])[start - first :]
        return rows[torch.from_numpy(tokens.of_base)]

    def _read(self, ids: NDArray[np.int64]) -> torch.Tensor:
        """Return (t, d_model) fp32 on the CPU: the activations of t tokens, read between the special ones."""
        rows = self._tap.read(self.model, self._inputs(ids))
        before = len(self.tokenizer.before)
        return rows[before : before + len(ids)].float().cpu()

    def _inputs(self, ids: NDArray[np.int64]) -> Inputs:
        self._check_ids(int(ids.max()))
        whole = torch.tensor([[*self.tokenizer.before, *ids.tolist(), *self.tokenizer.after]], device=self.model.device)
        return {"input_ids": whole} | ({"attention_mask": torch.ones_like(whole)} if self._mask else {})

    def _check_ids(self, largest: int) -> None:
        """Refuse a token without a row in the model's embedding."""
        if self._embeddings is not None and largest >= self._embeddings:
            raise SaeTracksError(
                f"{self.model_id}: its tokenizer gives DNA the token {largest}, and the model knows tokens 0 to "
                f"{self._embeddings - 1}: the tokenizer belongs to another model"
            )

    def _probe(self, text: str) -> Tokens:
        """Return the first tokens of a text, as many as the model reads at once."""
        tokens = self.tokenizer.encode(text.encode())
        return Tokens(tokens.ids[: self._limit], tokens.lengths[: self._limit])

    def _measure_causal(self) -> bool:
        """Whether the activations of the first half of a sequence do not depend on its second half."""
        text = PROBE[: min(PROBE_BASES, self.max_length)]
        half = len(text) // 2
        one, other = self._probe(text), self._probe(text[:half] + complement(text[half:].encode()).decode())
        same = 0
        while same < min(len(one.ids), len(other.ids)) and one.ids[same] == other.ids[same]:
            same += 1
        if same in (0, len(one.ids), len(other.ids)):
            return False  # too short to tell
        a, b = self._read(one.ids)[:same], self._read(other.ids)[:same]
        return bool((a - b).abs().max() <= 1e-5 * a.abs().max())


def token_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the number of tokens that a model reads at once, with the special ones, by configuration and tokenizer.

    Models whose positions begin behind the padding token's (ESM, RoBERTa) read that many fewer.
    """
    named = {name: getattr(model.config, name, None) for name in LIMITS}
    limits = [value for value in named.values() if isinstance(value, int) and value > 0]
    tables = [m for path, m in model.named_modules() if path.endswith("position_embeddings")]
    for table in tables:
        if isinstance(table, torch.nn.Embedding) and table.padding_idx is not None:
            limits.append(table.num_embeddings - table.padding_idx - 1)
    if 0 < tokenizer.model_max_length < SANE:
        limits.append(int(tokenizer.model_max_length))
    return min(limits, default=DEFAULT_TOKENS)


def _embeddings(model: PreTrainedModel) -> int | None:
    """Return the rows of the token embedding, or None if the model does not show it."""
    try:
        table = model.get_input_embeddings()
    except (NotImplementedError, AttributeError):  # of models with code of their own
        return None
    return table.num_embeddings if isinstance(table, nn.Embedding) else None


def _takes(model: PreTrainedModel, argument: str) -> bool:
    parameters = inspect.signature(model.forward).parameters
    return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


class _Enough(Exception):
    """Ends a forward pass behind the module whose output is read."""


@dataclass(frozen=True, slots=True)
class Tap:
    """A place in a model where activations are taken."""

    layer: int | None  # 1-based: hidden_states[layer]; None if a module was named
    # Path of the module whose output is read, or "hidden_states[layer]" if no block has that output: the last hidden
    # state of many models is the output of their final norm.
    hook_name: str

    def read(self, model: nn.Module, inputs: Inputs) -> torch.Tensor:
        """Return (t, d_model) activations of a sequence of t tokens. Modules after the one that is read do not run."""
        if self.layer is not None and self.hook_name.startswith("hidden_states["):
            found = hidden_states(model, inputs)[self.layer]
        else:
            found = _output(model, self.hook_name, inputs)
        tokens = inputs["input_ids"].shape[1]
        if found is None or found.shape[:-1] not in ((1, tokens), (tokens,)):  # some models leave out the batch
            shape = "nothing" if found is None else tuple(found.shape)
            raise SaeTracksError(f"{self.hook_name} gives {shape}; (1, {tokens}, d) is what can be read")
        return found.reshape(tokens, -1)


def find_tap(model: nn.Module, inputs: Inputs, layer: int | None, hook: str | None, name: str) -> Tap:
    """Find the place of a layer or of a named module; the inputs are a short sequence to try the model on.

    The path of a module may begin with the name of the body in a model with a head: ``esm.encoder.layer.2``. The error
    for a missing layer or module lists the existing ones.
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
    """Return tensors of (1, t, d); none if the model does not give them."""
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
    existing = f"0 to {len(children) - 1}" if children and children[0] == "0" else ", ".join(children) or "nothing"
    raise SaeTracksError(f"no module {hook!r} in {name}: {parent or 'the model'} has {existing}")


def _block_of(model: nn.Module, inputs: Inputs, state: torch.Tensor) -> str | None:
    """Return the path of the first block (a member of a ModuleList) whose output is `state`, bit for bit."""
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
    """Return the output of a module at its first call; the forward pass ends there."""
    found: list[torch.Tensor | None] = []

    def take(output: torch.Tensor | None) -> None:
        found.append(output)
        raise _Enough

    with _hooked(model.get_submodule(path), take), suppress(_Enough):
        model(**inputs)
    return found[0] if found else None


@contextmanager
def _hooked(module: nn.Module, call: Callable[[torch.Tensor | None], None]) -> Iterator[None]:
    """Call a function with the module's output (the first tensor of a tuple) whenever the module runs."""

    def forwarded(_module: nn.Module, _inputs: Any, output: Any) -> None:
        parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple) else [output]
        call(next((part for part in parts if isinstance(part, torch.Tensor)), None))

    handle = module.register_forward_hook(forwarded)
    try:
        yield
    finally:
        handle.remove()
