"""What an export will read, write and take, from one window through the model."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from sae_tracks.tracks.spool import HELD

if TYPE_CHECKING:
    from sae_tracks.source import Source

MOST_BYTES = 48  # of one base of one track with a value of its own: temporary 20, output at most 28
HELD_BYTES = 100 * HELD  # of runs, their keys and the copies made while they are sorted


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an export will read, write and take.

    Attributes
    ----------
    bases : int
        Bases outside long N runs, each read strand counted.
    windows : int
    tracks : int
        Features times read strands.
    disk, most_disk : int
        Bytes, temporary files included: if the rest of the genome is like the window timed; at most.
    memory : int
        Bytes: the peak so far, which includes the model at work, plus what the spool holds.
    seconds : float
        Reading alone, at the speed of the window timed.
    """

    bases: int
    windows: int
    tracks: int
    disk: int
    most_disk: int
    memory: int
    seconds: float

    def __str__(self) -> str:
        minutes, seconds = divmod(round(self.seconds), 60)
        return (
            f"{self.bases:,} bases in {self.windows:,} windows, {self.tracks:,} tracks; "
            f"disk about {_size(self.disk)}, at most {_size(self.most_disk)}; memory about {_size(self.memory)}; "
            f"time about {minutes // 60} h {minutes % 60:02d} min {seconds:02d} s"
        )


def estimate(source: "Source", features: Iterable[int]) -> Estimate:
    """Read one window in the middle of the regions, and scale up."""
    from sae_tracks.activations.extract import peak_memory

    ids = source.sae.check_features(features).tolist()
    windows = [window for strand in source.read_strands for window in source.windows(strand)]
    middle = windows[len(windows) // 2]
    started = perf_counter()
    part = replace(source, regions=[middle.kept], read_strands=[middle.read_strand])
    nonzeros = sum(len(block.value) for block in part.blocks(ids))
    seconds = perf_counter() - started
    bases = sum(len(window.kept) for window in windows)
    return Estimate(
        bases=bases,
        windows=len(windows),
        tracks=len(ids) * len(source.read_strands),
        disk=round(MOST_BYTES * nonzeros * bases / len(middle.kept)),
        most_disk=MOST_BYTES * len(ids) * bases,
        memory=peak_memory() + HELD_BYTES,
        seconds=seconds * len(windows),
    )


def _size(count: float) -> str:
    """Bytes for people: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"
