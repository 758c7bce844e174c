"""Folders that may take a new SAE."""

from pathlib import Path

from sae_tracks.errors import SaeTracksError
from sae_tracks.sae.directory import CONFIG, STATS, WEIGHTS
from sae_tracks.sae.interop import dictionary_learning

NAMES = (CONFIG, WEIGHTS, STATS, dictionary_learning.FILE, dictionary_learning.CONFIG)


def check_free(folder: Path) -> None:
    """Refuse a folder that holds an SAE: what is left of that one would pass for the new one's."""
    held = [name for name in NAMES if (folder / name).exists()]
    if held:
        raise SaeTracksError(f"{folder} holds {held[0]} already: name another folder or delete it")
