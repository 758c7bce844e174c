"""Train a small HyenaDNA by next-base prediction, alone or as one of several processes under ``torchrun``."""

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, atomic, make_folder, scratch_folder, unwritable, write_provenance
from sae_tracks.genome import Genome
from sae_tracks.json_file import read_json
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, HyenaDNATokenizer, load_causal_lm, quiet_transformers
from sae_tracks.lm.tokens import BASES, SPECIAL_TOKENS
from sae_tracks.pretrain.held_out import HeldOutScores, score_held_out
from sae_tracks.pretrain.loss import check_scorable
from sae_tracks.pretrain.windows import WindowSampler, stretches_outside
from sae_tracks.regions import GenomicRegion
from sae_tracks.threads import ForEachSlice, in_threads
from sae_tracks.train.checkpoint import (
    Run,
    checkpoints,
    refuse_another_run,
    remove_checkpoints,
    resume,
    save_checkpoint,
)
from sae_tracks.train.log import TrainingLog
from sae_tracks.train.parallel import Processes, is_first, processes

log = logging.getLogger(__name__)
WEIGHTS = "model.safetensors"
IGNORED = -100
LOG_EVERY = 50  # steps
SAVE_SECONDS = 300.0  # between checkpoints, if the steps are long
SLICE = (
    4096  # bases whose gradients one thread computes: on a CPU, threads that share every product wait for each other
)
OnStep = Callable[[int, float], None]


class Size(NamedTuple):
    """The shape of a model."""

    d_model: int
    blocks: int
    bases: int  # the longest window
    emb_dim: int = 5  # of the filters' positions; with few, a filter cannot tell neighbouring bases apart


SIZES = {
    "nano": Size(128, 4, 2048),
    "tiny": Size(128, 2, 1024),
    "compact": Size(128, 4, 512, emb_dim=65),
    "small-32k": Size(256, 4, 32768),
}


@dataclass(frozen=True, slots=True)
class PretrainSettings:
    """How a language model is trained."""

    size: str = "nano"
    """One of `SIZES`."""
    steps: int = 4000
    """Optimizer steps; 0 saves the untrained model."""
    batch_size: int = 16
    """Windows per step, over all processes."""
    lr: float = 3e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.1
    """Weight decay of matrices; other parameters have none."""
    warmup: float = 0.05
    """Share of the steps in which the rate rises linearly; it then falls as a cosine to a hundredth of the peak."""
    dtype: str = "float32"
    """``float32``, or ``bf16`` for matrix products in bfloat16 with weights in float32."""
    seed: int = 0
    """Seed of the initial weights and of every window drawn."""
    save_every: int = 200
    """Steps between checkpoints, from which an interrupted run goes on; there is also one every five minutes."""


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

    Windows hold no run of >= 100 N. Every step draws its own from a generator seeded with (seed, step), so a run that
    was interrupted and goes on from its checkpoint draws what it would have drawn. The folder gets config.json,
    model.safetensors, tokenizer, ``train_log.jsonl`` and ``provenance.json``. If the same run is complete in it, it is
    left as it is.

    Parameters
    ----------
    held_out : iterable of GenomicRegion
        Never trained on; the model as it was saved is scored on them at the end.
    on_step : callable
        Called in the first process with the step, from 1, and its loss.

    Returns
    -------
    HeldOutScores or None
        None if nothing is held out, and in all processes but the first.

    Raises
    ------
    SaeTracksError
        The folder holds another run (other settings, genome or held-out regions), no stretch is as long as a window,
        no held-out base can be scored, processes outnumber windows or see different checkpoints, or the loss diverged.
    """
    held_out, folder = genome.merged(list(held_out)), Path(folder)
    run = _identity(genome, settings, held_out)
    if record := _finished(folder, run):
        remove_checkpoints(folder)
        log.info("%s is complete: this run has been made before", folder)
        return HeldOutScores.from_record(record["held_out_scores"]) if record.get("held_out_scores") else None
    training = stretches_outside(genome, held_out)
    if held_out:
        check_scorable(genome, held_out)
    sampler = WindowSampler(genome, training, SIZES[settings.size].bases)
    with processes(device) as group:
        state = _train(sampler, settings, folder, run, group, on_step)
    if not is_first():
        return None
    save_model(state.model, folder)
    saved = load_causal_lm(str(folder))
    torch.nn.Module.to(saved, group.device)
    scores = score_held_out(saved, genome, held_out, training) if held_out else None
    facts = {"seconds": round(state.seconds, 1), "processes": group.count, "device": group.device.type}
    facts["bases_read"] = settings.steps * settings.batch_size * sampler.length
    facts["held_out_scores"] = scores and asdict(scores)
    write_provenance(folder, **{**run, "settings": asdict(settings), "genome": genome.record(genome.lengths)}, **facts)
    remove_checkpoints(folder)
    return scores


def _identity(genome: Genome, settings: PretrainSettings, held_out: Iterable[GenomicRegion]) -> dict[str, Any]:
    """What the weights depend on; windows are drawn over the contigs in their order."""
    return {
        "settings": _of_the_weights(asdict(settings)),
        "genome": genome.identity(genome.lengths),
        "held_out": [*map(str, held_out)],
        "contig_order": list(genome.lengths),
    }


def _finished(folder: Path, run: Run) -> dict[str, Any] | None:
    """The provenance of a folder in which this run is complete; None if it is not, an error if another run is."""
    provenance, weights = folder / PROVENANCE, folder / WEIGHTS
    if provenance.is_file():
        remedy = "it is not of a pretraining run of this version: name another folder"
        record = read_json(provenance, {"genome": dict, "settings?": dict}, remedy)
        contigs, settings = record["genome"].get("contigs"), _of_the_weights(record.get("settings", {}))
        found = {**record, "genome": contigs, "settings": settings}
        refuse_another_run(provenance, found, run)
        return record if weights.is_file() else None
    if weights.is_file() and not checkpoints(folder):
        raise SaeTracksError(f"{weights} was not made by this run: name another folder or delete this one")
    return None


def _of_the_weights(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings on which the weights depend: all but the interval of checkpoints."""
    return {name: value for name, value in settings.items() if name != "save_every"}


class LMState:
    """A language model in training: everything on which the next steps depend, besides the data."""

    def __init__(self, model: HyenaDNAForCausalLM, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.step, self.seconds = 0, 0.0

    def save(self, folder: Path, run: Run) -> None:
        """Write a checkpoint."""
        moments = self.optimizer.state_dict()["state"]
        tensors = {f"model.{name}": tensor.clone() for name, tensor in self.model.state_dict().items()}
        tensors |= {f"adam.{i}.{key}": tensor for i, each in moments.items() for key, tensor in each.items()}
        seconds = torch.tensor(self.seconds, dtype=torch.float64)
        save_checkpoint(folder, self.step, {**tensors, "seconds": seconds}, run)

    def load(self, saved: dict[str, torch.Tensor]) -> None:
        """Take over the tensors of a checkpoint."""
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name in saved:
            if name.startswith("adam."):
                _, i, key = name.split(".")
                moments.setdefault(int(i), {})[key] = saved[name]
        weights = {name.removeprefix("model."): saved[name] for name in saved if name.startswith("model.")}
        self.model.load_state_dict(weights)
        for i, parameter in enumerate(p for group in self.optimizer.param_groups for p in group["params"]):
            if any(tensor.shape not in (parameter.shape, ()) for tensor in moments.get(i, {}).values()):
                raise ValueError(f"the moments of weight {i} are of another shape")
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.seconds = saved["seconds"].item()


def _train(
    sampler: WindowSampler, settings: PretrainSettings, folder: Path, run: Run, group: Processes, on_step: OnStep
) -> LMState:
    """Take all steps from the checkpoint, or from the first, and end with a checkpoint of the last.

    Ctrl-C and SIGTERM end it after a checkpoint.
    """
    share = group.share(settings.batch_size)
    model = new_model(settings.size, settings.seed).train()
    torch.nn.Module.to(model, group.device)
    state = LMState(model, _optimizer(model, settings))
    state.step = resume(state.load, folder, run, group, settings.steps)
    if group.rank == 0:
        remove_checkpoints(make_folder(folder), after=state.step)
    saved = time.monotonic()
    started = saved - state.seconds
    lines_of = TrainingLog(folder, state.step) if group.rank == 0 else nullcontext()
    with lines_of as lines, in_threads() as each, group.until_stopped() as stopped:
        for step in range(state.step, settings.steps):
            ids = torch.from_numpy(sampler.batch(settings.batch_size, settings.seed, step, share)).to(group.device)
            loss = _step(state, ids, learning_rate(step, settings), settings.dtype, group, each)
            if not math.isfinite(loss):
                raise SaeTracksError(f"the loss diverged at step {step + 1}: lower --lr (it is {settings.lr})")
            state.step, state.seconds = step + 1, time.monotonic() - started
            if lines:
                last = state.step == settings.steps
                if state.step % LOG_EVERY == 0 or last:
                    rate, seconds = learning_rate(step, settings), round(state.seconds, 1)
                    lines.write({"step": state.step, "loss": loss, "lr": rate, "seconds": seconds})
                if state.step % settings.save_every == 0 or last or time.monotonic() - saved > SAVE_SECONDS:
                    state.save(folder, run)
                    saved = time.monotonic()
                on_step(state.step, loss)
            if reason := stopped():
                if lines:
                    state.save(folder, run)
                raise reason
    return state


def new_model(size: str, seed: int) -> HyenaDNAForCausalLM:
    """A HyenaDNA of one of `SIZES` with initial weights drawn from `seed`."""
    d_model, blocks, bases, emb_dim = SIZES[size]
    torch.manual_seed(seed)
    return HyenaDNAForCausalLM(
        HyenaDNAConfig(
            d_model=d_model, n_layer=blocks, max_seq_len=bases + SPECIAL_TOKENS, emb_dim=emb_dim, embed_dropout=0
        )
    )


def learning_rate(step: int, settings: PretrainSettings) -> float:
    """Linear warm-up, then a cosine to a hundredth of the peak."""
    warmup = max(round(settings.warmup * settings.steps), 1)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    progress = (step - warmup) / max(settings.steps - warmup, 1)
    return settings.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def _optimizer(model: torch.nn.Module, settings: PretrainSettings) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [{"params": [], "weight_decay": w} for w in (settings.weight_decay, 0.0)]
    for p in model.parameters():
        groups[0 if p.ndim == 2 and p.shape[0] > 1 else 1]["params"].append(p)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.98), fused=True)


def _step(state: LMState, ids: torch.Tensor, lr: float, dtype: str, group: Processes, each: ForEachSlice) -> float:
    """Update once, from this process's windows and those of the others; returns the mean loss over all their bases."""
    for parameters in state.optimizer.param_groups:
        parameters["lr"] = lr
    total = _sum_gradients(state.model, ids, dtype, each)
    loss = _mean_gradients(state.model, total, (labels_of(ids)[:, 1:] != IGNORED).sum(), group)
    clip_grad_norm_(state.model.parameters(), 1.0)
    state.optimizer.step()
    return loss


def _sum_gradients(model: HyenaDNAForCausalLM, ids: torch.Tensor, dtype: str, each: ForEachSlice) -> torch.Tensor:
    """Set the gradients of the loss summed over the bases of windows; returns that sum.

    On a CPU the windows are cut into slices of `SLICE` bases whose gradients are added in their order, so the result
    does not depend on the number of threads.
    """
    parameters = list(model.parameters())
    found: dict[int, tuple[torch.Tensor, ...]] = {}

    def differentiate(part: slice) -> None:
        with torch.enable_grad(), torch.autocast(ids.device.type, torch.bfloat16, enabled=dtype == "bf16"):
            logits = model(ids[part]).logits[:, :-1].float()
            labels = labels_of(ids[part])[:, 1:].flatten()
            total = F.cross_entropy(logits.flatten(0, 1), labels, ignore_index=IGNORED, reduction="sum")
        found[part.start] = (total.detach(), *torch.autograd.grad(total, parameters))

    if ids.device.type == "cpu":
        each(differentiate, len(ids), max(SLICE // ids.shape[1], 1))
    else:
        differentiate(slice(0, len(ids)))
    total, *gradients = (torch.stack(parts).sum(0) for parts in zip(*(found[at] for at in sorted(found)), strict=True))
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    return total


def _mean_gradients(model: torch.nn.Module, total: torch.Tensor, bases: torch.Tensor, group: Processes) -> float:
    """Turn gradients of sums over bases into those of the mean over the bases of all processes; returns the mean loss.

    Sums are exchanged, not means, so that windows with N count for as many bases as they have in whichever process.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    sums = group.add_up(torch.cat([parameters_to_vector(gradients), torch.stack([total, bases.to(total)])]))
    means = sums / sums[-1].clamp(min=1)
    vector_to_parameters(means, gradients)
    return means[-2].item()


def labels_of(ids: torch.Tensor) -> torch.Tensor:
    """The ids themselves; tokens other than A, C, G, T are left out of the loss."""
    return ids.where(torch.isin(ids, torch.tensor(BASES, device=ids.device)), IGNORED)


def save_model(model: HyenaDNAForCausalLM, folder: Path) -> None:
    """Save weights in fp16 with config and tokenizer, each file whole and the weights last."""
    make_folder(folder)
    try:
        with scratch_folder("model", folder) as made, quiet_transformers():
            deepcopy(model).half().save_pretrained(made)
            HyenaDNATokenizer(model_max_length=model.config.max_seq_len).save_pretrained(made)
            for path in sorted(made.iterdir(), key=lambda path: path.name == WEIGHTS):
                with atomic(folder / path.name) as temporary:  # a copy has the umask's mode, unlike safetensors' file
                    shutil.copyfile(path, temporary)
    except OSError as error:
        raise unwritable(folder, error) from error
    except SafetensorError as error:
        raise SaeTracksError(f"cannot write {folder / WEIGHTS}: {error}") from error
