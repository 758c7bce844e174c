"""The log of a training, of an SAE or of a language model."""

import json
from pathlib import Path
from typing import Any

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic
from sae_tracks.json_file import COUNT, parse_json

LOG, BOARD = "train_log.jsonl", "tensorboard"


class TrainingLog:
    """Appends to ``train_log.jsonl`` of a folder, after dropping steps after `step`, which will be done again.

    With `tensorboard` it also writes event files into ``tensorboard/``.
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
    """Return TensorBoard's class that writes event files; an error if the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SaeTracksError("--tensorboard needs another package: pip install 'sae-tracks[tensorboard]'") from error
    return SummaryWriter


def cut_log(folder: Path, step: int) -> None:
    """Drop broken lines of the log and those after a step, which the run that goes on will write again."""
    path = folder / LOG
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    with atomic(path) as temporary:
        temporary.write_bytes(b"".join(line for line in lines if _is_up_to(step, line)))


def _is_up_to(step: int, line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and parse_json(line, LOG, {"step": COUNT})["step"] <= step
    except SaeTracksError:
        return False
