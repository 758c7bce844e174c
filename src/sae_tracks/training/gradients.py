"""Exact gradients of a sparse autoencoder, written by hand: five matrix products a batch and no autograd."""

import torch

from sae_tracks.sae.model import SAE
from sae_tracks.training.losses import Loss


class Gradients:
    """Forward and backward pass of batches of one size, in buffers that are allocated once.

    The pre-bias is folded, ``f = relu(x W_enc + (b_enc - b_dec W_enc))``, which saves the sixth product, the gradient
    with respect to ``x``.

    Parameters
    ----------
    sae : SAE
        Its four tensors get a ``grad``.
    batch_size : int
        n rows.
    loss : Loss
        Of `sae_tracks.training.losses`.
    l1 : float
        Weight of the mean over rows of the sum of features.

    Attributes
    ----------
    gradient : SAE
        Of the batch seen last, tensor by tensor.
    features, error : (n, d_sae), (n, d_in)
        Of the batch seen last: activations, and reconstruction minus input.
    """

    def __init__(self, sae: SAE, batch_size: int, loss: Loss, l1: float) -> None:
        self.sae, self.loss, self.l1 = sae, loss, l1
        self.features = sae.b_enc.new_empty(batch_size, sae.d_sae)
        self.backward = torch.empty_like(self.features)
        self.error = sae.b_dec.new_empty(batch_size, sae.d_in)
        self.ones = sae.b_enc.new_ones(batch_size)
        zeros = torch.zeros_like
        self.gradient = SAE(zeros(sae.W_enc), zeros(sae.b_enc), zeros(sae.W_dec), zeros(sae.b_dec))
        for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
            getattr(sae, name).grad = getattr(self.gradient, name)

    @torch.no_grad()
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Set the gradients of a batch; returns its reconstruction loss.

        Parameters
        ----------
        x : (n, d_in)
            Centred on the mean of the training data.
        """
        sae, f, error = self.sae, self.features, self.error
        weight, bias = sae.folded_encoder()
        torch.addmm(bias, x, weight, out=f).relu_()
        torch.addmm(sae.b_dec, f, sae.W_dec, out=error).sub_(x)
        reconstruction, factor = self.loss(x, error)
        self._decoder_gradients(f, error * factor)
        self._encoder_gradients(x)
        return reconstruction

    @property
    def penalty(self) -> float:
        """The L1 term of the batch seen last."""
        return self.l1 * self.features.sum().item() / len(self.features)

    def _decoder_gradients(self, f: torch.Tensor, out: torch.Tensor) -> None:
        """From ``out``, the gradient with respect to the reconstruction; leaves that of the features in `backward`."""
        gradient, back = self.gradient, self.backward
        torch.mm(f.T, out, out=gradient.W_dec)
        torch.sum(out, 0, out=gradient.b_dec)
        torch.mm(out, self.sae.W_dec.T, out=back).add_(self.l1 / len(f))
        torch.ops.aten.threshold_backward.grad_input(back, f, 0, grad_input=back)

    def _encoder_gradients(self, x: torch.Tensor) -> None:
        gradient, back = self.gradient, self.backward
        torch.mv(back.T, self.ones, out=gradient.b_enc)
        torch.mm(x.T, back, out=gradient.W_enc).addr_(self.sae.b_dec, gradient.b_enc, alpha=-1)
        gradient.b_dec -= self.sae.W_enc @ gradient.b_enc
