"""One step of the training of a sparse autoencoder: forward, gradients by hand, Adam."""

import importlib.util
import os
import shutil
from typing import Protocol

import torch

from sae_tracks.train.parallel import Processes
from sae_tracks.train.presets import TrainSettings
from sae_tracks.train.step.losses import LOSSES
from sae_tracks.train.step.plain import PlainStep
from sae_tracks.train.step.result import StepResult
from sae_tracks.train.step.weights import Weights, weights_size

__all__ = ["LOSSES", "PlainStep", "Step", "StepResult", "Weights", "make_step", "weights_size"]


class Step(Protocol):
    """Learns from one batch after another."""

    def __call__(self, x: torch.Tensor, lr: float, number: int, dead: torch.Tensor | None = None) -> StepResult:
        """One optimizer step.

        Parameters
        ----------
        x : (n, d_in)
            This process's rows, centred on the mean of the training data.
        lr : float
        number : int
            Of the step, from 1.
        dead : (m,) int64, optional
            Features, ascending, that learn what the others leave over; the same in all processes.
        """
        ...


def make_step(
    weights: Weights, first: Weights, second: Weights, settings: TrainSettings, rows: int, group: Processes
) -> Step:
    """The fastest exact step for the device of the weights; parameters as of `PlainStep`."""
    device = weights.flat.device
    if device.type == "cpu":
        from sae_tracks.train.step.tiled import TiledStep

        return TiledStep(weights, first, second, settings, rows, group)
    if triton_works(device):
        from sae_tracks.train.step.sparse_cuda import SparseStep

        precision = "tf32" if torch.backends.cuda.matmul.allow_tf32 else "float32"
        return SparseStep(weights, first, second, settings, rows, group, precision)
    return PlainStep(weights, first, second, settings, rows, group)


def triton_works(device: torch.device) -> bool:
    """Whether a device is an NVIDIA GPU of compute capability 8 or more, with Triton and the C compiler it calls."""
    if device.type != "cuda" or torch.version.hip is not None or importlib.util.find_spec("triton") is None:
        return False
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return compiler is not None and torch.cuda.get_device_capability(device)[0] >= 8
