"""Train a sparse autoencoder on shuffled activation shards, alone or as one of several processes under ``torchrun``."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from sae_tracks.files import make_folder, read_json, write_provenance
from sae_tracks.sae import SAE, load_sae, save_sae
from sae_tracks.sae.directory import CONFIG
from sae_tracks.threads import alone
from sae_tracks.train.checkpoint import Run, check_same_step, newest, refuse_another_run, remove_checkpoints
from sae_tracks.train.measure import MEASURED_ROWS, Statistics, batch_threshold, measure_features, statistics
from sae_tracks.train.parallel import Processes, is_first, processes
from sae_tracks.train.plan import TrainPlan
from sae_tracks.train.recorder import (
    DIVERGED,
    OnStep,
    Recorder,
    TrainingLog,
    diverged,
    interrupts,
    is_looked_at,
    summary_writer,
)
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.state import SAEState, initial_weights
from sae_tracks.train.step import StepResult, make_step

log = logging.getLogger(__name__)


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
    run = plan.identity()
    if _is_complete(out, run):
        log.info("%s is complete: this run has been made before", out)
        if not is_first():
            return None
        remove_checkpoints(out)
        return load_sae(out)
    with processes(str(plan.device)) as group:
        _set_precision(plan)
        state = _begin(plan, out, run, group)
        if group.rank == 0:
            remove_checkpoints(out, after=state.step)
            write_provenance(make_folder(out), data=plan.data.name, **run["settings"])
            with TrainingLog(out, state.step, tensorboard=tensorboard) as lines, interrupts(group) as stopped:
                _train(plan, state, group, Recorder(plan, state, out, run, lines, on_step, stopped))
        else:
            _train(plan, state, group, lambda result, lr: None)
    return _finish(plan, state, out) if group.rank == 0 else None


def _is_complete(out: Path, run: Run) -> bool:
    """Whether a folder holds the SAE of this run; another one is refused."""
    if not (out / CONFIG).is_file():
        return False
    training = read_json(out / CONFIG).get("metadata", {}).get("training", {})
    found = {"settings": {name: training.get(name) for name in run["settings"]}, "data": training.get("data_sha256")}
    refuse_another_run(out / CONFIG, found, run)
    return True


def _begin(plan: TrainPlan, out: Path, run: Run, group: Processes) -> SAEState:
    """The state at the start, or that of the newest checkpoint, the same in all processes."""
    path = newest(out, run)
    facts = statistics(plan.data, group.device) if path is None else Statistics(torch.zeros(plan.data.d_model), 1.0)
    state = SAEState(initial_weights(plan, group.device), facts)
    if path:
        state.load(path)
        log.info("going on from step %d of %d", state.step, plan.steps)
    log.info("|mean| / |std| of the activations (gamma) %.3g; they are centred", state.statistics.gamma)
    check_same_step(group, state.step, out)
    return state


def _train(plan: TrainPlan, state: SAEState, group: Processes, record: Callable[[StepResult, float], None]) -> None:
    """The training loop: one optimizer step a turn."""
    share = group.share(plan.settings.batch_size)
    step = make_step(state.weights, state.first, state.second, plan.settings, share.stop - share.start, group)
    for number, x in _batches(plan, state, share):
        lr = learning_rate(number, plan.steps, plan.settings)
        result = step(x, lr, number, _dead(plan, state))
        state.step = number
        state.fired.masked_fill_(result.active > 0, number * plan.settings.batch_size)
        if is_looked_at(number, plan) and not result.fvu <= DIVERGED:
            raise diverged(plan, number)
        record(result, lr)


def _dead(plan: TrainPlan, state: SAEState) -> torch.Tensor | None:
    """Features that learn what the others leave over."""
    if plan.settings.arch == "standard":
        return None
    return (state.fired < state.step * plan.settings.batch_size - plan.settings.dead_after).nonzero().flatten()


def _batches(plan: TrainPlan, state: SAEState, share: slice) -> Iterator[tuple[int, torch.Tensor]]:
    """Number of a step and its rows, consecutive ones of the data, going round; the next are read ahead.

    They are centred and scaled.
    """
    mean, scale = state.statistics.mean.to(state.weights.flat), _scale(plan, state)

    def read(step: int) -> torch.Tensor:
        start = step * plan.settings.batch_size
        rows = torch.from_numpy(plan.data.read_rows(start + share.start, start + share.stop))
        return rows.to(mean.device).to(mean.dtype).sub_(mean).mul_(scale)

    with ThreadPoolExecutor(1, initializer=alone) as reader:
        ahead = reader.submit(read, state.step)
        for step in range(state.step, plan.steps):
            x, ahead = ahead.result(), reader.submit(read, step + 1)
            yield step + 1, x


def _scale(plan: TrainPlan, state: SAEState) -> float:
    """What centred activations are multiplied by."""
    return math.sqrt(plan.data.d_model / state.statistics.variance) if plan.settings.scale_input else 1.0


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Learning rate of a step, from 1: a linear rise, constant, a linear fall that would be 0 a step after the last."""
    rise = step / max(settings.lr_warmup * steps, 1)
    fall = (steps + 1 - step) / max(settings.lr_decay * steps, 1)
    return settings.lr * min(1.0, rise, fall)


def _finish(plan: TrainPlan, state: SAEState, out: Path) -> SAE:
    """Measure the trained autoencoder and write it."""
    facts = state.statistics
    trained = _fold(state.weights.sae(), facts.mean.cpu(), _scale(plan, state))
    if plan.settings.arch == "jumprelu":
        trained.threshold = state.weights.threshold.cpu().float() / _scale(plan, state)
    elif plan.settings.arch == "topk":
        trained.k = plan.settings.k
    elif plan.settings.arch == "batchtopk":
        trained.threshold = batch_threshold(trained, plan.data, plan.rows, plan.settings.k)
    trained.stats, measured = measure_features(trained, plan.data, plan.rows, facts.mean.cpu())
    trained.metadata = _metadata(plan, state, measured)
    write_provenance(out, data=plan.data.name, **trained.metadata["training"])
    save_sae(trained, out)
    remove_checkpoints(out)
    return trained


def _fold(sae: SAE, mean: torch.Tensor, scale: float) -> SAE:
    """The autoencoder of raw activations x that equals one of ``scale * (x - mean)``, its features divided by scale."""
    return SAE(sae.W_enc, sae.b_enc / scale, sae.W_dec, sae.b_dec / scale + mean)


def _metadata(plan: TrainPlan, state: SAEState, measured: dict[str, float | int]) -> dict[str, Any]:
    """What is known of the SAE; ``model_name`` and ``hook_name`` are where SAELens looks."""
    manifest, run = plan.data.manifest, plan.identity()
    windows = {name: manifest[name] for name in ("window", "context", "windows") if name in manifest}
    return {
        "model_name": manifest["lm"]["model"],
        "hook_name": manifest["lm"]["hook_name"],
        "lm": manifest["lm"],
        "read_strands": manifest["read_strands"],
        "genome": manifest["genome"],
        **windows,
        "training": {
            **run["settings"],
            "rows": plan.rows,
            "data_rows": plan.data.rows,
            "data_sha256": run["data"],
            "gamma": state.statistics.gamma,
        },
        "maxima": {"measured_on": "training rows", "most_rows": MEASURED_ROWS, **measured},
    }


def _set_precision(plan: TrainPlan) -> None:
    """Of matrix products on a GPU."""
    torch.backends.cuda.matmul.allow_tf32 = plan.dtype == "tf32"


def time_step(plan: TrainPlan) -> float:
    """Seconds of one step, the second of two on the first rows of the data."""
    _set_precision(plan)
    facts = statistics(plan.data, plan.device)
    state = SAEState(initial_weights(plan, plan.device), facts)
    group = Processes(0, 1, plan.device)
    step = make_step(state.weights, state.first, state.second, plan.settings, plan.settings.batch_size, group)
    rows = torch.from_numpy(plan.data.read_rows(0, plan.settings.batch_size)).to(plan.device)
    x = rows.to(state.weights.flat).sub_(facts.mean).mul_(_scale(plan, state))
    losses = [step(x, plan.settings.lr, 1).reconstruction]  # a number is there when the step is done
    started = time.perf_counter()
    losses.append(step(x, plan.settings.lr, 2).reconstruction)
    return time.perf_counter() - started
