"""Going on after an interruption, and never over the files of another run."""

import json
import pickle
import shutil
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, atomic, make_folder, read_json, unwritable
from sae_tracks.lm import HyenaDNAForCausalLM, HyenaDNATokenizer, quiet_transformers

CHECKPOINT, LOG, WEIGHTS = "checkpoint.pt", "train_log.jsonl", "model.safetensors"
RUN = {"settings": "settings", "genome": "genome", "held_out": "held-out regions"}  # key: what a message calls it
Run = dict[str, Any]  # what makes a run: the keys of `RUN`
_UNREADABLE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, pickle.PickleError)


@dataclass(slots=True)
class TrainingState:
    """What changes from step to step."""

    model: HyenaDNAForCausalLM
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    def save(self, folder: Path, run: Run) -> None:
        """Write the one checkpoint of a folder."""
        tensors = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        path = folder / CHECKPOINT
        try:
            with atomic(path) as temporary:
                torch.save({**tensors, "step": self.step, "seconds": self.seconds, "run": run}, temporary)
        except RuntimeError as error:  # torch's writer hides the cause
            raise SaeTracksError(f"cannot write {path} (is the disk full?): {error}") from error

    def load(self, folder: Path, run: Run) -> None:
        """Take over the checkpoint of a folder, if there is one; it must be of the same run."""
        path = folder / CHECKPOINT
        if not path.is_file():
            return
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
            found = state["run"]
        except _UNREADABLE as error:
            raise _damaged(path) from error
        refuse_another_run(path, found, run)
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
        except _UNREADABLE as error:
            raise _damaged(path) from error


def _damaged(path: Path) -> SaeTracksError:
    return SaeTracksError(f"{path} is not a whole checkpoint of this version: delete it to start again from step 0")


def refuse_another_run(path: Path, found: Any, run: Run, names: Mapping[str, str] = RUN) -> None:
    """Raise where what a file says of its run differs from `run` under one of the names, with what differs."""
    found = found if isinstance(found, dict) else {}
    for key, name in names.items():
        if found.get(key) != run[key]:
            raise SaeTracksError(
                f"{path} is of a run with {_difference(name, found.get(key), run[key])}: name another "
                "folder or delete this one"
            )


def _difference(name: str, found: Any, wanted: Any) -> str:
    if name != "settings" or not isinstance(found, dict):
        return f"other {name}"
    changed = [key for key in wanted if found.get(key) != wanted[key]]
    return f"other settings ({', '.join(f'{key} {found.get(key)}, now {wanted[key]}' for key in changed)})"


def finished(folder: Path, run: Run) -> dict[str, Any] | None:
    """The provenance of a folder in which this run is complete; None where it is not, an error where another's is."""
    provenance, weights = folder / PROVENANCE, folder / WEIGHTS
    if provenance.is_file():
        record = read_json(provenance)
        genome = record.get("genome") if isinstance(record, dict) else None
        if not isinstance(genome, dict):
            raise SaeTracksError(f"{provenance} is not of a pretraining run of this version: name another folder")
        refuse_another_run(provenance, {**record, "genome": genome.get("contigs")}, run)
        return record if weights.is_file() else None
    if weights.is_file() and not (folder / CHECKPOINT).is_file():
        raise SaeTracksError(f"{weights} was not made by this run: name another folder or delete this one")
    return None


def cut_log(folder: Path, step: int) -> None:
    """Drop the log's lines after a step, which the run that goes on will write again, and broken ones."""
    path = folder / LOG
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    with atomic(path) as temporary:
        temporary.write_bytes(b"".join(line for line in lines if _is_up_to(step, line)))


def _is_up_to(step: int, line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and json.loads(line)["step"] <= step
    except (ValueError, LookupError, TypeError):
        return False


def save_model(model: HyenaDNAForCausalLM, folder: Path) -> None:
    """Save weights in fp16 with config and tokenizer, each file whole and the weights last."""
    make_folder(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".model.", suffix=".part", dir=folder) as name, quiet_transformers():
            deepcopy(model).half().save_pretrained(name)
            HyenaDNATokenizer(model_max_length=model.config.max_seq_len).save_pretrained(name)
            for path in sorted(Path(name).iterdir(), key=lambda path: path.name == WEIGHTS):
                with atomic(folder / path.name) as temporary:  # a copy has the umask's mode, unlike safetensors' file
                    shutil.copyfile(path, temporary)
    except OSError as error:
        raise unwritable(folder, error) from error
    except SafetensorError as error:
        raise SaeTracksError(f"cannot write {folder / WEIGHTS}: {error}") from error
