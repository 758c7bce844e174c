"""What the rest of the project needs of a gene language model."""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError


@runtime_checkable
class GeneLM(Protocol):
    """A frozen gene language model, read at one layer.

    Attributes
    ----------
    model_id : str
        Hub id, absolute path of a local folder, or ``NAME:ARG`` of a plug-in: what `load_lm` finds it again by.
    revision : str or None
        Commit of the hub repository, None for a local folder.
    checksum : str
        SHA-256 over the weights (names, shapes and bytes).
    architecture : str
        transformers' ``model_type``.
    layer : int or None
        1-based block whose output residual stream is read = ``hidden_states[layer]``; None where a module was named.
    hook_name : str
        Module path of that block, or of the module that was named.
    d_model : int
        Width of the activations.
    max_length : int
        The longest window, in bases.
    causal : bool
        True where the activation at a base depends on no base behind the token that covers it: the context of a window
        then lies in front of what is kept, else on both sides.
    """

    model_id: str
    revision: str | None
    checksum: str
    architecture: str
    layer: int | None
    hook_name: str
    d_model: int
    max_length: int
    causal: bool

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
        """Where the tokens of a sequence begin; training takes one row a token.

        Parameters
        ----------
        sequence : bytes
            As for `activations`.

        Returns
        -------
        (n,) bool
            True on the first base of each token; all True where a token is a base.
        """
        ...


def check_length(lm: GeneLM, sequence: bytes) -> None:
    """Refuse an empty sequence and one that is longer than the model reads at once."""
    if not 1 <= len(sequence) <= lm.max_length:
        raise SaeTracksError(f"{len(sequence):,} bases; {lm.model_id} reads 1 to {lm.max_length:,} at once")


def describe(lm: GeneLM) -> dict[str, str | int | None]:
    """The facts by which a model is known again: kept in manifests, SAE metadata and provenance."""
    return {
        "model": lm.model_id,
        "revision": lm.revision,
        "weights_sha256": lm.checksum,
        "architecture": lm.architecture,
        "layer": lm.layer,
        "hook_name": lm.hook_name,
        "d_model": lm.d_model,
    }


def place(lm: GeneLM) -> str:
    """Where a model is read, by every name that it goes by."""
    if lm.layer is None:
        return f"the output of {lm.hook_name}"
    state = f"hidden_states[{lm.layer}]"
    return f"layer {lm.layer}: {state}" + (f", the output of {lm.hook_name}" if lm.hook_name != state else "")
