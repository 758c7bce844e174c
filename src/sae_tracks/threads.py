"""How many CPUs there are, and work cut into pieces for threads: one thread takes a piece from its cache to the end.

Threads share no work within a piece, so results do not depend on their number, and a busy machine slows them by no more
than its load, which a team of threads with barriers does not manage.
"""

import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

Each = Callable[[Callable[[slice], None], int, int], None]


def granted_cpus() -> int:
    """CPUs that the scheduler grants, else those of the affinity mask, or of the machine where it has none (macOS)."""
    said = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("NSLOTS") or ""
    if said.isdecimal():
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """The most bytes of memory that this process has used at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Scratch(threading.local):
    """Memory of each thread, by name."""

    def __init__(self) -> None:
        self._made: dict[str, NDArray] = {}

    def __call__(self, name: str, make: Callable[..., NDArray], *size: Any) -> NDArray:
        """This thread's, made when first asked for."""
        if name not in self._made:
            self._made[name] = make(*size)
        return self._made[name]


@contextmanager
def pieces() -> Iterator[Each]:
    """A function that runs a stage piece by piece, in as many threads as torch has, each with one of its own.

    It takes the stage, which is called with slices, a length, and the size of a slice; the last may be shorter.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def each(stage: Callable[[slice], None], length: int, size: int) -> None:
        parts = iter([slice(start, min(start + size, length)) for start in range(0, length, size)])

        def work() -> None:
            for part in parts:  # a piece for whoever is free
                stage(part)

        for done in [_workers(threads).submit(work) for _ in range(threads)]:
            done.result()

    try:
        yield each
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, initializer=alone)


os.register_at_fork(after_in_child=_workers.cache_clear)  # a child has none of its parent's threads


def alone() -> None:
    """Let torch work in the calling thread alone: a team of threads takes the time of others even while it waits."""
    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
