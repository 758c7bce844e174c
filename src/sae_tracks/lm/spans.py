"""DNA as a model's tokens, and the bases that each token covers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBE = "".join(np.random.default_rng(0).choice(list("ACGT"), 5040))  # 5,040 is a multiple of every k up to 10
MARKS = re.compile("^(?:##|\N{LOWER ONE EIGHTH BLOCK}|\u0120)")  # at the start of a token; they cover no base
DNA = re.compile("[ACGTNacgtn]+")
_LETTERS = np.full(256, ord("N"), np.uint8)
for _base in b"ACGT":
    _LETTERS[_base] = _base


@dataclass(frozen=True, slots=True)
class Tokens:
    """A sequence of n bases as t tokens, without the special ones that a tokenizer puts around it."""

    ids: NDArray[np.int64]  # (t,)
    lengths: NDArray[np.int64]  # (t,) bases that each token covers; their sum is n, and a token may cover none

    @property
    def of_base(self) -> NDArray[np.int64]:
        """(n,) int64: index of the token that covers each base."""
        return np.repeat(np.arange(len(self.ids)), self.lengths)

    @property
    def starts(self) -> NDArray[np.bool_]:
        """(n,) bool: True on the base at which a token begins."""
        return np.diff(self.of_base, prepend=-1) > 0


class DNATokenizer:
    """A transformers tokenizer, fast or slow, for DNA alone.

    Letters other than A, C, G and T are read as N. If the tokenizer has no N, each is read as one unknown (else mask)
    token, and no token reaches over it. The tokens of a slow tokenizer must be the letters that they cover. An unknown
    token at the end covers the remaining bases (GENERator has no token for fewer than six bases). A tokenizer that does
    not split DNA into tokens that cover each base once is refused. `name` is the model's, for errors.

    ``before`` and ``after`` are the special tokens in front of a sequence and behind it. ``largest_id`` is the largest
    id among them and the tokens for DNA. ``bases_per_token`` is a mean over fixed pseudo-random DNA: 6 for 6-mers, 1 if
    each token is one base.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", name: str) -> None:
        self.tokenizer, self.name = tokenizer, name
        if not self._knows(PROBE):
            raise SaeTracksError(f"{name}: its tokenizer {self._trouble()}")
        self.before, self.after = self._special()
        self.bases_per_token = len(PROBE) / len(self._encode(PROBE).ids)
        self._in_place_of_n = None if self._knows("N") and self._knows("ANA") else self._unknown()
        others = [*self.before, *self.after, self._in_place_of_n or 0]
        words = self.tokenizer.get_vocab().items()
        self.largest_id = max(others + [index for word, index in words if DNA.fullmatch(MARKS.sub("", word))])

    @property
    def around(self) -> int:
        """Number of special tokens that the tokenizer adds to a sequence."""
        return len(self.before) + len(self.after)

    def encode(self, sequence: bytes) -> Tokens:
        """Return the tokens of n >= 1 letters, in any case, IUPAC codes included."""
        text = _LETTERS[np.frombuffer(sequence.upper(), np.uint8)].tobytes().decode()
        if self._in_place_of_n is None:
            return self._encode(text)
        runs = re.findall("N+|[^N]+", text)
        parts = [self._unread(len(run)) if run[0] == "N" else self._encode(run) for run in runs]
        return Tokens(np.concatenate([p.ids for p in parts]), np.concatenate([p.lengths for p in parts]))

    def _unread(self, n: int) -> Tokens:
        return Tokens(np.full(n, self._in_place_of_n), np.ones(n, np.int64))

    def _encode(self, text: str) -> Tokens:
        ids, spans = self._spans(text)
        lengths = _lengths(spans, len(text))
        if lengths is None:
            raise SaeTracksError(f"{self.name}: the tokens of {text[:20]}... do not cover each of its bases once")
        return Tokens(np.array(ids, np.int64), lengths)

    def _spans(self, text: str) -> tuple[list[int], Sequence[tuple[int, int]]]:
        """Return token ids, and the letters (start, end) that each token covers."""
        if self.tokenizer.is_fast:
            out = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            return out["input_ids"], out["offset_mapping"]
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        words = [MARKS.sub("", word) for word in self.tokenizer.convert_ids_to_tokens(ids)]
        if ids and ids[-1] == self.tokenizer.unk_token_id:  # k-mers only: the bases that are left at the end
            words[-1] = text[sum(map(len, words[:-1])) :]
        if "".join(words).upper() != text:
            return ids, []
        ends = np.cumsum([len(word) for word in words]).tolist()
        return ids, list(zip([0, *ends], ends))

    def _knows(self, text: str) -> bool:
        try:
            ids, spans = self._spans(text)
        except Exception:  # a letter without a token, and no unknown token
            return False
        return self.tokenizer.unk_token_id not in ids and _lengths(spans, len(text)) is not None

    def _trouble(self) -> str:
        """Say why the tokenizer does not read the probe."""
        missing = [base for base in "ACGT" if not self._knows(base)]
        if 0 < len(missing) < 4:
            return f"has no {missing[0]}: is it a DNA model?"
        return (
            "does not split plain DNA into tokens that cover each base once; "
            "a model with tokens of another kind needs a plug-in (docs/models.md)"
        )

    def _unknown(self) -> int:
        for index in (self.tokenizer.unk_token_id, self.tokenizer.mask_token_id):
            if isinstance(index, int):
                return index
        raise SaeTracksError(f"{self.name}: its tokenizer has neither N nor an unknown or mask token to read it as")

    def _special(self) -> tuple[list[int], list[int]]:
        """Return the special tokens in front of a sequence and behind it."""
        text = PROBE[:60]
        alone = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        whole = self.tokenizer(text)["input_ids"]
        for start in range(len(whole) - len(alone) + 1):
            if whole[start : start + len(alone)] == alone:
                return whole[:start], whole[start + len(alone) :]
        raise SaeTracksError(f"{self.name}: its tokenizer gives a sequence other tokens when it adds special ones")


def _lengths(spans: Sequence[tuple[int, int]], n: int) -> NDArray[np.int64] | None:
    """Return (t,) bases per token, or None if the spans with bases do not cover 0 to n one after the other."""
    starts, ends = np.array(spans, np.int64).reshape(-1, 2).T
    covering = ends > starts
    borders = np.concatenate(([0], ends[covering]))
    whole = np.array_equal(borders[:-1], starts[covering]) and borders[-1] == n
    return np.maximum(ends - starts, 0) if whole else None
