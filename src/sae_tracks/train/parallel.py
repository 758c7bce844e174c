"""One training on several processes, which ``torchrun`` starts."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import torch
from torch import distributed

from sae_tracks.errors import SaeTracksError, Terminated, first_line
from sae_tracks.lm.device import resolve_device

WAIT = timedelta(minutes=10)  # for the other processes of a run: to be reached, and to take part in a sum


class Launch(NamedTuple):
    """What torchrun says of this process."""

    rank: int
    count: int
    rank_on_machine: int
    count_on_machine: int


def launch() -> Launch | None:
    """Return what torchrun says of this process, or None if torchrun did not start it.

    Raises
    ------
    SaeTracksError
        A variable of torchrun is missing or makes no sense.
    """
    if not (distributed.is_available() and distributed.is_torchelastic_launched()):
        return None
    rank, count = _index("RANK", "WORLD_SIZE")
    rank_on_machine, count_on_machine = _index("LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return Launch(rank, count, rank_on_machine, count_on_machine)


def _index(rank: str, count: str) -> tuple[int, int]:
    """The values of two variables: an index, and a number of which it is one."""
    texts = os.environ.get(rank, ""), os.environ.get(count, "")
    if not all(text.isdecimal() for text in texts) or int(texts[0]) >= int(texts[1]):
        said = f"{rank}={texts[0] or '(missing)'} and {count}={texts[1] or '(missing)'}"
        raise SaeTracksError(
            f"{said}: these are not variables of torchrun; start with torchrun, or unset TORCHELASTIC_RUN_ID"
        )
    return int(texts[0]), int(texts[1])


def is_first() -> bool:
    """Whether this process writes and speaks: rank 0, or the only one."""
    launched = launch()
    return launched is None or launched.rank == 0


def share_threads(threads: int) -> None:
    """Divide a machine's threads between its processes."""
    if launched := launch():
        torch.set_num_threads(max(1, threads // launched.count_on_machine))


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the run."""

    rank: int
    count: int
    device: torch.device

    def share(self, batch_size: int) -> slice:
        """The slice of a batch that this process takes; every window or row is taken by one process."""
        if batch_size < self.count:
            raise SaeTracksError(f"--batch-size {batch_size} is less than the {self.count} processes: raise it")
        return slice(*(batch_size * i // self.count for i in (self.rank, self.rank + 1)))

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """The values, (k,), of all processes one after the other; k may differ."""
        if self.count == 1:
            return values
        size = torch.zeros(self.count, dtype=torch.int64, device=values.device)
        size[self.rank] = len(values)
        self.add_up(size)
        padded = torch.nn.functional.pad(values, (0, int(size.max()) - len(values)))
        every = [torch.empty_like(padded) for _ in range(self.count)]
        with _others_take_part():
            distributed.all_gather(every, padded)
        return torch.cat([each[:n] for each, n in zip(every, size.tolist())])

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        """Replace values by their sum over all processes, the same in each."""
        if self.count > 1:
            with _others_take_part():
                distributed.all_reduce(values)
        return values

    @contextmanager
    def until_stopped(self) -> Iterator[Callable[[], KeyboardInterrupt | None]]:
        """Let Ctrl-C and a scheduler's SIGTERM wait for the end of a step, the same one in all processes.

        Yields
        ------
        function
            To be called after the same steps in all processes. It returns what to raise once one of them was asked to
            stop, else None.
        """
        asked = 0  # the signal

        def ask(number: int, _: object) -> None:
            nonlocal asked
            asked = number

        def stopped() -> KeyboardInterrupt | None:
            number = asked
            if self.count > 1:  # a signal reaches the processes in different steps
                every = torch.zeros(self.count, dtype=torch.int64, device=self.device)
                every[self.rank] = number
                number = int(self.add_up(every).max())
            return None if not number else Terminated() if number == signal.SIGTERM else KeyboardInterrupt()

        if threading.current_thread() is not threading.main_thread():
            yield stopped
            return
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield stopped
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _others_take_part() -> Iterator[None]:
    """Turn the error of a collective operation into one line."""
    try:
        yield
    except RuntimeError as error:
        raise SaeTracksError(
            f"another process of this run has stopped or cannot be reached: {first_line(error)}"
        ) from error


@contextmanager
def tf32_products(wanted: bool) -> Iterator[None]:
    """Compute matrix products of float32 on a GPU in TF32 or not, and restore the setting afterwards."""
    backend = torch.backends.cuda.matmul
    before, backend.allow_tf32 = backend.allow_tf32, wanted
    try:
        yield
    finally:
        backend.allow_tf32 = before


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the processes of the run: gloo on the CPU, nccl on GPUs, one per process; alone without torchrun."""
    where = resolve_device(device)
    torch.backends.cudnn.allow_tf32 = False  # matrix products keep torch's default, which is full fp32
    launched = launch()
    if not launched:
        yield Processes(0, 1, where)
        return
    if where.type == "cuda":
        where = torch.device("cuda", launched.rank_on_machine)
        torch.cuda.set_device(where)
    try:
        distributed.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=WAIT)
    except (RuntimeError, ValueError, OSError) as error:  # torch's own errors are of these classes
        address = f"{os.environ.get('MASTER_ADDR', '(missing)')}:{os.environ.get('MASTER_PORT', '(missing)')}"
        raise SaeTracksError(
            f"process {launched.rank} of {launched.count} cannot reach the others at {address}: {first_line(error)}"
        ) from error
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), where)
    finally:
        distributed.destroy_process_group()
