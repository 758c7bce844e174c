"""Untrained copies of a language model: a control that separates training from architecture."""

import copy
from typing import Literal, TypeVar

import torch
from transformers import PreTrainedModel

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.auto import AutoReader
from sae_tracks.lm.inference import HyenaDNAReader
from sae_tracks.lm.protocol import GeneLM

Kind = Literal["random", "permuted"]
Model = TypeVar("Model", bound=PreTrainedModel)


def untrained(lm: GeneLM, kind: Kind, seed: int) -> GeneLM:
    """Return a copy of a language model that has learned nothing, to be read at the same place.

    ``random`` are the weights of a new model of this configuration. ``permuted`` are the trained weights in random
    order within each tensor: their values stay, their structure goes. The copy's `model_id` names the kind and the
    seed. A model of a plug-in is an error.
    """
    lm = check_can_be_untrained(lm)
    change = _new if kind == "random" else _permuted
    name = f"{lm.model_id} ({kind} weights, seed {seed})"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(lm, HyenaDNAReader):
            return HyenaDNAReader(change(lm.model), lm.layer, name)
        hook = lm.hook_name if lm.layer is None else None
        return AutoReader(change(lm.model), lm.tokenizer.tokenizer, lm.layer, hook, model_id=name)


def check_can_be_untrained(lm: GeneLM) -> HyenaDNAReader | AutoReader:
    """Return the language model if `untrained` can copy it; a model of a plug-in is an error. No copy is made."""
    if not isinstance(lm, HyenaDNAReader | AutoReader):
        raise SaeTracksError(f"{lm.model_id} comes from a plug-in, which has no way to make an untrained copy")
    return lm


def _new(model: Model) -> Model:
    made = type(model)(copy.deepcopy(model.config))
    torch.nn.Module.to(made, model.device)
    return made


def _permuted(model: Model) -> Model:
    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            order = torch.randperm(parameter.numel()).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return model
