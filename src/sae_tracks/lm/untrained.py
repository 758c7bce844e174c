"""Language models that have learned nothing: a control that separates training from architecture."""

import copy
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, runtime_checkable

import torch

from sae_tracks.errors import SaeTracksError, first_line
from sae_tracks.lm.protocol import GeneLM

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Kind = Literal["random", "permuted"]
Model = TypeVar("Model", bound="PreTrainedModel")


@runtime_checkable
class OffersUntrained(Protocol):
    """A `GeneLM` that can make copies of itself that have learned nothing. A plug-in may do without this method."""

    def untrained(self, kind: Kind, seed: int) -> GeneLM:
        """Return a copy without what was learned, to be read at the same place.

        Parameters
        ----------
        kind : "random" or "permuted"
            ``random``: the weights of a new model of this configuration. ``permuted``: the trained weights in random
            order within each tensor, so that their values stay and their structure goes.
        seed : int
            The same seed gives the same copy, and the caller's random numbers stay as they are.

        Returns
        -------
        GeneLM
            With a checksum of its own. Its `model_id` should name the kind and the seed.
        """
        ...


def check_can_be_untrained(lm: GeneLM) -> OffersUntrained:
    """Return the language model if it can make untrained copies of itself, else raise an error. No copy is made."""
    if not isinstance(lm, OffersUntrained):
        raise SaeTracksError(
            f"{lm.model_id} offers no untrained(): leave out --controls untrained (verdicts stay not-tested), or add "
            "the method, see docs/models.md"
        )
    return lm


def untrained_id(lm: GeneLM, kind: Kind, seed: int) -> str:
    """The name of an untrained copy."""
    return f"{lm.model_id} ({kind} weights, seed {seed})"


def without_learning(model: Model, kind: Kind, seed: int) -> Model:
    """Return a model of transformers with new or with permuted weights, fp32, on the same device.

    See `OffersUntrained.untrained`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _new(model) if kind == "random" else _permuted(model)


def _new(model: Model) -> Model:
    """A model of the same configuration. It is initialised as its class does that."""
    try:
        made = type(model)(copy.deepcopy(model.config))
    except Exception as error:  # of models with code of their own
        name, why = type(model).__name__, first_line(error)
        raise SaeTracksError(f"no new {name} can be made from its configuration: {why}") from error
    torch.nn.Module.to(made, device=model.device, dtype=torch.float32)
    return made


def _permuted(model: Model) -> Model:
    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            order = torch.randperm(parameter.numel()).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return model
