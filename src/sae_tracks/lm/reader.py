"""HyenaDNA, read at one layer."""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.hyenadna import HyenaDNAForCausalLM
from sae_tracks.lm.inference import Inference
from sae_tracks.lm.protocol import check_length
from sae_tracks.lm.tokens import base_tokens

SPECIAL_TOKENS = 2  # max_seq_len counts them: 32,770 tokens are 32,768 bases


class HyenaDNAReader:
    """HyenaDNA at one layer, as a `GeneLM`: only the blocks needed are run.

    Parameters
    ----------
    model : HyenaDNAForCausalLM
        In evaluation mode.
    layer : int
        1-based block whose output is read = ``hidden_states[layer]``.
    model_id, revision : str
        Where the model came from.
    """

    architecture, causal = "hyenadna", True

    def __init__(
        self, model: HyenaDNAForCausalLM, layer: int, model_id: str = "unnamed", revision: str | None = None
    ) -> None:
        n = model.config.n_layer
        if not 1 <= layer <= n:
            raise SaeTracksError(f"no layer {layer} in {model_id}: it has layers 1 to {n} (the outputs of its blocks)")
        self.model = model.eval().requires_grad_(False)
        self.layer, self.model_id, self.revision = layer, model_id, revision
        self.hook_name = f"hyena.backbone.layers.{layer - 1}"
        self.d_model = model.config.d_model
        self.max_length = max(model.config.max_seq_len - SPECIAL_TOKENS, 1)
        self.checksum = weights_checksum(model)
        self._read = Inference(model.hyena.backbone, layer)

    def token_starts(self, sequence: bytes) -> NDArray[np.bool_]:
        """See `GeneLM.token_starts`."""
        return np.ones(len(sequence), dtype=bool)

    def activations(self, sequence: bytes) -> torch.Tensor:
        """See `GeneLM.activations`."""
        check_length(self, sequence)
        return self._read(torch.from_numpy(base_tokens(sequence)).to(self.model.device)).cpu()


def weights_checksum(model: torch.nn.Module) -> str:
    """SHA-256 over names, shapes and fp32 bytes of the parameters, whatever file they came from."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name} {tuple(parameter.shape)}\n".encode())
        digest.update(parameter.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
