"""The interface of a gene language model for the rest of the project."""

import hashlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError, UsageError, first_line


@runtime_checkable
class GeneLM(Protocol):
    """A frozen gene language model, read at one layer. A plug-in may use plain attributes for the properties."""

    @property
    def model_id(self) -> str:
        """Hub id, absolute path of a local folder, or ``NAME:ARG`` of a plug-in: `load_lm` opens the model by it."""
        ...

    @property
    def revision(self) -> str | None:
        """Commit of the hub repository, None for a local folder."""
        ...

    @property
    def checksum(self) -> str:
        """SHA-256 over the weights (names, shapes and bytes)."""
        ...

    @property
    def architecture(self) -> str:
        """transformers' ``model_type``."""
        ...

    @property
    def layer(self) -> int | None:
        """1-based block whose output is read = ``hidden_states[layer]``; None if a module was named instead."""
        ...

    @property
    def hook_name(self) -> str:
        """Module path of that block, or of the module that was named."""
        ...

    @property
    def d_model(self) -> int:
        """Width of the activations."""
        ...

    @property
    def max_length(self) -> int:
        """The longest window in bases."""
        ...

    @property
    def causal(self) -> bool:
        """True if the activation at a base depends on no base behind the token that covers it.

        The context of a window then lies in front of the bases that are kept, except up to 64 bases behind them if
        tokens are longer than one base. Otherwise it lies on both sides.
        """
        ...

    def activations(self, sequence: bytes) -> torch.Tensor:
        """Activations of every base of one sequence, read left to right.

        Parameters
        ----------
        sequence : bytes
            n upper-case letters, 1 <= n <= `max_length`.

        Returns
        -------
        (n, d_model) float32, on the CPU
            Row i is the activation of the token that covers base i.
        """
        ...

    def token_starts(self, sequence: bytes) -> NDArray[np.bool_]:
        """Where the tokens of a sequence begin. Training takes one row per token.

        Parameters
        ----------
        sequence : bytes
            As for `activations`.

        Returns
        -------
        (n,) bool
            True on the first base of each token: everywhere if each token is one base.
        """
        ...


@runtime_checkable
class OffersBatches(Protocol):
    """A `GeneLM` that reads several short sequences faster together than one by one. A plug-in may do without."""

    def activations_of(self, sequences: Sequence[bytes]) -> list[torch.Tensor]:
        """Return `GeneLM.activations` of each sequence, the same bits as one by one; windows are read by this alone."""
        ...


class Edits(Protocol):
    """A sequence that was read, and changed copies of it."""

    activations: torch.Tensor  # (n, d_model) float32 of the sequence itself

    def read(self, starts: NDArray[np.int64], letters: NDArray[np.uint8], before: int = 0) -> torch.Tensor:
        """Activations of copies of the sequence in which some consecutive bases are replaced.

        Parameters
        ----------
        starts : (m,) int64
            First replaced base of each copy, counted from the start of the sequence.
        letters : (m, s) uint8
            Upper-case letters that replace the bases ``starts[j]:starts[j] + s`` of copy j, none of them behind the
            sequence's end. Those that are the same as before change nothing.
        before : int
            Also return the activations of so many bases before the first replaced one.

        Returns
        -------
        (m, before + s, d_model) float32, on the CPU
            Activations of the bases ``starts[j] - before:starts[j] + s``. They are exactly those of the sequence, bit
            for bit, where a causal model has read no changed base yet.
        """
        ...


@runtime_checkable
class OffersEdits(Protocol):
    """A causal `GeneLM` that reads changed copies of a sequence only from the change on. A plug-in may do without."""

    def begin(self, sequence: bytes) -> Edits:
        """Read a sequence, and keep what its copies share with it."""
        ...


MEMBERS = tuple(name for name in vars(GeneLM) if not name.startswith("_"))


def check_length(lm: GeneLM, sequence: bytes) -> None:
    """Refuse an empty sequence, and one that is longer than the model reads at once."""
    if not 1 <= len(sequence) <= lm.max_length:
        raise SaeTracksError(f"{len(sequence):,} bases; {lm.model_id} reads 1 to {lm.max_length:,} at once")


def checked_rows(lm: GeneLM, sequence: bytes) -> tuple[torch.Tensor, NDArray[np.bool_]]:
    """Return `GeneLM.activations` and `GeneLM.token_starts`, or refuse them if they are not what `GeneLM` says.

    If the model fails, the error says so in one line.
    """
    return checked_batch(lm, [sequence])[0]


def checked_batch(lm: GeneLM, sequences: Sequence[bytes]) -> list[tuple[torch.Tensor, NDArray[np.bool_]]]:
    """As `checked_rows`, of each of several sequences."""
    try:
        together = isinstance(lm, OffersBatches)
        rows = lm.activations_of(sequences) if together else [lm.activations(sequence) for sequence in sequences]
        found = [(one, lm.token_starts(sequence)) for one, sequence in zip(rows, sequences, strict=True)]
    except (SaeTracksError, OSError, MemoryError):
        raise
    except Exception as error:  # perhaps of code that is not ours
        many = f"{len(sequences)} sequences of up to " if len(sequences) > 1 else ""
        bases = max(map(len, sequences))
        raise SaeTracksError(f"{lm.model_id} cannot read {many}{bases:,} bases: {first_line(error)}") from error
    for sequence, arrays in zip(sequences, found):
        _check_form(lm, len(sequence), arrays)
    return found


def _check_form(lm: GeneLM, n: int, arrays: tuple[torch.Tensor, NDArray[np.bool_]]) -> None:
    expected = torch.empty(n, lm.d_model, dtype=torch.float32, device="meta"), np.empty(n, bool)
    for name, array, wanted in zip(("activations", "token_starts"), arrays, map(_form, expected), strict=True):
        if _form(array) != wanted:
            raise SaeTracksError(f"{lm.model_id}: {name} of {n:,} bases are {_form(array)}, expected {wanted}")


def _form(array: object) -> str:
    """Kind, type and shape of a tensor or an array, as text."""
    if not isinstance(array, torch.Tensor | np.ndarray):
        return f"a {type(array).__name__}"
    kind = "a tensor" if isinstance(array, torch.Tensor) else "an array"
    return f"{kind} of {str(array.dtype).removeprefix('torch.')} {tuple(array.shape)}"


def describe(lm: GeneLM) -> dict[str, str | int | None]:
    """Return the facts that identify a model and its layer, as manifests, SAE metadata and provenance keep them."""
    return {
        "model": lm.model_id,
        "revision": lm.revision,
        "weights_sha256": lm.checksum,
        "architecture": lm.architecture,
        "layer": lm.layer,
        "hook_name": lm.hook_name,
        "d_model": lm.d_model,
    }


def check_one_place(layer: int | None, hook: str | None) -> None:
    """Refuse a layer and a hook together."""
    if layer is not None and hook is not None:
        raise UsageError("--layer and --hook both say where to read: give one of them")


def place(layer: int | None, hook_name: str | None) -> str:
    """Say in which layer or at which module a model is read, by all names of that place."""
    if layer is None:
        return f"the output of {hook_name}"
    state = f"hidden_states[{layer}]"
    return f"layer {layer}: {state}" + (f", the output of {hook_name}" if hook_name not in (None, state) else "")


def weights_checksum(model: torch.nn.Module) -> str:
    """SHA-256 over names, shapes and fp32 bytes of the parameters, whatever file they came from."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name} {tuple(parameter.shape)}\n".encode())
        digest.update(parameter.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
