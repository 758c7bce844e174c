"""The CPUs that this process may use, and work split into slices for threads.

One thread does all the work on a slice, so results do not depend on the number of threads. There are no barriers, so a
busy machine slows the work down by no more than its load.
"""

import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache
from time import perf_counter, process_time
from typing import Any, NamedTuple

from numpy.typing import NDArray

ForEachSlice = Callable[[Callable[[slice], None], int, int], None]


def granted_cpus() -> int:
    """Number of CPUs that the scheduler grants, else of the affinity mask, else (macOS) of the machine."""
    said = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("NSLOTS") or ""
    if said.isdecimal():
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """The most bytes of memory that this process has used at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Took(NamedTuple):
    """How long work takes: on the clock, and summed over the CPUs that do it."""

    seconds: float
    cpu_seconds: float

    def times(self, count: float) -> "Took":
        """How long as much work takes, that many times."""
        return Took(self.seconds * count, self.cpu_seconds * count)

    def __str__(self) -> str:
        minutes, seconds = divmod(round(self.seconds), 60)
        clock = f"about {minutes // 60} h {minutes % 60:02d} min {seconds:02d} s"
        return f"{clock}, {self.cpu_seconds / 3600:.3g} CPU hours"


def stopwatch() -> Callable[[], Took]:
    """Return a function that says how long this process has worked since this call."""
    seconds, cpu_seconds = perf_counter(), process_time()
    return lambda: Took(perf_counter() - seconds, process_time() - cpu_seconds)


class Scratch(threading.local):
    """Arrays of each thread, by name, which are made once and used again."""

    def __init__(self) -> None:
        self._made: dict[str, NDArray] = {}

    def __call__(self, name: str, make: Callable[..., NDArray], *size: Any) -> NDArray:
        """Return this thread's array of that name; the first call makes it as ``make(*size)``."""
        if name not in self._made:
            self._made[name] = make(*size)
        return self._made[name]


@contextmanager
def in_threads() -> Iterator[ForEachSlice]:
    """Yield a function ``each(stage, length, size)``: it calls ``stage(slice)`` for each slice of a length in threads.

    There are as many threads as torch has, and in each of them torch itself uses one. A slice has `size` elements; the
    last one may have fewer.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def each(stage: Callable[[slice], None], length: int, size: int) -> None:
        slices = iter([slice(start, min(start + size, length)) for start in range(0, length, size)])

        def work() -> None:
            try:
                for part in slices:  # the next thread that is free takes the next slice
                    stage(part)
            except BaseException:
                list(slices)  # the others end with the slice that they are at
                raise

        jobs = [_workers(threads).submit(work) for _ in range(threads)]
        try:
            for job in jobs:
                job.result()
        except BaseException:  # of a slice, or Ctrl-C here
            list(slices)
            wait(jobs)
            raise

    try:
        yield each
    finally:
        torch.set_num_threads(threads)


def in_turn(stage: Callable[[slice], None], length: int, size: int) -> None:
    """As the function of `in_threads`, in the calling thread alone."""
    for start in range(0, length, size):
        stage(slice(start, min(start + size, length)))


@lru_cache(maxsize=1)
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, initializer=alone)


os.register_at_fork(after_in_child=_workers.cache_clear)  # a forked child does not have its parent's threads


def alone() -> None:
    """Make torch use only the calling thread, without gradients: waiting OpenMP threads would take CPU time."""
    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
