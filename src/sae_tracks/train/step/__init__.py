"""One step of the training of a sparse autoencoder: forward, gradients by hand, Adam."""

from typing import cast

from sae_tracks.train.parallel import Processes
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.step.common import LOSSES, Step, StepResult, Weights, weights_size
from sae_tracks.train.step.plain import PlainStep

__all__ = ["LOSSES", "PlainStep", "Step", "StepResult", "Weights", "make_step", "weights_size"]


def make_step(
    weights: Weights, first: Weights, second: Weights, settings: TrainSettings, rows: int, group: Processes
) -> Step:
    """Return the step for the device of the weights; parameters as of `PlainStep`."""
    device = weights.flat.device
    if device.type == "cpu":
        from sae_tracks.train.step.tiled import TiledStep

        return TiledStep(weights, first, second, settings, rows, group)
    if device.type == "cuda":
        from sae_tracks.train.step.triton_step import TritonStep, triton_is_on

        if triton_is_on(device):
            return cast(Step, TritonStep(weights, first, second, settings, rows, group))  # its result is read late
    return PlainStep(weights, first, second, settings, rows, group)
