"""Any gene language model that transformers can open, read at one layer."""

import inspect
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sae_tracks.dna import complement
from sae_tracks.lm.protocol import check_length
from sae_tracks.lm.reader import weights_checksum
from sae_tracks.lm.spans import PROBE, DNATokenizer, Tokens
from sae_tracks.lm.tap import find_tap

DEFAULT_TOKENS = 8192  # read at once where neither the configuration nor the tokenizer names a limit
SANE = 1 << 40  # a tokenizer without a limit says 1e30
LIMITS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")
PROBE_BASES = 96


class AutoReader:
    """A transformers model at one layer, as a `GeneLM`: every base gets the activation of the token that covers it.

    Parameters
    ----------
    model : PreTrainedModel
        fp32, on its device; a base model or one with a head.
    tokenizer : PreTrainedTokenizerBase
        Its tokenizer.
    layer : int, optional
        1-based: ``hidden_states[layer]``.
    hook : str, optional
        Instead of a layer, the path of the module whose output is read; of a tuple the first tensor.
    model_id, revision : str
        Where the model came from.

    Raises
    ------
    SaeTracksError
        No such layer or module, or a tokenizer that does not read DNA.
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
        self._mask = "attention_mask" in tokenizer.model_input_names and _takes(model, "attention_mask")
        self._piece = max(token_limit(model, tokenizer) - self.tokenizer.around, 1)
        self.max_length = max(int(self._piece * self.tokenizer.bases_per_token), 1)
        self._tokens = lru_cache(maxsize=4)(self.tokenizer.encode)
        with torch.no_grad():
            probe = self._inputs(self._probe(PROBE[:PROBE_BASES]).ids)
            self._tap = find_tap(self.model, probe, layer, hook, model_id)
            self.layer, self.hook_name = self._tap.layer, self._tap.hook_name
            self.d_model = self._tap.read(self.model, probe).shape[1]
            self.causal = self._measure_causal()

    def token_starts(self, sequence: bytes) -> NDArray[np.bool_]:
        """See `GeneLM.token_starts`."""
        return self._tokens(sequence).starts

    @torch.no_grad()  # not inference_mode, whose tensors nothing can be trained on
    def activations(self, sequence: bytes) -> torch.Tensor:
        """See `GeneLM.activations`.

        A sequence of more tokens than the model reads at once is read in pieces of that many; the last ends at the
        end, and a token that two pieces hold is taken from the first.
        """
        check_length(self, sequence)
        tokens = self._tokens(sequence)
        rows = torch.empty(len(tokens.ids), self.d_model)
        for start in range(0, len(rows), self._piece):
            first = max(min(start, len(rows) - self._piece), 0)
            rows[start : first + self._piece] = self._read(tokens.ids[first : first + self._piece])[start - first :]
        return rows[torch.from_numpy(tokens.of_base)]

    def _read(self, ids: NDArray[np.int64]) -> torch.Tensor:
        """(t, d_model) fp32 on the CPU: the activations of t tokens, read between the special ones."""
        rows = self._tap.read(self.model, self._inputs(ids))
        before = len(self.tokenizer.before)
        return rows[before : before + len(ids)].float().cpu()

    def _inputs(self, ids: NDArray[np.int64]) -> Mapping[str, torch.Tensor]:
        whole = torch.tensor([[*self.tokenizer.before, *ids.tolist(), *self.tokenizer.after]], device=self.model.device)
        return {"input_ids": whole} | ({"attention_mask": torch.ones_like(whole)} if self._mask else {})

    def _probe(self, text: str) -> Tokens:
        """As many of its tokens as the model reads at once."""
        tokens = self.tokenizer.encode(text.encode())
        return Tokens(tokens.ids[: self._piece], tokens.lengths[: self._piece])

    def _measure_causal(self) -> bool:
        """Whether the second half of a sequence leaves the activations of the first half alone."""
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
    """Tokens that a model reads at once, special ones among them, by its configuration and its tokenizer.

    Models that count positions from behind the padding token's (ESM, RoBERTa) have that many fewer.
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


def _takes(model: PreTrainedModel, argument: str) -> bool:
    parameters = inspect.signature(model.forward).parameters
    return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
