"""Models that say something of every base themselves, and what they say if their activations are replaced."""

from typing import Protocol, runtime_checkable

import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.protocol import GeneLM

SUM_TOLERANCE = 1e-3  # of the probabilities of a base


@runtime_checkable
class OffersOutputs(GeneLM, Protocol):
    """A `GeneLM` that gives each base a probability per class. A plug-in may do without these members.

    With them, ``sae-tracks evaluate`` measures how well the model's own outputs survive an SAE.
    """

    @property
    def output_names(self) -> tuple[str, ...]:
        """The k classes, at least two."""
        ...

    def outputs(self, sequence: bytes, activations: torch.Tensor | None = None) -> torch.Tensor:
        """Return what the model says of every base of one sequence, read left to right.

        Parameters
        ----------
        sequence : bytes
            n upper-case letters, as for `GeneLM.activations`.
        activations : (n, d_model) float32, optional
            These replace the activations at the place where the model is read, and the rest of the model goes on from
            them. With those that `GeneLM.activations` returns, nothing changes.

        Returns
        -------
        (n, k) float32, on the CPU
            Log probabilities. Those of a base sum to 1 as probabilities.
        """
        ...


def read_outputs(lm: OffersOutputs, sequence: bytes, activations: torch.Tensor | None = None) -> torch.Tensor:
    """Return `OffersOutputs.outputs` as (n, k) float64, or refuse what are no log probabilities of every base."""
    found, wanted = lm.outputs(sequence, activations), (len(sequence), len(lm.output_names))
    if tuple(found.shape) != wanted:
        raise SaeTracksError(f"{lm.model_id}: the outputs have the shape {tuple(found.shape)}, expected {wanted}")
    found = found.double()
    if not torch.isfinite(found).all():
        raise SaeTracksError(f"{lm.model_id}: the outputs are not finite; they should be log probabilities")
    if not (found.logsumexp(1).abs() < SUM_TOLERANCE).all():
        raise SaeTracksError(f"{lm.model_id}: the outputs are no log probabilities: those of a base do not sum to 1")
    return found
