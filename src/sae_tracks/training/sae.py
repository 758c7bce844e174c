"""Train a sparse autoencoder on shuffled activation shards."""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, make_folder, write_provenance
from sae_tracks.lm.load import resolve_device
from sae_tracks.sae import SAE, save_sae
from sae_tracks.shards import ActivationShards
from sae_tracks.training.gradients import Gradients
from sae_tracks.training.losses import LOSSES
from sae_tracks.training.measure import MEASURED_ROWS, Statistics, measure_features, statistics
from sae_tracks.training.presets import TrainSettings

log = logging.getLogger(__name__)
LOG = "train_log.jsonl"
LOG_EVERY = 20  # steps
DEAD_AFTER = 1 << 20  # rows without firing


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """A training run that was found possible.

    Attributes
    ----------
    data : ActivationShards
        Shuffled.
    settings : TrainSettings
    d_sae : int
        Features.
    steps : int
    seed : int
        Of the initial weights.
    device : torch.device
    memory : int
        Bytes on the device: weights, gradients, Adam's two moments, two buffers of a batch of features.
    """

    data: ActivationShards
    settings: TrainSettings
    d_sae: int
    steps: int
    seed: int
    device: torch.device
    memory: int


def plan_training(
    data: ActivationShards,
    settings: TrainSettings,
    *,
    d_sae: int | None = None,
    rows: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> TrainPlan:
    """Settle the sizes of a training run and refuse what cannot work.

    Parameters
    ----------
    data : ActivationShards
        Must be shuffled.
    d_sae : int, optional
        Features; default ``settings.expansion * d_model``.
    rows : int, optional
        Rows to train on, in whole batches; default those of the data, once. More go round again.
    """
    if not data.manifest.get("shuffled"):
        raise SaeTracksError(f"{data.folder} is in genome order: `sae-tracks shuffle {data.folder} -o ...` it first")
    if settings.loss not in LOSSES:
        raise SaeTracksError(f"no loss {settings.loss!r}: it is one of {', '.join(LOSSES)}")
    d_sae, rows = d_sae or settings.expansion * data.d_model, rows or data.rows
    if settings.batch_size > min(rows, data.rows):
        raise SaeTracksError(f"a batch of {settings.batch_size:,} rows; there are {min(rows, data.rows):,} to train on")
    weights = 2 * data.d_model * d_sae + data.d_model + d_sae
    memory = 4 * (4 * weights + settings.batch_size * (2 * d_sae + 4 * data.d_model))
    where = resolve_device(device)
    available = _memory_of(where)
    if memory > available:
        sizes = f"{memory / 2**30:,.1f} GiB of memory; there are {available / 2**30:,.1f}"
        raise SaeTracksError(f"{d_sae:,} features need {sizes}: lower --expansion, --d-sae or --batch-size")
    return TrainPlan(data, settings, d_sae, rows // settings.batch_size, seed, where, memory)


def _memory_of(device: torch.device) -> int:
    """Bytes of memory that a device has in all."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def train_sae(plan: TrainPlan, out: Path, on_step: Callable[[str], None] = lambda state: None) -> SAE:
    """Train, measure every feature on the training rows, and write an SAE directory.

    Parameters
    ----------
    plan : TrainPlan
        From `plan_training`.
    out : path
        SAE directory; ``train_log.jsonl`` goes there too.
    on_step : function
        Called once a step with a few words on the state.

    Returns
    -------
    SAE
        As written: for raw activations, float32, on the CPU.

    Raises
    ------
    SaeTracksError
        The activations are constant or not finite, or the loss diverged; no SAE is written then.
    """
    make_folder(out)
    facts = statistics(plan.data, plan.device)
    log.info("|mean| / |std| of the activations (gamma) %.3g; loss %s", facts.gamma, plan.settings.loss)
    scale = math.sqrt(plan.data.d_model / facts.variance) if plan.settings.scale_input else 1.0
    sae = initial_sae(plan)
    state = ""
    with atomic(out / LOG) as temporary, temporary.open("w") as journal:
        for record in _steps(plan, sae, facts.mean, scale):
            if record:
                journal.write(json.dumps(record) + "\n")
                journal.flush()
                state = "loss {loss:.4g}  L0 {l0:.1f}  FVU {fvu:.3f}".format(**record)
            on_step(state)
    trained = fold(sae, facts.mean, scale)
    stats, measured = measure_features(trained, plan.data, plan.steps * plan.settings.batch_size, facts.mean)
    trained = _move(trained, "cpu")
    trained.stats, trained.metadata = stats, _metadata(plan, facts, measured)
    save_sae(trained, out)
    write_provenance(out, data=str(plan.data.folder), **trained.metadata["training"])
    return trained


def initial_sae(plan: TrainPlan) -> SAE:
    """Random unit rows in the decoder, a multiple of its transpose in the encoder; see ``TrainSettings.first_bias``."""
    d_in, d_sae, first_bias = plan.data.d_model, plan.d_sae, plan.settings.first_bias
    decoder = torch.randn(d_sae, d_in, generator=torch.Generator().manual_seed(plan.seed))
    decoder /= decoder.norm(dim=1, keepdim=True)
    encoder = (1.0 if first_bias < 0 else 2 * d_in / d_sae) * decoder.T
    start = SAE(encoder.contiguous(), torch.full((d_sae,), first_bias), decoder, torch.zeros(d_in))
    return _move(start, plan.device)


def _move(sae: SAE, device: torch.device | str) -> SAE:
    return SAE(sae.W_enc.to(device), sae.b_enc.to(device), sae.W_dec.to(device), sae.b_dec.to(device))


def fold(sae: SAE, mean: torch.Tensor, scale: float) -> SAE:
    """The autoencoder of raw activations x that equals one of ``scale * (x - mean)``, its features divided by scale."""
    return SAE(sae.W_enc, sae.b_enc / scale, sae.W_dec, sae.b_dec / scale + mean)


def batches(plan: TrainPlan, mean: torch.Tensor, scale: float) -> Iterator[torch.Tensor]:
    """(n, d_model) float32 on the device: consecutive rows of the data, going round, centred and scaled."""
    size = plan.settings.batch_size
    for step in range(plan.steps):
        rows = torch.from_numpy(plan.data.read_rows(step * size, (step + 1) * size))
        yield rows.to(plan.device).float().sub_(mean).mul_(scale)


def _steps(plan: TrainPlan, sae: SAE, mean: torch.Tensor, scale: float) -> Iterator[dict[str, Any] | None]:
    """The training loop: one optimizer step a turn; yields what to log, or None."""
    settings = plan.settings
    gradients = _gradients(plan, sae)
    adam = torch.optim.Adam([sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec], lr=settings.lr, fused=True)
    fired = torch.zeros(plan.d_sae, dtype=torch.int64, device=plan.device)
    started = time.perf_counter()
    for step, x in enumerate(batches(plan, mean, scale), 1):
        rows = step * settings.batch_size
        adam.param_groups[0]["lr"] = lr = learning_rate(step, plan.steps, settings)
        reconstruction = gradients(x).item()
        if not math.isfinite(reconstruction):
            raise SaeTracksError(f"the loss diverged at step {step:,}: lower --lr (it is {settings.lr:g})")
        fired[gradients.features.amax(0) > 0] = rows
        tangent(sae.W_dec, gradients.gradient.W_dec)
        adam.step()
        sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
        if step % LOG_EVERY and step not in (1, plan.steps):
            yield None
            continue
        yield {
            "step": step,
            "rows": rows,
            "loss": reconstruction + gradients.penalty,
            "reconstruction": reconstruction,
            "l1": gradients.penalty,
            "l0": (gradients.features > 0).sum().item() / settings.batch_size,
            "fvu": (gradients.error.square().sum() / x.square().sum()).item(),
            "dead": (fired < rows - DEAD_AFTER).float().mean().item(),
            "lr": lr,
            "rows_per_second": round(rows / (time.perf_counter() - started)),
        }


def _gradients(plan: TrainPlan, sae: SAE) -> Gradients:
    settings = plan.settings
    return Gradients(sae, settings.batch_size, LOSSES[settings.loss], settings.l1)


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Of a step, counted from 1: a linear rise over the first share of the steps, then constant."""
    return settings.lr * min(1.0, step / max(settings.lr_warmup * steps, 1))


def tangent(weight: torch.Tensor, gradient: torch.Tensor) -> None:
    """Remove from each row of a gradient its part along the unit row of the weight, in place."""
    gradient -= (gradient * weight).sum(1, keepdim=True) * weight


def _metadata(plan: TrainPlan, facts: Statistics, measured: dict[str, float | int]) -> dict[str, Any]:
    """What is known of the SAE; ``model_name`` and ``hook_name`` are where SAELens looks."""
    manifest = plan.data.manifest
    return {
        "model_name": manifest["lm"]["model"],
        "hook_name": manifest["lm"]["hook_name"],
        "lm": manifest["lm"],
        "read_strands": manifest["read_strands"],
        "genome": manifest["genome"],
        "training": {
            **{name: value for name, value in asdict(plan.settings).items() if name != "expansion"},
            "seed": plan.seed,
            "steps": plan.steps,
            "rows": plan.steps * plan.settings.batch_size,
            "data_rows": plan.data.rows,
            "data_sha256": plan.data.checksum,
            "gamma": facts.gamma,
        },
        "maxima": {"measured_on": "training rows", "most_rows": MEASURED_ROWS, **measured},
    }


def time_step(plan: TrainPlan) -> float:
    """Seconds of one step, the second of two on the first rows of the data."""
    gradients = _gradients(plan, initial_sae(plan))
    x = torch.from_numpy(plan.data.read_rows(0, plan.settings.batch_size)).to(plan.device).float()
    gradients(x)
    started = time.perf_counter()
    gradients(x).item()
    return time.perf_counter() - started
