"""The sparse autoencoder: ``h = (x - b_dec) W_enc + b_enc``, features f from h, ``x^ = f W_dec + b_dec``.

How features come from pre-activations is the architecture, named as in SAELens: ``standard``, ``f = relu(h)``;
``jumprelu``, ``f = relu(h)`` if h exceeds the feature's threshold, else 0, so that a threshold below 0 acts as 0;
``topk``, ``f = relu(h)`` on the k largest of a row, else 0. One trained by BatchTopK is a ``jumprelu``.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import ORIGIN

Architecture = Literal["standard", "jumprelu", "topk"]
TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")


@dataclass(slots=True, repr=False)
class SAE:
    """A sparse autoencoder.

    Attributes
    ----------
    W_enc : (d_in, d_sae) float32
    b_enc : (d_sae,) float32
    W_dec : (d_sae, d_in) float32
    b_dec : (d_in,) float32
    metadata : dict
        How it was made: the language model, layer, training data and settings.
    stats : DataFrame, optional
        One row per feature: ``feature``, ascending, ``max``, ``mean``, ``density`` (share of bases > 0), ``dead``.
    threshold : (d_sae,) float32, optional
        Only of a ``jumprelu``.
    k : int, optional
        The most features per row, only of a ``topk``.
    folder : path, optional
        The local SAE directory that it was loaded from. SAEs of untrained models are kept there.
    origin : str, optional
        ``hf:owner/name@commit`` of one that was loaded from the hub.
    """

    W_enc: torch.Tensor
    b_enc: torch.Tensor
    W_dec: torch.Tensor
    b_dec: torch.Tensor
    metadata: dict[str, Any] = field(default_factory=dict)
    stats: pd.DataFrame | None = None
    threshold: torch.Tensor | None = None
    k: int | None = None
    folder: Path | None = field(default=None, compare=False)
    origin: str | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        k = "" if self.k is None else f", k {self.k}"
        lm = self.metadata.get("lm", {})
        place = ", ".join(str(lm[key]) for key in ("model", "hook_name") if lm.get(key) is not None)
        return f"SAE({self.architecture}, {self.d_in} -> {self.d_sae}{k}{f', {place}' if place else ''})"

    def to(self, device: torch.device | str) -> "SAE":
        """This SAE with its tensors on a device; metadata and statistics are shared."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights by name: W_enc, b_enc, W_dec, b_dec and, of a ``jumprelu``, threshold."""
        names = TENSORS if self.threshold is None else (*TENSORS, "threshold")
        return {name: getattr(self, name) for name in names}

    def file_content(self) -> bytes:
        """The weights as `save_sae` writes them, a safetensors file."""
        tensors = self.tensors()
        if self.threshold is not None:
            tensors["threshold"] = self.threshold.clamp(min=0)
        return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})

    @property
    def checksum(self) -> str:
        """SHA-256 of the present weights, the same as of the weights file that `save_sae` writes."""
        return hashlib.sha256(self.file_content()).hexdigest()

    @property
    def facts(self) -> dict[str, str]:
        """Which SAE this is, for provenance: its checksum and, if it came from the hub, its id with the commit."""
        return {"sae_sha256": self.checksum} | ({ORIGIN: self.origin} if self.origin else {})

    @property
    def architecture(self) -> Architecture:
        """``standard``, ``jumprelu`` or ``topk``, as SAELens names them."""
        return "jumprelu" if self.threshold is not None else "topk" if self.k is not None else "standard"

    @property
    def d_in(self) -> int:
        """Width of the activations that the SAE takes."""
        return self.W_enc.shape[0]

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return self.W_enc.shape[1]

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """(n, d_in) activations -> (n, d_sae) features, float32, >= 0."""
        return self.activate((x - self.b_dec) @ self.W_enc + self.b_enc)

    def activate(self, h: torch.Tensor) -> torch.Tensor:
        """(n, d_sae) pre-activations -> features, as a new tensor."""
        f = torch.relu(h)
        if self.threshold is not None:
            return torch.where(h > self.threshold, f, 0)
        if self.k is not None:
            values, columns = f.topk(min(self.k, self.d_sae), dim=-1)
            return torch.zeros_like(f).scatter_(-1, columns, values)
        return f

    def decode(self, f: torch.Tensor) -> torch.Tensor:
        """(n, d_sae) features -> (n, d_in) reconstruction."""
        return f @ self.W_dec + self.b_dec

    def decode_sparse(
        self, indptr: NDArray[np.int64], feature: NDArray[np.int32], value: NDArray[np.float32]
    ) -> torch.Tensor:
        """Features without their zeros, as `SparseEncoder.encode` returns them -> (n, d_in) reconstruction."""
        bags = torch.from_numpy(feature).long(), self.W_dec, torch.from_numpy(indptr)
        weights = {"per_sample_weights": torch.from_numpy(value), "include_last_offset": True}
        return torch.nn.functional.embedding_bag(*bags, mode="sum", **weights) + self.b_dec

    def folded_encoder(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and bias with the pre-bias folded in: ``h = x W + b``, ``b = b_enc - b_dec W_enc``."""
        return self.W_enc, self.b_enc - self.b_dec @ self.W_enc

    def alive(self) -> list[int]:
        """Return the ids of all features that the statistics do not call dead, ascending.

        Raises
        ------
        SaeTracksError
            All are dead.
        """
        if self.stats is None:
            return list(range(self.d_sae))
        found = np.flatnonzero(~self.stats["dead"].to_numpy(bool)).tolist()
        if not found:
            raise SaeTracksError(
                "all features of this SAE are dead: name those to look at (-f), or train it for longer"
            )
        return found

    def check_features(self, features: Iterable[int]) -> torch.Tensor:
        """Feature ids as (k,) int64, ascending, each once; an id outside the dictionary is an error."""
        wanted = set(features)
        if names := [one for one in wanted if isinstance(one, str)]:
            raise SaeTracksError(f"features are whole numbers, such as 357, not {names[0]!r}")
        ids = sorted(wanted)
        wrong = [i for i in ids if not 0 <= i < self.d_sae]
        if wrong:
            raise SaeTracksError(f"no feature {wrong[0]}: this SAE has features 0 to {self.d_sae - 1}")
        if not ids:
            raise SaeTracksError("no feature asked for")
        return torch.tensor(ids, dtype=torch.int64)

    def maxima(self) -> NDArray[np.float32]:
        """(d_sae,) float32: the largest activation of each feature over the bases measured."""
        if self.stats is None:
            raise SaeTracksError("this SAE has no feature_stats.parquet, so no maxima: use --scale raw")
        return self.stats["max"].to_numpy(np.float32)

    def cutoffs(self, threshold: float, scale: str) -> NDArray[np.float32]:
        """(d_sae,) float32: a feature is active if its value is strictly greater.

        Parameters
        ----------
        threshold : float
            A fraction of the feature's maximum (``scale="max"``, as InterPLM does it) or an activation (``"raw"``). A
            dead feature has no maximum to take a fraction of: its cutoff is infinite, so it is never active.
        """
        if scale == "raw":
            return np.full(self.d_sae, threshold, np.float32)
        maxima = self.maxima()
        return np.where(maxima > 0, np.float32(threshold) * maxima, np.float32(np.inf))
