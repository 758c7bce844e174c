"""The tensors of a file, taken one by one, and what other programs compute beside them, folded into the weights.

A fold gives the same features of the same activations, exact but for rounding: weights are float32, and the products of
a matrix and a bias are summed in float64.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sae_tracks.errors import SaeTracksError
from sae_tracks.sae.model import SAE

SMALLEST_NORM = 1e-8  # SAELens' own


class Tensors:
    """The named tensors of a file that are still to be taken; each is checked then, and none may be left over."""

    def __init__(self, path: Path, left: dict[str, torch.Tensor]) -> None:
        self.path, self.left = path, dict(left)

    @property
    def names(self) -> frozenset[str]:
        """Names of the tensors that were not taken yet."""
        return frozenset(self.left)

    def take(self, name: str, *shape: int) -> torch.Tensor:
        """Return a tensor as float32; an error if it is missing, of another shape, NaN or infinite."""
        if name not in self.left:
            there = ", ".join(sorted(self.left)) or "nothing else"
            raise SaeTracksError(f"{self.path} has no tensor {name}; it holds {there}")
        tensor = self.left.pop(name)
        if tuple(tensor.shape) != shape:
            raise SaeTracksError(f"{self.path}: {name} is {tuple(tensor.shape)}; the others make it {shape}")
        if not torch.isfinite(tensor).all():
            raise SaeTracksError(f"{self.path}: {name} holds NaN or infinity")
        return tensor.float()

    def take_matrix(self, name: str) -> torch.Tensor:
        """Return a matrix of any size, from which the sizes of the others follow; otherwise as `take`."""
        shape = self.left[name].shape if name in self.left else ()
        if name in self.left and (len(shape) != 2 or 0 in shape):
            raise SaeTracksError(f"{self.path}: {name} is {tuple(shape)}; it must be a matrix")
        return self.take(name, *shape)

    def take_number(self, name: str) -> float:
        """Return the one number of a tensor without dimensions; otherwise as `take`."""
        return float(self.take(name).double())

    def drop(self, *names: str) -> None:
        """Leave out tensors that do not change what is computed, if they are there."""
        for name in names:
            self.left.pop(name, None)

    def finish(self) -> None:
        """Refuse a file with a tensor that was not taken: it would compute something else."""
        if self.left:
            raise SaeTracksError(f"{self.path}: {min(self.left)} is not part of such an autoencoder")


def open_safetensors(path: Path) -> Tensors:
    """Read a safetensors file."""
    try:
        return Tensors(path, load_file(path))
    except FileNotFoundError as error:
        raise SaeTracksError(f"no file {path}") from error
    except (SafetensorError, OSError) as error:
        raise SaeTracksError(f"{path} is not a safetensors file: {error}") from error


def without_fraction(k: Any) -> Any:
    """A k that a file stores as a float, as an int if it is a whole number."""
    return int(k) if isinstance(k, float) and k.is_integer() else k


def with_pre_bias(sae: SAE) -> SAE:
    """Turn an encoder that was made for x itself, ``h = x W_enc + b_enc``, into one for ``x - b_dec``."""
    shift = sae.b_dec.double() @ sae.W_enc.double()
    return replace(sae, b_enc=(sae.b_enc.double() + shift).float())


def without_pre_bias(sae: SAE) -> SAE:
    """Turn an encoder for ``x - b_dec`` into one for x."""
    shift = sae.b_dec.double() @ sae.W_enc.double()
    return replace(sae, b_enc=(sae.b_enc.double() - shift).float())


def scale_input(sae: SAE, scale: float) -> SAE:
    """The SAE of raw activations x that equals one of ``scale * x``, whose reconstruction is divided by scale again."""
    return replace(sae, W_enc=sae.W_enc * scale, W_dec=sae.W_dec / scale, b_dec=sae.b_dec / scale)


def scale_features(sae: SAE, factor: torch.Tensor) -> SAE:
    """The SAE whose features are multiplied by ``factor``, (d_sae,) > 0, and whose reconstruction is the same.

    A ``topk`` then keeps the k largest of the scaled features.
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
    """The SAE with one threshold for all features, or with one for each; a threshold below 0 acts as 0."""
    each = torch.as_tensor(threshold, dtype=torch.float32).clamp(min=0).expand(sae.d_sae)
    return replace(sae, threshold=each.contiguous())


def ungate(sae: SAE, r_mag: torch.Tensor, b_gate: torch.Tensor, b_mag: torch.Tensor) -> SAE:
    """A gated SAE as the ``jumprelu`` that it equals; b_enc is not read.

    With u = (x - b_dec) W_enc a feature is ``h = exp(r_mag) u + b_mag`` if ``u + b_gate > 0`` and h > 0. Since both
    paths read the same u, the gate is open exactly if ``h > b_mag - exp(r_mag) b_gate``.
    """
    gain = r_mag.exp()
    return jumprelu(replace(sae, W_enc=sae.W_enc * gain, b_enc=b_mag), b_mag - gain * b_gate)
