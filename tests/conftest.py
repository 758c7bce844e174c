"""Settings of the whole suite: few threads, no deadlines, the order of tests, and where shared data lies."""

import importlib
import os
import random
import shutil
import signal
import sys
from itertools import groupby
from pathlib import Path

# Tests run side by side: each process, and each command that it starts, takes one CPU. Libraries read these when they
# are imported.
os.environ |= {
    "SLURM_CPUS_PER_TASK": "1",
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
}

import pytest
import torch
from hypothesis import settings
from warm import warm_command

torch.set_num_threads(1)
settings.register_profile("patient", deadline=None)  # a busy machine is not a failure
settings.load_profile("patient")

SHARED = Path(__file__).parents[2] / "shared"
MEMORY = Path("/dev/shm")  # of Linux


def shared(relative: str) -> Path:
    """A file outside the repository; the test is skipped if it is missing."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs {relative}, which is not part of this repository")
    return path


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """The path of a ``sae-tracks`` whose calls cost no imports; see `warm.warm_command`."""
    with warm_command(tmp_path_factory.mktemp("warm")) as command:
        yield command


@pytest.fixture(scope="session")
def warm_python(warm):
    """The path of a ``python`` of the same kind, for scripts of a test."""
    return warm.with_name("python")


def benchmark_module(name: str):
    """A module of ``benchmarks/``, whose scripts import each other by name."""
    folder = str(Path(__file__).parents[1] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


def pytest_configure():
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as of a job that a shell runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # tests press Ctrl-C
    _write_into_memory()


def _write_into_memory():
    """Most tests write many small files, and a disk takes ms for each."""
    if not os.access(MEMORY, os.W_OK) or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:  # tests write commands
        return
    if shutil.disk_usage(MEMORY).free > 8e9:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_addoption(parser):
    parser.addoption("--order", type=int, metavar="SEED", help="files, and tests within a file, in a random order")


def pytest_terminal_summary(terminalreporter, config):
    seed = config.getoption("order")
    if seed is not None:
        terminalreporter.write_line(f"random order: --order {seed}")


def pytest_collection_modifyitems(config, items):
    """Shuffle files, and the tests of each: fixtures of a file are then still made once."""
    seed = config.getoption("order")
    if seed is None:
        return
    draw = random.Random(seed)
    files = [list(tests) for _, tests in groupby(items, key=lambda item: item.path)]
    draw.shuffle(files)
    for tests in files:
        draw.shuffle(tests)
    items[:] = [item for tests in files for item in tests]
