"""One step of the training of a sparse autoencoder: forward, gradients by hand, Adam."""

from typing import Protocol

import torch

from sae_tracks.training.parallel import Processes
from sae_tracks.training.presets import TrainSettings
from sae_tracks.training.step.losses import LOSSES
from sae_tracks.training.step.plain import PlainStep
from sae_tracks.training.step.result import StepResult
from sae_tracks.training.step.weights import Weights, weights_size

__all__ = ["LOSSES", "PlainStep", "Step", "StepResult", "Weights", "make_step", "weights_size"]


class Step(Protocol):
    """Learns from one batch after another."""

    def __call__(self, x: torch.Tensor, lr: float, number: int) -> StepResult:
        """One optimizer step.

        Parameters
        ----------
        x : (n, d_in)
            This process's rows, centred on the mean of the training data.
        lr : float
        number : int
            Of the step, from 1.
        """
        ...


def make_step(
    weights: Weights, first: Weights, second: Weights, settings: TrainSettings, rows: int, group: Processes
) -> Step:
    """The fastest exact step for the device of the weights; parameters as of `PlainStep`."""
    if weights.flat.device.type != "cpu":
        return PlainStep(weights, first, second, settings, rows, group)
    from sae_tracks.training.step.tiled import TiledStep

    return TiledStep(weights, first, second, settings, rows, group)
