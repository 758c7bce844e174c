"""Where shared material is, and small things that many tests need."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

os.environ["SLURM_CPUS_PER_TASK"] = "1"  # tests run side by side: each, and each command it starts, takes one CPU
torch.set_num_threads(1)
settings.register_profile("patient", deadline=None)  # a busy machine is not a failure
settings.load_profile("patient")

SHARED = Path(__file__).parents[2] / "shared"


def shared(relative: str) -> Path:
    """A file outside the repository; the test is skipped where it is missing."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs {relative}, which is not part of this repository")
    return path
