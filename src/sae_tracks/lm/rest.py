"""The rest of a model: from the activations at which it is read, as they are or changed, to what the model predicts."""

from typing import Protocol

import torch

from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.auto import AutoReader
from sae_tracks.lm.inference import HyenaDNAReader
from sae_tracks.lm.outputs import OffersOutputs, read_outputs
from sae_tracks.lm.protocol import GeneLM

HEADLESS = ("Classification", "Model")  # ends of the names of transformers' classes without a language-model head


class Rest(Protocol):
    """The rest of a model, after the place where it is read."""

    names: tuple[str, ...]  # the k classes that are predicted
    next_base: bool  # what is predicted at a base is the base after it; else something of the base itself

    def __call__(self, sequence: bytes, activations: torch.Tensor) -> torch.Tensor:
        """Return (b, n, k) float32 log probabilities on the CPU, from (b, n, d_model) activations of one sequence."""
        ...


class NextBase:
    """The rest of a HyenaDNA. It sees the sequence through the activations alone."""

    names, next_base = tuple(NUCLEOTIDES), True

    def __init__(self, lm: HyenaDNAReader) -> None:
        self.tail = lm.tail

    def __call__(self, sequence: bytes, activations: torch.Tensor) -> torch.Tensor:
        """See `Rest`."""
        return self.tail(activations)


class Outputs:
    """The rest of a plug-in's model."""

    next_base = False

    def __init__(self, lm: OffersOutputs) -> None:
        self.lm, self.names = lm, tuple(lm.output_names)

    def __call__(self, sequence: bytes, activations: torch.Tensor) -> torch.Tensor:
        """See `Rest`."""
        return torch.stack([read_outputs(self.lm, sequence, one).float() for one in activations])


def rest_of(lm: GeneLM) -> Rest:
    """Return the rest of a model: its own outputs if it offers them, else the next base; or refuse the model."""
    return Outputs(lm) if isinstance(lm, OffersOutputs) else NextBase(next_base_reader(lm))


def next_base_reader(lm: GeneLM) -> HyenaDNAReader:
    """Return the model, or refuse one without a language-model head, or whose blocks after the layer are not known."""
    if isinstance(lm, HyenaDNAReader):
        return lm
    if classes := _classes_without_head(lm):
        raise SaeTracksError(
            f"{lm.model_id} ({classes}) has no language-model head, so it predicts no next base that could be "
            "compared: see the FVU in sae-tracks info, or write a plug-in that offers outputs() (docs/models.md)"
        )
    raise SaeTracksError(
        "what a model predicts is known of a HyenaDNA, whose next-base head is known, read at a layer, and of a "
        f"plug-in that offers outputs() (docs/models.md); {lm.model_id} is a {lm.architecture!r} model read at "
        f"{lm.hook_name}"
    )


def _classes_without_head(lm: GeneLM) -> str:
    """Return the classes that the config of a transformers model names, if none has a language-model head; else ''."""
    classes = (lm.model.config.architectures or []) if isinstance(lm, AutoReader) else []
    has_none = all(name.endswith(HEADLESS) and not name.endswith("LMHeadModel") for name in classes)
    return ", ".join(classes) if has_none else ""
