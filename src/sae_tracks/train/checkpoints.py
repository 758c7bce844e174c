"""The checkpoints of a training in its SAE directory: how they are named, and which of them are whole."""

import re
from pathlib import Path

from sae_tracks.files import sha256

FOLDER = "checkpoints"
DIGITS = 12  # of a checkpoint's SHA-256, in its name
NAME = re.compile(r"step-\d+-[0-9a-f]{12}\.safetensors")


def checkpoint_name(step: int, digest: str) -> str:
    """``step-000000400-0a1b2c3d4e5f.safetensors``: steps done, and the first digits of the file's SHA-256."""
    return f"step-{step:09d}-{digest[:DIGITS]}.safetensors"


def step_of(path: Path) -> int:
    """Steps done when a checkpoint was written."""
    return int(path.name.split("-")[1])


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is as it was written."""
    return sha256(path).startswith(path.stem.split("-")[2])


def checkpoints(out: Path) -> list[Path]:
    """Files of checkpoints in an SAE directory, the newest first."""
    found = [path for path in (out / FOLDER).glob("step-*") if NAME.fullmatch(path.name)]
    return sorted(found, key=step_of, reverse=True)
