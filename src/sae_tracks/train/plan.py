"""The plan of a training run: its data, settings and sizes, checked before anything is computed."""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sae_tracks.activations.stream import TrainingRows
from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.device import resolve_device
from sae_tracks.train.settings import ARCHS, TrainSettings
from sae_tracks.train.step import LOSSES, weights_size

GRANTED = Path("/sys/fs/cgroup/memory.max")
DTYPES = {"float32": torch.float32, "float64": torch.float64, "tf32": torch.float32}


@dataclass(frozen=True, slots=True, repr=False)
class TrainPlan:
    """A training run that has passed all checks."""

    data: TrainingRows  # shuffled
    settings: TrainSettings
    d_sae: int
    steps: int
    seed: int  # of the initial weights
    device: torch.device
    dtype: str  # a name of `DTYPES`: of the weights, and of the products' precision
    memory: int  # bytes on the device

    def __repr__(self) -> str:
        sizes = f"{self.data.d_model} -> {self.d_sae}, {self.steps:,} steps of {self.settings.batch_size:,} rows"
        return f"TrainPlan({self.settings.arch}, {sizes}, {self.dtype} on {self.device})"

    @property
    def rows(self) -> int:
        """Rows trained on; a row that is read twice counts twice."""
        return self.steps * self.settings.batch_size

    def identity(self) -> dict[str, Any]:
        """Everything that the weights depend on, but for the machine and the number of threads and processes."""
        settings = {name: value for name, value in asdict(self.settings).items() if name != "expansion"}
        sizes = {"d_sae": self.d_sae, "steps": self.steps, "seed": self.seed, "dtype": self.dtype}
        return {"settings": settings | sizes, "data": self.data.checksum}


def plan_training(
    data: TrainingRows,
    settings: TrainSettings,
    *,
    d_sae: int | None = None,
    rows: int | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "float32",
) -> TrainPlan:
    """Settle the sizes of a training run and refuse what cannot work.

    Parameters
    ----------
    data : TrainingRows
        Must be shuffled.
    settings : TrainSettings
        How to train.
    d_sae : int, optional
        Number of features; default ``settings.expansion * d_model``.
    rows : int, optional
        Rows to train on, in whole batches; default all rows once. More than that reads the data again.
    seed : int
        Seed of the initial weights.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    dtype : str
        ``float32``, ``float64`` or, on an NVIDIA GPU, ``tf32``.

    Returns
    -------
    TrainPlan
        For `train_sae`.

    Raises
    ------
    SaeTracksError
        The data are in genome order, a setting is not known, a batch is larger than the data, a row has fewer features
        than are to be active, the device has no such precision, or its memory does not suffice.
    """
    if not data.manifest.get("shuffled"):
        raise SaeTracksError(f"{data.name} is in genome order: `sae-tracks shuffle {data.name} -o ...` it first")
    for kind, name, known in (("loss", settings.loss, LOSSES), ("architecture", settings.arch, ARCHS)):
        if name not in known:
            raise SaeTracksError(f"no {kind} {name!r}: it is one of {', '.join(known)}")
    d_sae, rows = d_sae or settings.expansion * data.d_model, rows or data.rows
    settings = replace(settings, k=settings.k or min(max(data.d_model // 8, 1), d_sae))
    if settings.batch_size > min(rows, data.rows):
        raise SaeTracksError(f"a batch of {settings.batch_size:,} rows; there are {min(rows, data.rows):,} to train on")
    if settings.first_threshold < 0:
        raise SaeTracksError(f"first_threshold is {settings.first_threshold:g}; expected 0 or more")
    if "topk" in settings.arch and settings.k > d_sae:
        raise SaeTracksError(f"--k {settings.k}: there are {d_sae} features")
    on = resolve_device(device)
    if dtype == "tf32" and on.type != "cuda":
        raise SaeTracksError("--dtype tf32 needs an NVIDIA GPU: leave it out, or add --device cuda if there is one")
    memory = _memory_needed(data.d_model, d_sae, settings, DTYPES[dtype], on)
    return TrainPlan(data, settings, d_sae, rows // settings.batch_size, seed, on, dtype, memory)


def _memory_needed(d_in: int, d_sae: int, settings: TrainSettings, dtype: torch.dtype, device: torch.device) -> int:
    """Bytes for weights, gradients, Adam's moments, a checkpoint's copies and a batch; an error if there are fewer."""
    buffers, available = 3 if device.type == "cuda" else 2, _memory_of(device)
    batch = settings.batch_size * (buffers * d_sae + 4 * d_in)
    memory = dtype.itemsize * (7 * weights_size(d_in, d_sae) + batch)
    if memory > available:
        sizes = f"{memory / 2**30:,.1f} GiB of memory; there are {available / 2**30:,.1f}"
        raise SaeTracksError(f"{d_sae:,} features need {sizes}: lower --expansion, --d-sae or --batch-size")
    return memory


def _memory_of(device: torch.device) -> int:
    """Bytes of memory of a device for one process; several processes share the machine's, or the scheduler's grant."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    granted = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    if GRANTED.is_file() and (text := GRANTED.read_text().strip()).isdecimal():
        granted.append(int(text))
    return min(granted) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
