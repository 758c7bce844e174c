"""Bases as token ids, and the tokenizer that transformers users expect."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizer

TOKENS = ("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]", "A", "C", "G", "T", "N")
UNKNOWN = TOKENS.index("[UNK]")
SPECIAL_TOKENS = 2  # counted in max_seq_len: 32,770 tokens are 32,768 bases
BASES = tuple(TOKENS.index(base) for base in "ACGT")

_TABLE = np.full(256, UNKNOWN, np.int64)
for _base in "ACGTN":
    _TABLE[ord(_base)] = TOKENS.index(_base)


def base_tokens(sequence: bytes) -> NDArray[np.int64]:
    """Return (n,) token ids of upper-case bases; letters other than A, C, G, T, N become ``[UNK]``.

    No ``[SEP]`` is added, because the model is causal: a trailing token changes nothing before it.
    """
    return _TABLE[np.frombuffer(sequence, np.uint8)]


class HyenaDNATokenizer(PreTrainedTokenizer):
    """One token per letter, upper case only, one trailing ``[SEP]`` and no leading token, as HyenaDNA was trained.

    ``model_max_length`` is the longest sequence in tokens.
    """

    model_input_names = ["input_ids"]  # noqa: RUF012 (transformers changes neither)
    vocab_files_names = {"vocab_file": "vocab.json"}  # noqa: RUF012 (transformers reads a plain dict)

    def __init__(self, vocab_file=None, model_max_length=32770, **kwargs):
        self._ids = {token: i for i, token in enumerate(TOKENS)}
        defaults = {
            "bos_token": "[BOS]",
            "eos_token": "[SEP]",
            "sep_token": "[SEP]",
            "cls_token": "[CLS]",
            "pad_token": "[PAD]",
            "mask_token": "[MASK]",
            "unk_token": "[UNK]",
        }
        kwargs.setdefault("padding_side", "left")
        super().__init__(model_max_length=model_max_length, **{**defaults, **kwargs})

    @property
    def vocab_size(self) -> int:
        return len(TOKENS)

    def get_vocab(self) -> dict[str, int]:
        return dict(self._ids)

    def _tokenize(self, text: str, **kwargs) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, UNKNOWN)

    def _convert_id_to_token(self, index: int) -> str:
        return TOKENS[index] if index < len(TOKENS) else TOKENS[UNKNOWN]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
        sep = [self.sep_token_id]
        return token_ids_0 + sep + (token_ids_1 + sep if token_ids_1 is not None else [])

    def get_special_tokens_mask(self, token_ids_0, token_ids_1=None, already_has_special_tokens=False):
        if already_has_special_tokens:
            return super().get_special_tokens_mask(token_ids_0, token_ids_1, already_has_special_tokens=True)
        return [0] * len(token_ids_0) + [1] + ([0] * len(token_ids_1) + [1] if token_ids_1 is not None else [])

    def save_vocabulary(self, save_directory, filename_prefix=None) -> tuple[str]:
        path = Path(save_directory) / f"{filename_prefix + '-' if filename_prefix else ''}vocab.json"
        path.write_text(json.dumps(self._ids))
        return (str(path),)
