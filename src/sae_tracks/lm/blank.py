"""The same language model without what it has learned: the control that tells training from architecture."""

import copy
from typing import Literal

import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.auto import AutoReader
from sae_tracks.lm.protocol import GeneLM
from sae_tracks.lm.reader import HyenaDNAReader

Kind = Literal["random", "permuted"]


def untrained(lm: GeneLM, kind: Kind, seed: int) -> GeneLM:
    """A copy of a language model that has learned nothing, to be read at the same place.

    Parameters
    ----------
    lm : GeneLM
        HyenaDNA or a transformers model; it stays as it is.
    kind : "random" or "permuted"
        Weights as a new model of this configuration has them, or the trained ones in random order within each tensor,
        which keeps their sizes and takes away what they say together.
    seed : int

    Raises
    ------
    SaeTracksError
        The model comes from a plug-in, which does not say how to make a new one.
    """
    if not isinstance(lm, HyenaDNAReader | AutoReader):
        raise SaeTracksError(f"{lm.model_id} comes from a plug-in: how to make it without training is not known")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _new(lm.model) if kind == "random" else _permuted(lm.model)
    name = f"{lm.model_id} ({kind} weights, seed {seed})"
    if isinstance(lm, HyenaDNAReader):
        return HyenaDNAReader(model, lm.layer, name)
    where = {"layer": lm.layer} if lm.layer is not None else {"hook": lm.hook_name}
    return AutoReader(model, lm.tokenizer.tokenizer, **where, model_id=name)


def _new(model: torch.nn.Module) -> torch.nn.Module:
    return type(model)(copy.deepcopy(model.config)).to(model.device)


def _permuted(model: torch.nn.Module) -> torch.nn.Module:
    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            order = torch.randperm(parameter.numel()).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return model
