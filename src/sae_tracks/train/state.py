"""What the training of an SAE remembers from step to step."""

from pathlib import Path

import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.train.checkpoint import Run, load_checkpoint, save_checkpoint, step_of
from sae_tracks.train.measure import Statistics
from sae_tracks.train.plan import DTYPES, TrainPlan
from sae_tracks.train.step import Weights


def initial_weights(plan: TrainPlan, device: torch.device) -> Weights:
    """Random unit rows in the decoder, a multiple of them in the encoder; see `TrainSettings`."""
    d_in, d_sae, settings = plan.data.d_model, plan.d_sae, plan.settings
    weights = Weights.zeros(d_in, d_sae, DTYPES[plan.dtype])
    decoder = torch.randn(d_sae, d_in, generator=torch.Generator().manual_seed(plan.seed))
    weights.decoder.copy_(decoder / decoder.norm(dim=1, keepdim=True))
    weights.encoder.copy_(weights.decoder).mul_(settings.first_encoder or 2 * d_in / d_sae)
    weights.b_enc.fill_(settings.first_bias)
    weights.threshold.fill_(settings.first_threshold if settings.arch == "jumprelu" else 0.0)
    return Weights(weights.flat.to(device), d_in, d_sae)


class SAEState:
    """Everything on which the next steps depend, besides the data.

    Attributes
    ----------
    weights, first, second : Weights
        Parameters and Adam's two moments.
    fired : (d_sae,) int64
        Rows trained on when a feature was last active.
    statistics : Statistics
        Of the activations, which are centred and scaled by them.
    step : int
        Steps done.
    """

    def __init__(self, weights: Weights, statistics: Statistics) -> None:
        self.weights, self.statistics, self.step = weights, statistics, 0
        self.first, self.second = Weights.like(weights), Weights.like(weights)
        self.fired = torch.zeros(weights.d_sae, dtype=torch.int64, device=weights.flat.device)

    def _tensors(self) -> dict[str, torch.Tensor]:
        parts = {"weights": self.weights, "first": self.first, "second": self.second}
        return {**{name: part.flat for name, part in parts.items()}, "fired": self.fired}

    def save(self, out: Path, run: Run) -> None:
        """Write a checkpoint into an SAE directory."""
        variance = torch.tensor(self.statistics.variance, dtype=torch.float64)
        facts = {"mean": self.statistics.mean, "variance": variance}
        save_checkpoint(out, self.step, self._tensors() | facts, run)

    def load(self, path: Path) -> None:
        """Take over a checkpoint that `newest` found."""
        saved = load_checkpoint(path)
        try:
            for name, tensor in self._tensors().items():
                tensor.copy_(saved[name])
            mean = saved["mean"].to(self.statistics.mean)
            self.statistics = Statistics(mean, saved["variance"].item())
        except (LookupError, RuntimeError) as error:
            raise SaeTracksError(f"{path} is not a checkpoint of this version: delete it ({error})") from error
        self.step = step_of(path)
