"""bigWigs in parts: each shard of the windows is spooled, and the spools are put together."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import make_folder, values_differ, write_provenance
from sae_tracks.regions import Shard, check_complete, parse_shard
from sae_tracks.tracks.bigwig import PLAIN, Values, bigwig_facts, recorded, write_stored
from sae_tracks.tracks.export import fill, nonempty
from sae_tracks.tracks.spool import TrackSpool, spool_record
from sae_tracks.tracks.stored import StoredRuns

if TYPE_CHECKING:
    from sae_tracks.source import Source


def write_part(
    source: "Source", features: Iterable[int], folder: str | Path, shard: Shard, values: Values = PLAIN
) -> None:
    """Spool the features of a shard: its contiguous part of the windows of each read strand.

    Parameters
    ----------
    source, features, values
        As of `write_bigwigs`.
    folder : path
        Gets ``spool.json``, ``runs.bin``, ``index.bin`` and ``provenance.json``. A part that was
        interrupted is gone on with.
    shard : Shard
    """
    ids = source.sae.check_features(features).tolist()
    facts = bigwig_facts(source, ids, values) | {"shard": f"{shard.index}/{shard.count}"}
    with TrackSpool(nonempty(source.genome.lengths), ids, Path(folder), facts=facts, keep=True) as spool:
        fill(spool, source, ids, shard)
    write_provenance(Path(folder), **recorded(facts))


def merge_bigwigs(parts: Iterable[str | Path], folder: str | Path, *, threads: int = 1) -> list[Path]:
    """Write the bigWigs of all shards of one run: the bytes of the run in one part.

    Parameters
    ----------
    parts : iterable of path
        What `write_part` has written, every part once, in any order.
    folder, threads
        As of `write_bigwigs`.

    Raises
    ------
    SaeTracksError
        A folder holds no part or one that is not finished, parts are of different runs, or one is missing.
    """
    parts = [Path(part) for part in parts]
    records = {part: spool_record(part) for part in parts}
    for part, record in records.items():
        if "shard" not in record:
            raise SaeTracksError(
                f"{part} is of an interrupted run in one part: run that again, it goes on where it was"
            )
    first = records[parts[0]]
    for part, record in records.items():
        if differing := values_differ(first, record, ignore=["shard"]):
            raise SaeTracksError(f"{part} is of another run than {parts[0]}: its {differing} differs")
    shards = [parse_shard(records[part]["shard"]) for part in parts]
    check_complete(shards, "export-bigwig")
    order = [part for _, part in sorted(zip((shard.index for shard in shards), parts))]
    folder = make_folder(Path(folder))
    with StoredRuns(order) as runs:
        paths = write_stored(runs, first, folder, threads)
    own = ("shard", "lengths", "format_version")
    facts = {key: value for key, value in recorded(first).items() if key not in own}
    write_provenance(folder, **facts, parts=len(parts))
    return paths
