"""One training on several processes, which ``torchrun`` starts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.load import resolve_device


def launched() -> bool:
    """Whether torchrun started this process."""
    return distributed.is_available() and distributed.is_torchelastic_launched()


def is_first() -> bool:
    """Whether this process writes and speaks: rank 0, or the only one."""
    return not launched() or os.environ["RANK"] == "0"


def share_threads(threads: int) -> None:
    """Divide a machine's threads between its processes."""
    if launched():
        torch.set_num_threads(max(1, threads // int(os.environ["LOCAL_WORLD_SIZE"])))


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
        distributed.all_gather(every, padded)
        return torch.cat([each[:n] for each, n in zip(every, size.tolist())])

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        """Replace values by their sum over all processes, the same in each."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the processes of the run: gloo on the CPU, nccl on GPUs, one per process; alone without torchrun."""
    where = resolve_device(device)
    torch.backends.cudnn.allow_tf32 = False  # matrix products keep torch's default, which is full fp32
    if not launched():
        yield Processes(0, 1, where)
        return
    if where.type == "cuda":
        where = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(where)
    distributed.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), where)
    finally:
        distributed.destroy_process_group()
