"""What others compute beside an SAE's weights, folded into them: the same features of the same activations.

A fold is exact but for rounding: float32 weights, the products of a matrix and a bias summed in float64.
"""

from dataclasses import replace

import torch

from sae_tracks.sae.model import SAE

SMALLEST_NORM = 1e-8  # SAELens' own


def with_pre_bias(sae: SAE) -> SAE:
    """The SAE whose encoder was made for x itself, ``h = x W_enc + b_enc``, and not for ``x - b_dec``."""
    shift = sae.b_dec.double() @ sae.W_enc.double()
    return replace(sae, b_enc=(sae.b_enc.double() + shift).float())


def without_pre_bias(sae: SAE) -> SAE:
    """The way back: an encoder for ``x - b_dec`` becomes one for x."""
    shift = sae.b_dec.double() @ sae.W_enc.double()
    return replace(sae, b_enc=(sae.b_enc.double() - shift).float())


def scale_input(sae: SAE, scale: float) -> SAE:
    """The SAE of raw activations x that equals one of ``scale * x``, whose reconstruction is divided by scale again."""
    return replace(sae, W_enc=sae.W_enc * scale, W_dec=sae.W_dec / scale, b_dec=sae.b_dec / scale)


def scale_features(sae: SAE, factor: torch.Tensor) -> SAE:
    """The SAE whose features are multiplied by ``factor``, (d_sae,) > 0, and whose reconstruction is the same.

    Of a ``topk`` the k largest are then those of the scaled features.
    """
    return replace(
        sae,
        W_enc=sae.W_enc * factor,
        b_enc=sae.b_enc * factor,
        W_dec=sae.W_dec / factor[:, None],
        threshold=None if sae.threshold is None else sae.threshold * factor,
    )


def decoder_norms(sae: SAE) -> torch.Tensor:
    """(d_sae,) length of each feature's direction, never 0."""
    return sae.W_dec.norm(dim=1).clamp(min=SMALLEST_NORM)


def jumprelu(sae: SAE, threshold: torch.Tensor | float) -> SAE:
    """With a threshold, one or (d_sae,); one below 0 acts as 0, since features are never negative."""
    each = torch.as_tensor(threshold, dtype=torch.float32).clamp(min=0).expand(sae.d_sae)
    return replace(sae, threshold=each.contiguous())


def ungate(sae: SAE, r_mag: torch.Tensor, b_gate: torch.Tensor, b_mag: torch.Tensor) -> SAE:
    """A gated SAE as the ``jumprelu`` that it equals; b_enc is not read.

    With u = (x - b_dec) W_enc a feature is ``h = exp(r_mag) u + b_mag`` where ``u + b_gate > 0`` and h > 0. Since both
    paths read the same u, the gate is open just where ``h > b_mag - exp(r_mag) b_gate``.
    """
    gain = r_mag.exp()
    return jumprelu(replace(sae, W_enc=sae.W_enc * gain, b_enc=b_mag), b_mag - gain * b_gate)
