"""Train a small HyenaDNA by next-base prediction, alone or as one of several processes under ``torchrun``."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import make_folder, write_provenance
from sae_tracks.genome import Genome
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, load_causal_lm
from sae_tracks.lm.tokens import BASES
from sae_tracks.pretrain.held_out import HeldOutScores, score_held_out
from sae_tracks.pretrain.loss import check_scorable
from sae_tracks.pretrain.parts import parts_outside
from sae_tracks.pretrain.windows import WindowSampler
from sae_tracks.regions import GenomicRegion
from sae_tracks.train.checkpoint import CHECKPOINT, LOG, Run, TrainingState, cut_log, finished, save_model
from sae_tracks.train.parallel import Processes, is_first, processes

log = logging.getLogger(__name__)
IGNORED = -100
LOG_EVERY = 50  # steps
OnStep = Callable[[int, float], None]
SIZES = {  # name: (d_model, blocks, bases)
    "nano": (128, 4, 2048),
    "tiny": (128, 2, 1024),
    "small-32k": (256, 4, 32768),
}


@dataclass(frozen=True, slots=True)
class PretrainSettings:
    """How a language model is trained."""

    size: str = "nano"
    """One of `SIZES`."""
    steps: int = 4000
    """Optimizer steps; 0 saves the untrained model."""
    batch_size: int = 16
    """Windows a step, over all processes."""
    lr: float = 3e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.1
    """On matrices alone."""
    warmup: float = 0.05
    """Share of the steps in which the rate rises linearly; it then falls as a cosine to a hundredth of the peak."""
    seed: int = 0
    """Of the initial weights and of every window drawn."""
    save_every: int = 200
    """Steps between checkpoints, from which an interrupted run goes on."""


def pretrain(
    genome: Genome,
    folder: Path,
    settings: PretrainSettings,
    *,
    held_out: Iterable[GenomicRegion] = (),
    device: str = "auto",
    on_step: OnStep = lambda step, loss: None,
) -> HeldOutScores | None:
    """Train a HyenaDNA on both strands of a genome and save it, in half precision, as a transformers folder.

    Every step draws its windows from a generator seeded with (seed, step), so a run that was interrupted and goes on
    from its checkpoint draws what it would have drawn. A folder in which the same run is complete is left as it is.

    Parameters
    ----------
    genome : Genome
        Training sequence; windows hold no run of >= 100 N.
    folder : path
        Where the model goes: config.json, model.safetensors, tokenizer, ``train_log.jsonl``, ``provenance.json``.
    held_out : iterable of GenomicRegion
        Never trained on; the model as it was saved is scored on them at the end.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    on_step : callable
        Told the step, from 1, and its loss, in the first process.

    Returns
    -------
    HeldOutScores or None
        None where nothing is held out, and in all processes but the first.

    Raises
    ------
    SaeTracksError
        The folder holds another run (other settings, genome or held-out regions) or a damaged checkpoint, no stretch
        is as long as a window, the held-out regions hold no base to score, a batch has fewer windows than there are
        processes, these see different checkpoints, or the loss diverged.
    """
    held_out, folder = genome.merged(list(held_out)), Path(folder)
    run = {"settings": asdict(settings), "genome": genome.identity(genome.lengths), "held_out": [*map(str, held_out)]}
    if record := finished(folder, run):
        (folder / CHECKPOINT).unlink(missing_ok=True)
        log.info("%s is complete: this run has been made before", folder)
        return HeldOutScores.from_record(record["held_out_scores"]) if record.get("held_out_scores") else None
    training = parts_outside(genome, held_out)
    if held_out:
        check_scorable(genome, held_out)
    sampler = WindowSampler(genome, training, SIZES[settings.size][2])
    with processes(device) as group:
        state = _train(sampler, settings, folder, run, group, on_step)
    if not is_first():
        return None
    save_model(state.model, folder)
    saved = load_causal_lm(str(folder))[0].to(group.device)
    scores = score_held_out(saved, genome, held_out, training) if held_out else None
    how = {"seconds": round(state.seconds, 1), "processes": group.count, "device": group.device.type}
    how["bases_read"] = settings.steps * settings.batch_size * sampler.length
    whence = {"path": str(genome.path), "contigs": run["genome"]}
    write_provenance(folder, **{**run, "genome": whence}, **how, held_out_scores=scores and asdict(scores))
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return scores


def _train(
    sampler: WindowSampler, settings: PretrainSettings, folder: Path, run: Run, group: Processes, on_step: OnStep
) -> TrainingState:
    """All steps from the checkpoint, or from the first; ends with a checkpoint of the last."""
    share = group.share(settings.batch_size)
    model = new_model(settings.size, settings.seed).to(group.device).train()
    state = TrainingState(model, _optimizer(model, settings))
    state.load(folder, run)
    if group.add_up(torch.tensor(state.step, device=group.device)) != group.count * state.step:
        raise SaeTracksError(f"the processes found different checkpoints in {folder}: it must be one that all share")
    if state.step:
        log.info("going on from step %d", state.step)
    if group.rank == 0:
        cut_log(make_folder(folder), state.step)
    started = time.monotonic() - state.seconds
    for step in range(state.step, settings.steps):
        ids = torch.from_numpy(sampler.batch(settings.batch_size, settings.seed, step, share)).to(group.device)
        loss = _step(state, ids, learning_rate(step, settings), group)
        if not math.isfinite(loss):
            raise SaeTracksError(f"the loss diverged at step {step + 1}: lower --lr (it is {settings.lr})")
        state.step, state.seconds = step + 1, time.monotonic() - started
        if group.rank == 0:
            _record(state, loss, settings, folder, run)
            on_step(state.step, loss)
    if group.rank == 0:
        state.save(folder, run)
    return state


def _record(state: TrainingState, loss: float, settings: PretrainSettings, folder: Path, run: Run) -> None:
    """Every so often a line in the log, and a checkpoint."""
    if state.step % LOG_EVERY == 0 or state.step == settings.steps:
        rate = learning_rate(state.step - 1, settings)
        line = {"step": state.step, "loss": loss, "lr": rate, "seconds": round(state.seconds, 1)}
        with (folder / LOG).open("a") as journal:
            journal.write(json.dumps(line) + "\n")
    if state.step % settings.save_every == 0:
        state.save(folder, run)


def new_model(size: str, seed: int) -> HyenaDNAForCausalLM:
    """A HyenaDNA of one of `SIZES` with initial weights drawn from `seed`."""
    d_model, layers, bases = SIZES[size]
    torch.manual_seed(seed)
    return HyenaDNAForCausalLM(HyenaDNAConfig(d_model=d_model, n_layer=layers, max_seq_len=bases + 2, embed_dropout=0))


def learning_rate(step: int, settings: PretrainSettings) -> float:
    """Linear warm-up, then a cosine to a hundredth of the peak."""
    warmup = max(round(settings.warmup * settings.steps), 1)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    progress = (step - warmup) / max(settings.steps - warmup, 1)
    return settings.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def _optimizer(model: torch.nn.Module, settings: PretrainSettings) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.ndim == 2 and p.shape[0] > 1]
    others = [p for p in model.parameters() if not (p.ndim == 2 and p.shape[0] > 1)]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.98), fused=True)


def _step(state: TrainingState, ids: torch.Tensor, lr: float, group: Processes) -> float:
    """One update from this process's windows and those of the others; the mean loss over all their bases."""
    for parameters in state.optimizer.param_groups:
        parameters["lr"] = lr
    state.optimizer.zero_grad(set_to_none=True)
    labels = labels_of(ids)[:, 1:]
    logits = state.model(ids).logits[:, :-1].float()
    total = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
    total.backward()
    loss = _mean_gradients(state.model, total.detach(), (labels != IGNORED).sum(), group)
    clip_grad_norm_(state.model.parameters(), 1.0)
    state.optimizer.step()
    return loss


def _mean_gradients(model: torch.nn.Module, total: torch.Tensor, bases: torch.Tensor, group: Processes) -> float:
    """Turn the gradients of sums over bases into those of the mean over the bases of all processes; the mean loss.

    Sums are exchanged, not means: windows with N count for as many bases as they have, wherever they lie.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    sums = group.add_up(torch.cat([parameters_to_vector(gradients), torch.stack([total, bases.to(total)])]))
    means = sums / sums[-1].clamp(min=1)
    vector_to_parameters(means, gradients)
    return means[-2].item()


def labels_of(ids: torch.Tensor) -> torch.Tensor:
    """The ids themselves, with everything but A, C, G, T left out of the loss."""
    return ids.where(torch.isin(ids, torch.tensor(BASES, device=ids.device)), IGNORED)
