"""The autoencoder classes of dictionary_learning and of InterPLM, which began as a copy of it, by their tensors."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from sae_tracks.sae.interop import fold
from sae_tracks.sae.interop.stored import Stored
from sae_tracks.sae.model import SAE


@dataclass(frozen=True, slots=True)
class Layout:
    """A class: the names of its tensors and how an SAE is made of them."""

    names: frozenset[str]
    read: Callable[[Stored], SAE]


def _linear(stored: Stored, pre_bias: str) -> SAE:
    """Two ``nn.Linear``, whose weights are stored (out, in); the decoder's bias has a name of its own."""
    encoder = stored.take_matrix("encoder.weight")
    d_sae, d_in = encoder.shape
    b_enc = stored.take("encoder.bias", d_sae) if "encoder.bias" in stored.names else torch.zeros(d_sae)
    decoder = stored.take("decoder.weight", d_in, d_sae)
    return SAE(encoder.T, b_enc, decoder.T, stored.take(pre_bias, d_in))


def _matrices(stored: Stored) -> SAE:
    W_enc = stored.take_matrix("W_enc")
    d_in, d_sae = W_enc.shape
    return SAE(W_enc, stored.take("b_enc", d_sae), stored.take("W_dec", d_sae, d_in), stored.take("b_dec", d_in))


def _with_thresholds(sae: SAE, stored: Stored) -> SAE:
    return fold.with_pre_bias(fold.jumprelu(sae, stored.take("threshold", sae.d_sae)))


def _top_k(stored: Stored) -> SAE:
    """Their `encode` takes the k largest of a row by default and not what exceeds the threshold."""
    sae = _linear(stored, "b_dec")
    sae.k = round(stored.take_number("k"))
    stored.left.pop("threshold", None)
    return sae


def _batch_top_k(stored: Stored) -> SAE:
    """Their `encode` keeps what exceeds the threshold; k is how it was trained."""
    stored.left.pop("k", None)
    return fold.jumprelu(_linear(stored, "b_dec"), stored.take_number("threshold"))


def _matryoshka(stored: Stored) -> SAE:
    """All groups are in use where it is loaded, so they do not matter."""
    for name in ("k", "group_sizes"):
        stored.left.pop(name, None)
    return fold.jumprelu(_matrices(stored), stored.take_number("threshold"))


def _gated(stored: Stored) -> SAE:
    sae = _linear(stored, "decoder_bias")
    return fold.ungate(sae, *(stored.take(name, sae.d_sae) for name in ("r_mag", "gate_bias", "mag_bias")))


LINEAR = frozenset({"encoder.weight", "encoder.bias", "decoder.weight"})
MATRICES = frozenset({"W_enc", "b_enc", "W_dec", "b_dec"})
LAYOUTS = {
    "AutoEncoder": Layout(LINEAR | {"bias"}, lambda stored: _linear(stored, "bias")),
    "AutoEncoderNew": Layout(
        LINEAR | {"decoder.bias"}, lambda stored: fold.with_pre_bias(_linear(stored, "decoder.bias"))
    ),
    "AutoEncoderTopK": Layout(LINEAR | {"b_dec", "k", "threshold"}, _top_k),
    "BatchTopKSAE": Layout(LINEAR | {"b_dec", "k", "threshold"}, _batch_top_k),
    "JumpReluAutoEncoder": Layout(MATRICES | {"threshold"}, lambda s: _with_thresholds(_matrices(s), s)),
    "MatryoshkaBatchTopKSAE": Layout(MATRICES | {"k", "threshold", "group_sizes"}, _matryoshka),
    "GatedAutoEncoder": Layout(
        frozenset({"encoder.weight", "decoder.weight", "decoder_bias", "r_mag", "gate_bias", "mag_bias"}), _gated
    ),
    "JumpReLUSAE": Layout(
        LINEAR | {"decoder.bias", "threshold"}, lambda s: _with_thresholds(_linear(s, "decoder.bias"), s)
    ),
}


def classes_of(names: frozenset[str]) -> list[str]:
    """The classes whose tensors have these names: one, or two that differ in what they compute."""
    return [name for name, layout in LAYOUTS.items() if layout.names == names]
