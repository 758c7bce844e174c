"""What the rest of the project needs of a gene language model."""

from typing import Protocol, runtime_checkable

import torch


@runtime_checkable
class GeneLM(Protocol):
    """A frozen gene language model, read at one layer.

    Attributes
    ----------
    model_id : str
        Hub id or local folder name.
    revision : str or None
        Commit of the hub repository, None for a local folder.
    checksum : str
        SHA-256 over the weights (names, shapes and bytes).
    architecture : str
        transformers' ``model_type``.
    layer : int
        1-based block whose output residual stream is read = ``hidden_states[layer]``.
    hook_name : str
        Module path of that block.
    d_model : int
        Width of the activations.
    max_length : int
        The longest window, in bases.
    """

    model_id: str
    revision: str | None
    checksum: str
    architecture: str
    layer: int
    hook_name: str
    d_model: int
    max_length: int

    def activations(self, sequence: bytes) -> torch.Tensor:
        """Activations of every base of one sequence, read left to right.

        Parameters
        ----------
        sequence : bytes
            n upper-case letters, 1 <= n <= `max_length`.

        Returns
        -------
        (n, d_model) float32, on the CPU
            Row i is the activation at base i; in a causal model it depends on bases 0..i alone.
        """
        ...


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
