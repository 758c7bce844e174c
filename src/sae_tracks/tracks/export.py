"""What all exports of tracks share: what they take, and reading a source into a spool."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sae_tracks.files import digest, make_folder, without_names
from sae_tracks.names import counted
from sae_tracks.regions import WHOLE, Shard
from sae_tracks.threads import Took, peak_memory, stopwatch
from sae_tracks.tracks.spool import HELD, StoredRuns, TrackSpool

if TYPE_CHECKING:
    from sae_tracks.source import Source

log = logging.getLogger(__name__)
SPOOL_PREFIX = ".spool-"  # of the hidden folder beside the tracks
MOST_BYTES = 48  # per base of a track with a value of its own: temporary 20, output at most 28
HELD_BYTES = 100 * HELD  # of runs, their keys and the copies made while they are sorted


@contextmanager
def spooled(
    source: "Source",
    ids: list[int],
    folder: Path | None,
    facts: Mapping,
    cutoffs: NDArray[np.float32] | None = None,
) -> Iterator[StoredRuns]:
    """Read a source into a spool and give its runs; the spool is removed when the block ends.

    Parameters
    ----------
    ids, cutoffs
        See `TrackSpool`.
    folder : Path, optional
        Where the hidden folder of the spool lies; default: a temporary one. If an interrupted run with the same facts
        left a spool there, it is continued.
    facts : dict
        All that values depend on.
    """
    lengths = nonempty(source.genome.lengths)
    known_by = digest([json.dumps(without_names({**facts, "lengths": lengths}))])[:12]
    place = None if folder is None else make_folder(folder) / f"{SPOOL_PREFIX}{known_by}"
    with TrackSpool(lengths, ids, place, cutoffs, facts) as spool:
        for other in sorted(folder.glob(f"{SPOOL_PREFIX}*")) if folder else ():
            if other != place:
                log.warning("%s belongs to an export with other settings, running or stopped; you may delete it", other)
        fill(spool, source, ids)
        with StoredRuns([spool.folder]) as runs:
            yield runs


def fill(spool: TrackSpool, source: "Source", ids: list[int], shard: Shard = WHOLE) -> None:
    """Read what a spool lacks of the windows of a shard, and seal it."""
    if not spool.sealed:
        reached = spool.reached
        if reached:
            at = f"{reached.contig}:{reached.base + 1:,}, read {reached.read_strand}"
            log.info("an interrupted run is continued from %s", at)
        for block in source.blocks(ids, shard=shard, after=reached):
            spool.add(block)
        spool.seal()


def nonempty(lengths: Mapping[str, int]) -> dict[str, int]:
    """The contigs that have bases."""
    return {name: length for name, length in lengths.items() if length}


@dataclass(frozen=True, slots=True)
class Estimate:
    """The size and cost of an export."""

    bases: int  # outside long N runs, counted once per read strand
    windows: int
    tracks: int  # features times read strands
    disk: int  # bytes with the temporary files, if the genome is like the window that was timed
    most_disk: int  # bytes with the temporary files, at most
    memory: int  # bytes: the peak so far, which includes the model at work, plus what the spool holds
    took: Took  # for reading alone, at the speed of the window that was timed

    def __str__(self) -> str:
        return (
            f"{self.bases:,} bases in {counted(self.windows, 'window')}, {counted(self.tracks, 'track')}; "
            f"disk about {_size(self.disk)}, at most {_size(self.most_disk)}; memory about {_size(self.memory)}; "
            f"time {self.took}"
        )


def estimate(source: "Source", features: Iterable[int]) -> Estimate:
    """Estimate what an export takes: one window in the middle of the regions is read twice, and timed the second time.

    If the model reads several windows together, so many are read, from this one on.
    """
    from sae_tracks.reading import read_together  # it loads torch

    ids = source.sae.check_features(features).tolist()
    windows = [window for strand in source.read_strands for window in source.windows(strand)]
    first = len(windows) // 2
    some = windows[first : first + read_together(source.lm, source.layout.window)]
    some = [window for window in some if window.read_strand == some[0].read_strand]
    part = replace(source, regions=[window.kept for window in some], read_strands=[some[0].read_strand])
    nonzeros = sum(len(block.value) for block in part.blocks(ids))  # the first time also loads what is compiled
    passed = stopwatch()
    for _ in part.blocks(ids):
        pass
    took = passed().times(len(windows) / len(some))
    bases = sum(len(window.kept) for window in windows)
    return Estimate(
        bases=bases,
        windows=len(windows),
        tracks=len(ids) * len(source.read_strands),
        disk=round(MOST_BYTES * nonzeros * bases / sum(len(window.kept) for window in some)),
        most_disk=MOST_BYTES * len(ids) * bases,
        memory=peak_memory() + HELD_BYTES,
        took=took,
    )


def _size(count: float) -> str:
    """A number of bytes for people, such as ``1.5 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"
