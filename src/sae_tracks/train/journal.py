"""The log of a training: JSON lines always, TensorBoard where it is asked for."""

import json
from pathlib import Path
from typing import Any

from sae_tracks.errors import SaeTracksError
from sae_tracks.train.checkpoint import LOG, cut_log

BOARD = "tensorboard"


class Journal:
    """Appends to ``train_log.jsonl`` of a folder, after dropping the steps that will be done again.

    Parameters
    ----------
    folder : path
        SAE directory.
    step : int
        Steps done.
    tensorboard : bool
        Write event files into ``tensorboard/`` too.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False) -> None:
        cut_log(folder, step)
        self._file = (folder / LOG).open("a")
        self._board = _open_board(folder / BOARD, step) if tensorboard else None

    def __enter__(self) -> "Journal":
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


def _open_board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SaeTracksError("--tensorboard needs a package more: pip install 'sae-tracks[tensorboard]'") from error
    return SummaryWriter(str(folder), purge_step=step + 1)
