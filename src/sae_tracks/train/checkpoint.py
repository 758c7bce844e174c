"""Checkpoints of a training, of an SAE or of a language model, and the guard that keeps runs apart.

A checkpoint is one safetensors file, ``checkpoints/step-000000400-0a1b2c3d4e5f.safetensors``: its name holds the steps
done and the first digits of its own SHA-256, so a torn file shows. Its metadata hold the `Run` that made it.
"""

import json
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from sae_tracks.errors import SaeTracksError, first_line
from sae_tracks.files import make_folder, move, remove_left_overs, scratch_folder, sha256, unwritable
from sae_tracks.json_file import parse_json
from sae_tracks.train.parallel import Processes

log = logging.getLogger(__name__)
FOLDER = "checkpoints"
DIGITS = 12  # of a checkpoint's SHA-256, in its name
NAME = re.compile(r"step-\d+-[0-9a-f]{12}\.safetensors")
KEPT = 2  # the newest: one more than is needed, in case the disk tears one
RUN_NAMES = {"settings": "settings", "data": "activations", "genome": "genome"}
RUN_NAMES |= {"contig_order": "order of contigs", "held_out": "held-out regions"}
Run = dict[str, Any]  # all that the weights depend on: some keys of `RUN_NAMES`, values as JSON has them


def checkpoint_name(step: int, digest: str) -> str:
    return f"step-{step:09d}-{digest[:DIGITS]}.safetensors"


def step_of(path: Path) -> int:
    """Steps done when a checkpoint was written."""
    return int(path.name.split("-")[1])


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is as it was written."""
    return sha256(path).startswith(path.stem.split("-")[2])


def run_of(path: Path) -> Run:
    """The run that made a checkpoint."""
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("run", "{}")
    except (SafetensorError, OSError) as error:
        raise SaeTracksError(f"cannot read {path}: {error}; delete it") from error
    return parse_json(text, str(path), remedy="delete it")


def checkpoints(out: Path) -> list[Path]:
    """Checkpoint files of an output folder, the newest first."""
    found = [path for path in (out / FOLDER).glob("step-*") if NAME.fullmatch(path.name)]
    return sorted(found, key=step_of, reverse=True)


def save_checkpoint(out: Path, step: int, tensors: dict[str, torch.Tensor], run: Run) -> None:
    """Write a checkpoint, of tensors that share no memory, whole or not at all; only the newest are kept."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    folder = make_folder(out / FOLDER)
    try:
        with scratch_folder("checkpoint", folder) as hidden:
            path = hidden / "checkpoint"
            save_file(tensors, path, {"run": json.dumps(run)})
            move(path, folder / checkpoint_name(step, sha256(path)))
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            folder.rmdir()  # if nothing else is in it
        if isinstance(error, OSError):
            raise unwritable(folder, error) from error
        raise SaeTracksError(f"cannot write {folder} (is the disk full?): {error}") from error  # the cause is hidden
    for path in checkpoints(out)[KEPT:]:
        path.unlink(missing_ok=True)


def newest(out: Path, run: Run) -> Path | None:
    """The newest whole checkpoint of a folder, if any; an error if it is of another run. Torn ones give a warning."""
    for path in checkpoints(out):
        if not is_whole(path):
            log.warning("%s is torn: going on from the one before", path)
            continue
        refuse_another_run(path, run_of(path), run)
        return path
    return None


def resume(load: Callable[[dict[str, torch.Tensor]], None], out: Path, run: Run, group: Processes, steps: int) -> int:
    """Load the newest whole checkpoint of a folder, the same in all processes; returns its steps, 0 without one."""
    step = 0
    if path := newest(out, run):
        try:
            load(load_file(path))
        except (SafetensorError, OSError) as error:
            raise SaeTracksError(f"cannot read {path}: {error}") from error
        except (LookupError, RuntimeError, ValueError) as error:
            raise SaeTracksError(
                f"{path} is not a checkpoint of this version: delete it ({first_line(error)})"
            ) from error
        step = step_of(path)
        if step > steps:
            raise SaeTracksError(f"{path} is of step {step:,} of a run of {steps:,} steps: delete it")
        log.info("going on from step %d of %d", step, steps)
    if group.add_up(torch.tensor(step, device=group.device)) != group.count * step:
        raise SaeTracksError(f"the processes found different checkpoints in {out}: it must be one that all share")
    return step


def remove_checkpoints(out: Path, after: int = -1) -> None:
    """Remove checkpoints of more steps than `after`: torn ones if the run goes on, by default all."""
    for path in checkpoints(out):
        if step_of(path) > after:
            path.unlink(missing_ok=True)
    remove_left_overs((out / FOLDER).absolute())
    with suppress(OSError):
        (out / FOLDER).rmdir()  # if nothing is left in it


def refuse_another_run(path: Path, found: Any, run: Run) -> None:
    """Raise an error that names the difference if a file is of another run, `found`, than `run`."""
    found = found if isinstance(found, dict) else {}
    for key, wanted in run.items():
        theirs, difference = found.get(key), f"other {RUN_NAMES[key]}"
        if key == "settings" and isinstance(theirs, dict):
            changed = [name for name in {**wanted, **theirs} if theirs.get(name) != wanted.get(name)]
            difference += f" ({', '.join(f'{name} {theirs.get(name)}, now {wanted.get(name)}' for name in changed)})"
        if theirs != wanted:
            raise SaeTracksError(f"{path} is of a run with {difference}: name another folder or delete this one")
