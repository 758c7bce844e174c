"""One step of the training of a sparse autoencoder: forward, gradients by hand, Adam."""

import importlib.util
import os
import shutil

import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.train.parallel import Processes
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.step.plain import LOSSES, PlainStep, Step, StepResult, Weights, weights_size

__all__ = ["LOSSES", "PlainStep", "Step", "StepResult", "Weights", "make_step", "weights_size"]
SWITCH = "SAE_TRACKS_TRITON"


def make_step(
    weights: Weights, first: Weights, second: Weights, settings: TrainSettings, rows: int, group: Processes
) -> Step:
    """Return the step for the device of the weights; parameters as of `Step`."""
    kind = PlainStep
    if weights.flat.device.type == "cpu":
        from sae_tracks.train.step.tiled import TiledStep as kind
    elif triton_is_on(weights.flat.device):
        from sae_tracks.train.step.triton_step import TritonStep as kind
    return kind(weights, first, second, settings, rows, group)


def triton_is_on(device: torch.device) -> bool:
    """Whether `SWITCH` asks for the step in Triton; an error if it does and the device cannot run it.

    It needs an NVIDIA GPU of compute capability 8 or more, Triton, and the C compiler that Triton calls.
    """
    if os.environ.get(SWITCH, "0") in ("", "0"):
        return False
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    known = device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device)[0] >= 8
    if not (known and compiler and importlib.util.find_spec("triton")):
        raise SaeTracksError(f"{SWITCH} needs an NVIDIA GPU of compute capability 8 or more, triton and a C compiler")
    return True
