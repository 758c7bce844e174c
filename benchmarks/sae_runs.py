"""Runs that `sae_quality.py` compares: our trainer, SAELens' own, and principal components, on the same rows.

The last 100,000 rows of shuffled activations are for reporting (test), the 23,200 before them for choosing settings
(pick), and the whole batches before those for training. A run of more rows starts again at the first batch. Activations
are centred and scaled by the statistics of the training rows: our trainer does this itself, and SAELens' trainer gets
the same batches in the same order.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from sae_tracks.activations.shards import ActivationShards, open_shards
from sae_tracks.sae import SAE
from sae_tracks.train import measure
from sae_tracks.train.measure import statistics
from sae_tracks.train.plan import plan_training
from sae_tracks.train.settings import RECIPES, TrainSettings
from sae_tracks.train.train import train_sae

BATCH, PICK, TEST = 2048, 23_200, 100_000  # rows
CPU = torch.device("cpu")
Function = Callable[[torch.Tensor], torch.Tensor]
measure.MEASURED_ROWS = measure.THRESHOLD_ROWS = (
    BATCH  # `train_sae` measures training rows; here only the test rows matter
)


@dataclass(frozen=True, slots=True)
class Split:
    """Activations for training, (n, d) raw ones to pick by, and (n, d) raw ones to report on."""

    train: ActivationShards
    pick: torch.Tensor
    test: torch.Tensor


@dataclass(frozen=True, slots=True)
class Run:
    """An autoencoder as two functions of raw activations, and the seconds that its training took."""

    encode: Function
    decode: Function
    seconds: float


def split(folder: Path) -> Split:
    """The three parts of a folder of shuffled activations."""
    data = open_shards(folder)
    last = data.rows - TEST
    rows = (last - PICK) // BATCH * BATCH
    pick, test = (
        torch.from_numpy(data.read_rows(*edges)).float() for edges in ((last - PICK, last), (last, data.rows))
    )
    return Split(first_rows(data, rows), pick, test)


def first_rows(data: ActivationShards, rows: int) -> ActivationShards:
    """The data as if they ended there; `rows` must be whole batches, for none may go round in its midst."""
    return replace(data, manifest=data.manifest | {"rows": rows})


@torch.inference_mode()
def score(run: Run, x: torch.Tensor) -> dict[str, float]:
    """FVU about the rows' own mean, active features a row, and the share of the features that never are."""
    mean, error, active = x.mean(0), 0.0, torch.zeros(())
    for part in x.split(BATCH):
        f = run.encode(part)
        error += (run.decode(f) - part).square().sum().item()
        active = active + (f > 0).sum(0)
    dead = (active == 0).double().mean().item()
    return {"fvu": error / (x - mean).square().sum().item(), "l0": active.sum().item() / len(x), "dead": dead}


def train_ours(
    data: ActivationShards, settings: TrainSettings, steps: int, seed: int, out: Path | None = None, **sizes: int
) -> tuple[SAE, float]:
    """Our trainer by its public functions: the autoencoder and the seconds it took; kept where `out` is given."""
    plan = plan_training(data, settings, rows=steps * settings.batch_size, seed=seed, device="cpu", **sizes)
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        sae = train_sae(plan, out or Path(folder))
        assert sae is not None
        return sae, time.perf_counter() - started


def of_ours(data: Split, arch: str, steps: int, seed: int, d_sae: int | None = None, **given: Any) -> Run:
    """A run of one of our recipes, with other settings where given."""
    sizes = {"d_sae": d_sae} if d_sae else {}
    sae, seconds = train_ours(data.train, replace(RECIPES[arch], **given), steps, seed, **sizes)
    return Run(sae.encode, sae.decode, seconds)


def of_saelens(
    data: Split,
    arch: str,
    steps: int,
    seed: int,
    lr: float = 3e-4,
    warmup: float = 0.0,
    decay: float = 0.0,
    window: int = 1000,
    d_sae: int = 0,
    **given: Any,
) -> Run:
    """A run of SAELens' trainer, its own defaults where nothing is given.

    Parameters
    ----------
    warmup, decay : float
        Shares of the steps in which the rate rises and falls linearly.
    window : int
        Steps without firing after which it calls a feature dead.
    """
    import sae_lens
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    name = {"topk": "TopK", "standard": "Standard"}[arch]
    facts, d = statistics(data.train, CPU), data.train.d_model
    mean, scale = facts.mean, (d / facts.variance) ** 0.5
    torch.manual_seed(seed)
    config = getattr(sae_lens, f"{name}TrainingSAEConfig")(d_in=d, d_sae=d_sae or 32 * d, **given)
    sae = getattr(sae_lens, f"{name}TrainingSAE")(config)
    shares = {"lr_warm_up_steps": round(warmup * steps), "lr_decay_steps": round(decay * steps)}
    sizes = {"total_training_samples": steps * BATCH, "train_batch_size_samples": BATCH, "dead_feature_window": window}
    trainer = SAETrainer(SAETrainerConfig(lr=lr, lr_end=lr, **sizes, **shares), sae, iter(()))
    started = time.perf_counter()
    for step in range(steps):
        rows = torch.from_numpy(data.train.read_rows(step * BATCH, (step + 1) * BATCH)).float()
        trainer.step(rows.sub_(mean).mul_(scale))
        trainer.n_training_steps += 1
    seconds = time.perf_counter() - started
    return Run(lambda x: sae.encode((x - mean) * scale), lambda f: sae.decode(f) / scale + mean, seconds)


def of_components(data: Split, k: int) -> Run:
    """The first k principal components of the training rows: the best that k fixed directions can do."""
    started = time.perf_counter()
    mean, rows = statistics(data.train, CPU).mean, data.train.rows
    chunks = (torch.from_numpy(data.train.read_rows(at, at + BATCH)).float() - mean for at in range(0, rows, BATCH))
    axes = torch.linalg.eigh(sum(x.T @ x for x in chunks)).eigenvectors[:, -k:]
    return Run(lambda x: (x - mean) @ axes, lambda f: f @ axes.T + mean, time.perf_counter() - started)


def make(data: Split, text: str, steps: int) -> dict[str, Any]:
    """Train what is written as ``NAME[:key=value,...]`` and measure it: a record to print.

    NAME is ``ours-ARCH``, ``saelens-topk``, ``saelens-standard`` or ``pca``; keys are settings of that trainer, and
    ``steps`` and ``seed``.
    """
    name, _, rest = text.partition(":")
    given = {key: json.loads(value) for key, value in (pair.split("=") for pair in rest.split(",") if pair)}
    who, _, arch = name.partition("-")
    if who == "pca":
        run, given = of_components(data, given["k"]), given | {"steps": 0}
    else:
        given = {"steps": steps, "seed": 0} | given
        run = {"ours": of_ours, "saelens": of_saelens}[who](data, arch, **given)
    test = score(run, data.test) if who != "pca" else score(run, data.test) | {"l0": given["k"], "dead": 0.0}
    pick = score(run, data.pick)["fvu"]
    used = asdict(RECIPES[arch]) | given if who == "ours" else given
    facts = {"name": name, "run": text, "l0": test["l0"], "fvu": test["fvu"], "fvu_pick": pick, "dead": test["dead"]}
    return facts | {"seconds": run.seconds, "rows": given["steps"] * BATCH, "settings": used}
