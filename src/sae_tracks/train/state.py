"""What a training of an SAE remembers from step to step, and the checkpoints it goes on from."""

import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import make_folder, sha256, unwritable
from sae_tracks.train.checkpoint import refuse_another_run
from sae_tracks.train.checkpoints import FOLDER, checkpoint_name, checkpoints, is_whole, step_of
from sae_tracks.train.measure import Statistics
from sae_tracks.train.step import Weights

log = logging.getLogger(__name__)
PART = ".part-"
KEPT = 2  # the newest: one more than is needed, should the disk tear one
RUN = {"settings": "settings", "data": "activations"}


class SAEState:
    """Everything on which the next steps depend, besides the data.

    Attributes
    ----------
    weights, first, second : Weights
        Parameters and Adam's two moments.
    fired : (d_sae,) int64
        Rows trained on when a feature was last active.
    statistics : Statistics
        Of the activations: they are centred and scaled by these.
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

    def save(self, out: Path, run: dict[str, Any]) -> None:
        """Write a checkpoint, whole or not at all; only the newest are kept.

        Parameters
        ----------
        out : path
            SAE directory.
        run : dict
            `TrainPlan.identity`.
        """
        variance = torch.tensor(self.statistics.variance, dtype=torch.float64)
        tensors = self._tensors() | {"mean": self.statistics.mean, "variance": variance}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        folder = make_folder(out / FOLDER)
        try:
            with tempfile.TemporaryDirectory(prefix=PART, dir=folder) as hidden:
                path = Path(hidden) / "checkpoint"
                save_file(tensors, path, {"run": json.dumps(run)})
                path.replace(folder / checkpoint_name(self.step, sha256(path)))
        except OSError as error:
            raise unwritable(folder, error) from error
        except SafetensorError as error:  # which hides the cause
            raise SaeTracksError(f"cannot write {folder} (is the disk full?): {error}") from error
        for path in checkpoints(out)[KEPT:]:
            path.unlink(missing_ok=True)

    def load(self, path: Path) -> None:
        """Take over a checkpoint that `newest` found."""
        try:
            with safe_open(path, "pt") as file:
                for name, tensor in self._tensors().items():
                    tensor.copy_(file.get_tensor(name))
                mean = file.get_tensor("mean").to(self.statistics.mean)
                self.statistics = Statistics(mean, file.get_tensor("variance").item())
        except (SafetensorError, OSError, RuntimeError) as error:
            raise SaeTracksError(f"{path} is not a checkpoint of this version: delete it ({error})") from error
        self.step = step_of(path)


def newest(out: Path, run: dict[str, Any]) -> Path | None:
    """The newest checkpoint that is whole; those that are not are passed over with a warning.

    Raises
    ------
    SaeTracksError
        It is of another run.
    """
    for path in checkpoints(out):
        if not is_whole(path):
            log.warning("%s is torn: going on from the one before", path)
            continue
        with safe_open(path, "pt") as file:
            refuse_another_run(path, json.loads((file.metadata() or {}).get("run", "{}")), run, RUN)
        return path
    return None


def remove_checkpoints(out: Path, after: int = -1) -> None:
    """Remove those of more steps: of a training that is complete all, of one that goes on the torn ones."""
    for path in checkpoints(out):
        if step_of(path) > after:
            path.unlink(missing_ok=True)
    for hidden in (out / FOLDER).glob(f"{PART}*"):  # of a process that was killed as it wrote
        shutil.rmtree(hidden, ignore_errors=True)
    if (out / FOLDER).is_dir() and not any((out / FOLDER).iterdir()):
        (out / FOLDER).rmdir()
