"""Train a small HyenaDNA by next-base prediction."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, make_folder, write_provenance
from sae_tracks.genome import Genome, reverse_complement
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, HyenaDNATokenizer, base_tokens, quiet_transformers
from sae_tracks.lm.tokens import BASES
from sae_tracks.regions import GenomicRegion

log = logging.getLogger(__name__)
IGNORED = -100
CHECKPOINT = "checkpoint.pt"
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
    """Windows a step."""
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
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> float | None:
    """Train a HyenaDNA on both strands of a genome and save it, in half precision, as a transformers folder.

    Every step draws its windows from a generator seeded with (seed, step), so a run that was interrupted and goes on
    from its checkpoint draws what it would have drawn.

    Parameters
    ----------
    genome : Genome
        Training sequence; windows hold no run of >= 100 N.
    folder : path
        Where the model goes: config.json, model.safetensors, tokenizer, ``train_log.jsonl``.
    held_out : iterable of GenomicRegion
        Never trained on; the loss on them is returned.

    Returns
    -------
    float or None
        Mean next-base cross entropy on the held-out regions, nats a base.
    """
    make_folder(folder)
    model = new_model(settings.size, settings.seed)
    held_out = genome.merged(list(held_out))
    sampler = WindowSampler(genome, SIZES[settings.size][2], held_out)
    optimizer = _optimizer(model, settings)
    first = _resume(folder, model, optimizer, settings)
    model.train()
    started = time.monotonic()
    with (folder / "train_log.jsonl").open("a") as journal:
        for step in range(first, settings.steps):
            ids = torch.from_numpy(sampler.batch(settings.batch_size, settings.seed, step))
            loss = _step(model, optimizer, ids, learning_rate(step, settings))
            on_step(step + 1, loss)
            if not math.isfinite(loss):
                raise SaeTracksError(f"the loss diverged at step {step + 1}: lower --lr (it is {settings.lr})")
            if (step + 1) % 50 == 0:
                record = {"step": step + 1, "loss": loss, "lr": learning_rate(step, settings)}
                record["seconds"] = round(time.monotonic() - started, 1)
                journal.write(json.dumps(record) + "\n")
                journal.flush()
            if (step + 1) % settings.save_every == 0:
                _save_checkpoint(folder, model, optimizer, step + 1, settings)
    save_model(model, folder)
    held_out_loss = cross_entropy(model.float(), genome, held_out)[0] if held_out else None
    (folder / CHECKPOINT).unlink(missing_ok=True)
    write_provenance(
        folder,
        settings=asdict(settings),
        genome={"path": str(genome.path), "contigs": genome.identity(genome.lengths)},
        held_out=[str(region) for region in held_out],
        held_out_nats_per_base=held_out_loss,
    )
    return held_out_loss


def new_model(size: str, seed: int) -> HyenaDNAForCausalLM:
    """A HyenaDNA of one of `SIZES` with initial weights drawn from `seed`."""
    d_model, layers, bases = SIZES[size]
    torch.manual_seed(seed)
    return HyenaDNAForCausalLM(HyenaDNAConfig(d_model=d_model, n_layer=layers, max_seq_len=bases + 2, embed_dropout=0))


def save_model(model: HyenaDNAForCausalLM, folder: Path) -> None:
    """Save weights in fp16 with config and tokenizer; loading gives exactly the fp16 values in fp32."""
    with quiet_transformers():
        model.half().save_pretrained(folder)
        HyenaDNATokenizer(model_max_length=model.config.max_seq_len).save_pretrained(folder)


class WindowSampler:
    """Windows of one length, drawn uniformly over the places where they fit, from either strand."""

    def __init__(self, genome: Genome, length: int, held_out: list[GenomicRegion]) -> None:
        self.genome, self.length = genome, length
        parts = [p for c in genome.lengths for s in genome.stretches(c) for p in _subtract(s, held_out)]
        self.parts = [part for part in parts if len(part) >= length]
        if not self.parts:
            raise SaeTracksError(f"{genome.path.name} has no stretch of {length:,} bases to train on")
        self.places = np.cumsum([len(part) - length + 1 for part in self.parts])

    def batch(self, size: int, seed: int, step: int) -> np.ndarray:
        """(size, length) int64 token ids, a function of (seed, step) alone."""
        rng = np.random.default_rng([seed, step])
        return np.stack([base_tokens(self._draw(rng)) for _ in range(size)])

    def _draw(self, rng: np.random.Generator) -> bytes:
        at = int(rng.integers(self.places[-1]))
        index = int(np.searchsorted(self.places, at, side="right"))
        part = self.parts[index]
        start = part.start + at - (int(self.places[index - 1]) if index else 0)
        sequence = self.genome.sequence(GenomicRegion(part.contig, start, start + self.length))
        return reverse_complement(sequence) if rng.integers(2) else sequence


def _subtract(region: GenomicRegion, others: list[GenomicRegion]) -> Iterator[GenomicRegion]:
    """The parts of a region outside others, which are disjoint and ascend."""
    start = region.start
    for other in others:
        if other.contig == region.contig and other.end > start and other.start < region.end:
            if other.start > start:
                yield GenomicRegion(region.contig, start, other.start)
            start = other.end
    if start < region.end:
        yield GenomicRegion(region.contig, start, region.end)


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


def _step(model: HyenaDNAForCausalLM, optimizer: torch.optim.Optimizer, ids: torch.Tensor, lr: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
    loss = model(ids, labels=labels_of(ids)).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def labels_of(ids: torch.Tensor) -> torch.Tensor:
    """The ids themselves, with everything but A, C, G, T left out of the loss."""
    return ids.where(torch.isin(ids, torch.tensor(BASES)), IGNORED)


@torch.inference_mode()
def cross_entropy(
    model: HyenaDNAForCausalLM, genome: Genome, regions: Iterable[GenomicRegion]
) -> tuple[float, np.ndarray]:
    """Next-base cross entropy over regions, forward strand, each base once.

    Windows of the model's length overlap by half, so that all bases but the first of a stretch have at least half a
    window of context. The softmax is over A, C, G, T alone.

    Returns
    -------
    mean : float
        Nats a base.
    per_base : (n,) float32
        One value for every readable base that has a predecessor in its stretch, in order.
    """
    model.eval()
    window = model.config.max_seq_len - 2
    losses = []
    parts = [s.overlap(region) for region in regions for s in genome.stretches(region.contig)]
    for part in filter(None, parts):
        for start in range(part.start, part.end, window // 2):
            end = min(start + window, part.end)
            known = window // 2 if start > part.start else 1
            if end - start > known:
                losses.append(_losses(model, genome.sequence(GenomicRegion(part.contig, start, end)))[known - 1 :])
    per_base = np.concatenate([np.empty(0, np.float32), *losses])
    per_base = per_base[~np.isnan(per_base)]
    if not len(per_base):
        raise SaeTracksError("the held-out regions hold no base to score: all are N, or alone between N")
    return float(per_base.mean(dtype=np.float64)), per_base


def _losses(model: HyenaDNAForCausalLM, sequence: bytes) -> np.ndarray:
    """(n - 1,) float32: loss of base 1..n-1 given those before; NaN where the base is not A, C, G, T."""
    ids = torch.from_numpy(base_tokens(sequence))
    logits = model(ids[None, :-1]).logits[0][:, list(BASES)].float()
    targets = labels_of(ids[1:])
    loss = F.cross_entropy(logits, (targets - BASES[0]).clamp(min=0), reduction="none")
    return loss.masked_fill(targets == IGNORED, math.nan).numpy()


def _save_checkpoint(folder: Path, model, optimizer, step: int, settings: PretrainSettings) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    with atomic(folder / CHECKPOINT) as temporary:
        torch.save({**state, "settings": asdict(settings)}, temporary)


def _resume(folder: Path, model, optimizer, settings: PretrainSettings) -> int:
    """Load the checkpoint of an interrupted run of the same settings; returns the step to go on with."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    if state["settings"] != asdict(settings):
        raise SaeTracksError(f"{path} is of a run with other settings: name another folder or delete it")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    log.info("going on from step %d", state["step"])
    return state["step"]
