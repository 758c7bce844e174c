"""From a source to a spool: resumable, whole or a shard."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sae_tracks.files import digest, make_folder, remove_parts, without_names
from sae_tracks.reading.windows import WHOLE
from sae_tracks.regions import Shard
from sae_tracks.tracks.spool import TrackSpool
from sae_tracks.tracks.stored import StoredRuns

if TYPE_CHECKING:
    from sae_tracks.source import Source

log = logging.getLogger(__name__)
PREFIX = ".spool-"


@contextmanager
def spooled(
    source: "Source",
    ids: list[int],
    folder: Path | None,
    facts: Mapping,
    cutoffs: NDArray[np.float32] | None = None,
    *,
    results: Iterable[Path] = (),
) -> Iterator[StoredRuns]:
    """Read a source into a spool in a folder (None: a temporary one), which is gone when the block has ended.

    What an interrupted run with the same facts left there is gone on with. Where that run had read all, it was killed
    while it wrote its `results`, the files that the block is to write: the parts that it left of them are removed.
    """
    place = None if folder is None else make_folder(folder) / f"{PREFIX}{_fingerprint(facts)}"
    lengths = nonempty(source.genome.lengths)
    with TrackSpool(lengths, ids, place, cutoffs, facts) as spool:
        if folder is not None:
            _mention_others(folder, spool.folder)
        if spool.sealed:
            for path in results:
                remove_parts(path)
        fill(spool, source, ids)
        with StoredRuns([spool.folder]) as runs:
            yield runs


def fill(spool: TrackSpool, source: "Source", ids: list[int], shard: Shard = WHOLE) -> None:
    """Read what a spool does not have yet, of the windows of a shard, and seal it."""
    if not spool.sealed:
        reached = spool.reached
        if reached:
            log.info("an interrupted run is continued from %s:%d, read %s", reached.contig, reached.base, reached[0])
        for block in source.blocks(ids, shard=shard, after=reached):
            spool.add(block)
        spool.seal()


def nonempty(lengths: Mapping[str, int]) -> dict[str, int]:
    """The contigs that have bases."""
    return {name: length for name, length in lengths.items() if length}


def _fingerprint(facts: Mapping) -> str:
    return digest([json.dumps(without_names(facts), sort_keys=True)])[:12]


def _mention_others(folder: Path, mine: Path) -> None:
    for other in sorted(folder.glob(f"{PREFIX}*")):
        if other != mine:
            log.warning(
                "%s is of an export with other settings, under way or interrupted; delete it if not wanted", other
            )
