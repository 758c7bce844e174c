"""The tensors of a file, taken one by one: each must be there, of its shape and finite, and none is left over."""

from pathlib import Path

import torch

from sae_tracks.errors import SaeTracksError


class Stored:
    """The named tensors of one file.

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
