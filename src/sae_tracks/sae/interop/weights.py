"""The tensors of a file, taken one by one, and what other programs compute beside them, folded into the weights.

A fold gives the same features of the same activations, exact but for rounding: weights are float32, and the products of
a matrix and a bias are summed in float64.
"""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sae_tracks.errors import SaeTracksError
from sae_tracks.sae.model import SAE

SMALLEST_NORM = 1e-8  # SAELens' own


class Stored:
    """The named tensors of one file: each must be there, of its shape and finite, and none may be left over.

    Parameters
    ----------
    path : path
        The file, for errors.
    tensors : dict of str to tensor
        What it holds.
    """

    def __init__(self, path: Path, tensors: dict[str, torch.Tensor]) -> None:
        self.path, self.left = path, dict(tensors)

    @property
    def names(self) -> frozenset[str]:
        """Of the tensors that were not taken yet."""
        return frozenset(self.left)

    def take(self, name: str, *shape: int) -> torch.Tensor:
        """A tensor of exactly this shape, as float32.

        Raises
        ------
        SaeTracksError
            It is not there, of another shape, NaN or infinite.
        """
        tensor = self._pop(name)
        if tuple(tensor.shape) != shape:
            raise SaeTracksError(f"{self.path}: {name} is {tuple(tensor.shape)}; the others make it {shape}")
        if not torch.isfinite(tensor).all():
            raise SaeTracksError(f"{self.path}: {name} holds NaN or infinity")
        return tensor.float()

    def take_matrix(self, name: str) -> torch.Tensor:
        """A matrix of any size, which says how large the others are; otherwise as `take`."""
        found = self.left.get(name)
        if found is not None and (found.ndim != 2 or not found.numel()):
            raise SaeTracksError(f"{self.path}: {name} is {tuple(found.shape)}; it must be a matrix")
        return self.take(name, *(() if found is None else found.shape))

    def take_number(self, name: str) -> float:
        """The one number of a tensor without dimensions; otherwise as `take`."""
        return float(self.take(name).double())

    def finish(self) -> None:
        """Refuse a file that holds what was not taken: it would compute something else."""
        if self.left:
            raise SaeTracksError(f"{self.path}: {min(self.left)} is not part of such an autoencoder")

    def _pop(self, name: str) -> torch.Tensor:
        if name not in self.left:
            there = ", ".join(sorted(self.left)) or "nothing else"
            raise SaeTracksError(f"{self.path} has no tensor {name}; it holds {there}")
        return self.left.pop(name)


def open_safetensors(path: Path) -> Stored:
    """The tensors of a safetensors file."""
    try:
        return Stored(path, load_file(path))
    except FileNotFoundError as error:
        raise SaeTracksError(f"no file {path}") from error
    except (SafetensorError, OSError) as error:
        raise SaeTracksError(f"{path} is not a safetensors file: {error}") from error


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

    With u = (x - b_dec) W_enc a feature is ``h = exp(r_mag) u + b_mag`` if ``u + b_gate > 0`` and h > 0. Since both
    paths read the same u, the gate is open exactly if ``h > b_mag - exp(r_mag) b_gate``.
    """
    gain = r_mag.exp()
    return jumprelu(replace(sae, W_enc=sae.W_enc * gain, b_enc=b_mag), b_mag - gain * b_gate)
