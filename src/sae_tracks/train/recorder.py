"""What the first process does after each step of a training: log, checkpoint, progress."""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic
from sae_tracks.train.checkpoint import Run
from sae_tracks.train.parallel import Processes
from sae_tracks.train.plan import TrainPlan
from sae_tracks.train.state import SAEState
from sae_tracks.train.step import StepResult

LOG, BOARD = "train_log.jsonl", "tensorboard"
LOG_EVERY = 20  # steps
SAVE_EVERY = 60.0  # seconds
DIVERGED = 1e6  # FVU: beyond all that a start gives
OnStep = Callable[[str, int], None]


class TrainingLog:
    """Appends to ``train_log.jsonl`` of a folder, after dropping the steps that will be done again.

    Parameters
    ----------
    folder : path
        SAE or model directory.
    step : int
        Steps done.
    tensorboard : bool
        Write event files into ``tensorboard/`` too.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False) -> None:
        self._board = summary_writer()(str(folder / BOARD), purge_step=step + 1) if tensorboard else None
        cut_log(folder, step)
        self._file = (folder / LOG).open("a")

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        if self._board:
            self._board.close()

    def write(self, record: dict[str, Any]) -> None:
        """Add a record, which has a ``step``; it is on the disk when this returns."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        if self._board:
            for name in sorted(record.keys() - {"step"}):
                self._board.add_scalar(name, record[name], record["step"])


def summary_writer() -> Any:
    """TensorBoard's class that writes event files; an error if the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SaeTracksError("--tensorboard needs a package more: pip install 'sae-tracks[tensorboard]'") from error
    return SummaryWriter


def cut_log(folder: Path, step: int) -> None:
    """Drop broken lines of the log and those after a step, which the run that goes on will write again."""
    path = folder / LOG
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    with atomic(path) as temporary:
        temporary.write_bytes(b"".join(line for line in lines if _is_up_to(step, line)))


def _is_up_to(step: int, line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and json.loads(line)["step"] <= step
    except (ValueError, LookupError, TypeError):
        return False


def is_looked_at(number: int, plan: TrainPlan) -> bool:
    """Whether a step is checked, logged and perhaps saved; a GPU need not wait for the others."""
    return number % LOG_EVERY == 0 or number == 1 or number == plan.steps


def diverged(plan: TrainPlan, number: int) -> SaeTracksError:
    """The error of a loss that is not finite or far too large, or of activations that are not finite."""
    rows = range(max(number - LOG_EVERY, 0) * plan.settings.batch_size, number * plan.settings.batch_size)
    if not np.isfinite(plan.data.read_rows(rows.start, rows.stop)).all():
        return SaeTracksError(f"{plan.data.name} holds activations that are NaN or infinite: extract them again")
    return SaeTracksError(f"the loss diverged at step {number:,}: lower --lr (it is {plan.settings.lr:g})")


@contextmanager
def interrupts(group: Processes) -> Iterator[threading.Event]:
    """Let Ctrl-C and a scheduler's SIGTERM wait for the end of a step, unless several processes step together."""
    stopped = threading.Event()
    if group.count > 1 or threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Recorder:
    """What the first process does after each step: log, checkpoint, progress."""

    def __init__(
        self,
        plan: TrainPlan,
        state: SAEState,
        out: Path,
        run: Run,
        log: TrainingLog,
        on_step: OnStep,
        stopped: threading.Event,
    ) -> None:
        self.plan, self.state, self.out, self.run = plan, state, out, run
        self.log, self.on_step, self.stopped = log, on_step, stopped
        self.words, self.begun, self.first = "", time.monotonic(), state.step
        self.saved = -math.inf  # the first checkpoint comes early: a disk that is full is better known then

    def __call__(self, result: StepResult, lr: float) -> None:
        step = self.state.step
        if is_looked_at(step, self.plan):
            self._log(result, lr)
            if step == self.plan.steps or time.monotonic() - self.saved > SAVE_EVERY:
                self._save()
        self.on_step(self.words, step)
        if self.stopped.is_set():
            self._save()
            raise KeyboardInterrupt

    def _save(self) -> None:
        if not torch.isfinite(self.state.weights.flat).all():
            raise diverged(self.plan, self.state.step)
        self.state.save(self.out, self.run)
        self.saved = time.monotonic()

    def _log(self, result: StepResult, lr: float) -> None:
        size, step = self.plan.settings.batch_size, self.state.step
        rate = (step - self.first) * size / (time.monotonic() - self.begun)
        self.words = f"loss {result.reconstruction + result.penalty:.4g}  L0 {result.l0:.1f}  FVU {result.fvu:.3f}"
        self.log.write(
            {
                "step": step,
                "rows": step * size,
                "loss": result.reconstruction + result.penalty,
                "reconstruction": result.reconstruction,
                "penalty": result.penalty,
                "l0": result.l0,
                "fvu": result.fvu,
                "dead": (self.state.fired < step * size - self.plan.settings.dead_after).double().mean().item(),
                "lr": lr,
                "rows_per_second": round(rate),
            }
        )
