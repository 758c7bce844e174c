"""The parameters of an SAE in training, a row a feature, in one piece of memory."""

import torch

from sae_tracks.sae.model import SAE


class Weights:
    """Parameters, or anything of their shape: their gradients, Adam's moments.

    Attributes
    ----------
    flat : (size,) tensor
        All of them; the others are views of it.
    encoder, decoder : (d_sae, d_in)
        A row a feature: the encoder is transposed against `SAE.W_enc`.
    b_enc : (d_sae,)
    threshold : (d_sae,)
        Of a ``jumprelu``; elsewhere it stays 0.
    b_dec : (d_in,)
    """

    def __init__(self, flat: torch.Tensor, d_in: int, d_sae: int) -> None:
        self.flat, self.d_in, self.d_sae = flat, d_in, d_sae
        matrix = d_in * d_sae
        encoder, decoder, self.b_enc, self.threshold, self.b_dec = flat.split([matrix, matrix, d_sae, d_sae, d_in])
        self.encoder, self.decoder = encoder.view(d_sae, d_in), decoder.view(d_sae, d_in)

    @classmethod
    def zeros(
        cls, d_in: int, d_sae: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> "Weights":
        """All 0."""
        return cls(torch.zeros(weights_size(d_in, d_sae), dtype=dtype, device=device), d_in, d_sae)

    @classmethod
    def like(cls, other: "Weights") -> "Weights":
        """All 0, of the size, type and device of another."""
        return cls(torch.zeros_like(other.flat), other.d_in, other.d_sae)

    @classmethod
    def of(cls, sae: SAE) -> "Weights":
        """Those of an autoencoder, float32 on the CPU."""
        weights = cls.zeros(sae.d_in, sae.d_sae)
        weights.encoder.copy_(sae.W_enc.T)
        weights.decoder.copy_(sae.W_dec)
        weights.b_enc.copy_(sae.b_enc)
        weights.b_dec.copy_(sae.b_dec)
        weights.threshold.copy_(torch.zeros(()) if sae.threshold is None else sae.threshold)
        return weights

    def sae(self, *, threshold: torch.Tensor | None = None, k: int | None = None) -> SAE:
        """An autoencoder of these weights, float32 on the CPU; with a threshold or a k, see `SAE`."""
        parts = (self.encoder.T, self.b_enc, self.decoder, self.b_dec)
        return SAE(*(part.to("cpu", torch.float32, copy=True).contiguous() for part in parts), threshold=threshold, k=k)


def weights_size(d_in: int, d_sae: int) -> int:
    """How many parameters there are."""
    return 2 * d_in * d_sae + 2 * d_sae + d_in
