"""From a source to a spool: resumable, whole or a shard."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sae_tracks.files import make_folder, remove_parts
from sae_tracks.reading.windows import WHOLE
from sae_tracks.regions import GenomicRegion, Shard
from sae_tracks.tracks.spool import TrackSpool
from sae_tracks.tracks.stored import StoredRuns

if TYPE_CHECKING:
    from sae_tracks.features import FeatureBlock
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
        for block in _blocks(spool, source, ids, shard):
            spool.add(block)
        spool.seal()


def nonempty(lengths: Mapping[str, int]) -> dict[str, int]:
    """The contigs that have bases."""
    return {name: length for name, length in lengths.items() if length}


def _blocks(spool: TrackSpool, source: "Source", ids: list[int], shard: Shard) -> Iterator["FeatureBlock"]:
    """The blocks of a shard from the position of a spool on: reading may begin at any base."""
    if shard == WHOLE and spool.position is None:
        yield from source.blocks(ids)
        return
    strands = list(source.read_strands)
    if spool.position is not None:
        log.info("going on where an interrupted run left off: %s", _where(spool))
        strands = strands[strands.index(spool.position[0]) :]
    for strand in strands:
        windows = source.windows(strand)
        regions = [window.kept for window in windows[shard.slice(len(windows))]]
        if spool.position is not None and spool.position[0] == strand:
            regions = [part for region in regions for part in _after(spool, region)]
        if regions:
            yield from replace(source, regions=regions, read_strands=(strand,)).blocks(ids)


def _after(spool: TrackSpool, region: GenomicRegion) -> Iterator[GenomicRegion]:
    """The bases of a region from the position of a spool on."""
    done = spool.position[1] - spool.line.place(region) if spool.position else 0
    if done < len(region):
        yield replace(region, start=region.start + max(done, 0))


def _where(spool: TrackSpool) -> str:
    strand, position = spool.position
    contig = int(np.searchsorted(spool.line.offsets, position, side="right")) - 1
    return f"{spool.line.names[contig]}:{position - spool.line.offsets[contig]:,}, read {strand}"


def _fingerprint(facts: Mapping) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def _mention_others(folder: Path, mine: Path) -> None:
    for other in sorted(folder.glob(f"{PREFIX}*")):
        if other != mine:
            log.warning(
                "%s is of an export with other settings, under way or interrupted; delete it if not wanted", other
            )
