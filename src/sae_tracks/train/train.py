"""Train a sparse autoencoder on shuffled activation shards, alone or as one of several processes under ``torchrun``."""

import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import make_folder, write_provenance
from sae_tracks.json_file import read_json
from sae_tracks.sae import SAE, load_sae, save_sae
from sae_tracks.sae.directory import CONFIG, CONFIGURED
from sae_tracks.threads import Took, alone, stopwatch
from sae_tracks.train.checkpoint import newest, refuse_another_run, remove_checkpoints, resume, save_checkpoint
from sae_tracks.train.log import TrainingLog, summary_writer
from sae_tracks.train.measure import MEASURED_ROWS, Statistics, batch_threshold, measure_features, statistics
from sae_tracks.train.parallel import Processes, is_first, processes, tf32_products
from sae_tracks.train.plan import DTYPES, TrainPlan
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.step import StepResult, Weights, make_step

log = logging.getLogger(__name__)
LOG_EVERY = 20  # steps
SAVE_EVERY = 60.0  # seconds
DIVERGED = 1e6  # FVU, beyond that of any start
OnStep = Callable[[str, int], None]


def train_sae(
    plan: TrainPlan, out: Path, on_step: OnStep = lambda words, step: None, *, tensorboard: bool = False
) -> SAE | None:
    """Train, measure every feature on the training rows, and write an SAE directory.

    A run that was interrupted goes on from its newest checkpoint and ends with the same weights, to the bit. A folder
    in which the same run is complete is left as it is.

    Parameters
    ----------
    plan : TrainPlan
        From `plan_training`.
    out : path
        SAE directory; ``train_log.jsonl`` and ``checkpoints/`` go there too.
    on_step : function
        Called in the first process after each step with a few words on the state and the number of the step.
    tensorboard : bool
        Also write event files for TensorBoard.

    Returns
    -------
    SAE or None
        As written: for raw activations, float32, on the CPU. None in all processes but the first.

    Raises
    ------
    SaeTracksError
        TensorBoard is asked for but not installed, the folder holds another run, the activations are constant or not
        finite, or the loss diverged. Then no SAE is written, and the checkpoints stay.
    """
    if tensorboard:
        summary_writer()
    if is_complete(plan, out):
        log.info("%s is complete: this run has been made before", out)
        if not is_first():
            return None
        remove_checkpoints(out)
        return load_sae(out)
    with processes(str(plan.device)) as group, tf32_products(plan.dtype == "tf32"):
        state = _begin(plan, out, group)
        if group.rank == 0:
            remove_checkpoints(out, after=state.step)
            write_provenance(make_folder(out), data=plan.data.name, **state.run["settings"])
            with TrainingLog(out, state.step, tensorboard=tensorboard) as lines:
                _train(state, group, Recorder(state, out, lines, on_step))
        else:
            _train(state, group, None)
    return _finish(state, out) if group.rank == 0 else None


def is_complete(plan: TrainPlan, out: Path) -> bool:
    """Whether a folder holds the SAE of this run; another one is refused."""
    if not (out / CONFIG).is_file():
        return False
    training = read_json(out / CONFIG, CONFIGURED).get("metadata", {}).get("training", {})
    run = plan.identity()
    settings = {name: training.get(name) for name in run["settings"]}  # the other facts are no settings
    refuse_another_run(out / CONFIG, {"settings": settings, "data": training.get("data_sha256")}, run)
    return True


def check_run(plan: TrainPlan, out: Path, *, tensorboard: bool) -> None:
    """Raise the errors that `train_sae` would raise before it trains: no TensorBoard, or a folder of another run."""
    if tensorboard:
        summary_writer()
    if not is_complete(plan, out):
        newest(out, plan.identity())


class TrainingState:
    """Everything on which the next steps depend, besides the data."""

    def __init__(self, plan: TrainPlan, device: torch.device) -> None:
        self.plan, self.step = plan, 0  # steps done
        self.run = plan.identity()  # once: a checkpoint is of the data with which the run began
        self.statistics = Statistics(torch.zeros(plan.data.d_model), 1.0)  # until they are measured or loaded
        self.weights = initial_weights(plan, device)
        self.first, self.second = Weights.like(self.weights), Weights.like(self.weights)  # Adam's moments
        self.fired = torch.zeros(plan.d_sae, dtype=torch.int64, device=device)  # rows seen when last active

    def _tensors(self) -> dict[str, torch.Tensor]:
        flat = {name: getattr(self, name).flat for name in ("weights", "first", "second")}
        return flat | {"fired": self.fired}

    def save(self, out: Path) -> None:
        """Write a checkpoint into an SAE directory."""
        variance = torch.tensor(self.statistics.variance, dtype=torch.float64)
        facts = {"mean": self.statistics.mean, "variance": variance}
        save_checkpoint(out, self.step, self._tensors() | facts, self.run)

    def load(self, saved: dict[str, torch.Tensor]) -> None:
        """Take over the tensors of a checkpoint."""
        mean, variance = torch.zeros(self.plan.data.d_model), torch.zeros((), dtype=torch.float64)
        expected = self._tensors() | {"mean": mean, "variance": variance}
        for name, tensor in expected.items():
            if saved[name].shape != tensor.shape or saved[name].dtype != tensor.dtype:
                raise ValueError(f"{name} is {tuple(saved[name].shape)} {saved[name].dtype}")
            tensor.copy_(saved[name])
        self.statistics = Statistics(mean, variance.item())

    @property
    def scale(self) -> float:
        """The factor by which centred activations are multiplied."""
        plan = self.plan
        return math.sqrt(plan.data.d_model / self.statistics.variance) if plan.settings.scale_input else 1.0

    def is_dead(self) -> torch.Tensor:
        """(d_sae,) bool: the features that have not fired for long."""
        settings = self.plan.settings
        return self.fired < self.step * settings.batch_size - settings.dead_after

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Read rows of the data, centred and scaled; they go round."""
        rows = torch.from_numpy(self.plan.data.read_rows(start, stop)).to(self.weights.flat.device)
        return rows.to(self.weights.flat.dtype).sub_(self.statistics.mean.to(self.weights.flat)).mul_(self.scale)


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


def _begin(plan: TrainPlan, out: Path, group: Processes) -> TrainingState:
    """The state at the start, or that of the newest checkpoint, the same in all processes."""
    state = TrainingState(plan, group.device)
    state.step = resume(state.load, out, state.run, group, plan.steps)
    if not state.step:
        state.statistics = statistics(plan.data, group.device)
    log.info("|mean| / |std| of the activations (gamma) %.3g; they are centred", state.statistics.gamma)
    return state


def _train(state: TrainingState, group: Processes, recorder: "Recorder | None") -> None:
    """Take one optimizer step after another; the rows of the next step are read ahead.

    Ctrl-C and SIGTERM end it after a checkpoint.
    """
    plan, size = state.plan, state.plan.settings.batch_size
    share = group.share(size)
    step = make_step(state.weights, state.first, state.second, plan.settings, share.stop - share.start, group)

    def read(done: int) -> torch.Tensor:
        return state.rows(done * size + share.start, done * size + share.stop)

    with ThreadPoolExecutor(1, initializer=alone) as reader, group.until_stopped() as stopped:
        ahead = reader.submit(read, state.step)
        for number in range(state.step + 1, plan.steps + 1):
            x, ahead = ahead.result(), reader.submit(read, number)
            lr = learning_rate(number, plan.steps, plan.settings)
            dead = None if plan.settings.arch == "standard" else state.is_dead().nonzero().flatten()
            result = step(x, lr, number, dead)
            state.step = number
            state.fired.masked_fill_(result.active > 0, number * size)
            if is_looked_at(number, plan) and not result.fvu <= DIVERGED:
                raise diverged(plan, number)
            if recorder:
                recorder(result, lr)
            # the processes ask each other, for which a GPU would have to wait at each of its short steps
            if (is_looked_at(number, plan) or group.device.type == "cpu") and (reason := stopped()):
                if recorder:
                    recorder.save()
                raise reason


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Learning rate of a step, from 1: a linear rise, constant, a linear fall that would be 0 a step after the last."""
    rise = step / max(settings.lr_warmup * steps, 1)
    fall = (steps + 1 - step) / max(settings.lr_decay * steps, 1)
    return settings.lr * min(1.0, rise, fall)


def is_looked_at(number: int, plan: TrainPlan) -> bool:
    """Whether a step is checked, logged and perhaps saved; a GPU need not wait for the others."""
    return number % LOG_EVERY == 0 or number == 1 or number == plan.steps


def diverged(plan: TrainPlan, number: int) -> SaeTracksError:
    """The error of a loss that is not finite or far too large, or of activations that are not finite."""
    rows = range(max(number - LOG_EVERY, 0) * plan.settings.batch_size, number * plan.settings.batch_size)
    if not np.isfinite(plan.data.read_rows(rows.start, rows.stop)).all():
        return SaeTracksError(f"{plan.data.name} holds activations that are NaN or infinite: extract them again")
    return SaeTracksError(f"the loss diverged at step {number:,}: lower --lr (it is {plan.settings.lr:g})")


class Recorder:
    """Writes log and checkpoints and shows the progress after each step, in the first process."""

    def __init__(self, state: TrainingState, out: Path, lines: TrainingLog, on_step: OnStep) -> None:
        self.state, self.out, self.lines, self.on_step = state, out, lines, on_step
        self.words, self.begun, self.first = "", time.monotonic(), state.step
        self.saved = -math.inf  # the first checkpoint comes early, so that a full disk is noticed then

    def __call__(self, result: StepResult, lr: float) -> None:
        step, plan = self.state.step, self.state.plan
        if is_looked_at(step, plan):
            self._log(result, lr)
            if step == plan.steps or time.monotonic() - self.saved > SAVE_EVERY:
                self.save()
        self.on_step(self.words, step)

    def save(self) -> None:
        """Write a checkpoint; an error if the weights are not finite."""
        if not torch.isfinite(self.state.weights.flat).all():
            raise diverged(self.state.plan, self.state.step)
        self.state.save(self.out)
        self.saved = time.monotonic()

    def _log(self, result: StepResult, lr: float) -> None:
        size, step = self.state.plan.settings.batch_size, self.state.step
        rate = (step - self.first) * size / (time.monotonic() - self.begun)
        record = {
            "step": step,
            "rows": step * size,
            "loss": result.reconstruction + result.penalty,
            "reconstruction": result.reconstruction,
            "penalty": result.penalty,
            "l0": result.l0,
            "fvu": result.fvu,
            "dead": self.state.is_dead().double().mean().item(),
            "lr": lr,
            "rows_per_second": round(rate),
        }
        self.words = f"loss {record['loss']:.4g}  L0 {record['l0']:.1f}  FVU {record['fvu']:.3f}"
        self.lines.write(record)


def _finish(state: TrainingState, out: Path) -> SAE:
    """Measure the trained autoencoder and write it."""
    plan, arch, facts = state.plan, state.plan.settings.arch, state.statistics
    sae = state.weights.sae()  # of scale * (x - mean); for raw activations x, features are divided by the scale
    trained = SAE(sae.W_enc, sae.b_enc / state.scale, sae.W_dec, sae.b_dec / state.scale + facts.mean.cpu())
    if arch == "jumprelu":
        trained.threshold = state.weights.threshold.cpu().float() / state.scale
    elif arch == "topk":
        trained.k = plan.settings.k
    elif arch == "batchtopk":
        trained.threshold = batch_threshold(trained, plan.data, plan.rows, plan.settings.k)
    trained.stats, measured = measure_features(trained, plan.data, plan.rows, facts.mean.cpu())
    trained.metadata = _metadata(state, measured)
    write_provenance(out, data=plan.data.name, **trained.metadata["training"])
    save_sae(trained, out)
    remove_checkpoints(out)
    return trained


def _metadata(state: TrainingState, measured: dict[str, float | int]) -> dict[str, Any]:
    """The metadata of the SAE; SAELens reads ``model_name`` and ``hook_name``."""
    plan, run, manifest = state.plan, state.run, state.plan.data.manifest
    return {
        "model_name": manifest["lm"]["model"],
        "hook_name": manifest["lm"]["hook_name"],
        **{name: manifest[name] for name in ("lm", "read_strands", "genome")},
        **{name: manifest[name] for name in ("window", "context", "windows") if name in manifest},
        "training": {
            **run["settings"],
            "rows": plan.rows,
            "data_rows": plan.data.rows,
            "data_sha256": run["data"],
            "gamma": state.statistics.gamma,
        },
        "maxima": {"measured_on": "training rows", "most_rows": MEASURED_ROWS, **measured},
    }


def time_step(plan: TrainPlan) -> Took:
    """How long one step takes, the second of two on the first rows of the data."""
    state, size = TrainingState(plan, plan.device), plan.settings.batch_size
    state.statistics = statistics(plan.data, plan.device)
    step = make_step(state.weights, state.first, state.second, plan.settings, size, Processes(0, 1, plan.device))
    x, took = state.rows(0, size), Took(0, 0)
    with tf32_products(plan.dtype == "tf32"):
        for number in (1, 2):
            passed = stopwatch()
            _ = step(x, plan.settings.lr, number).reconstruction  # reading a number waits for the step
            took = passed()
    return took
