"""Counting in parts: the blocks of a shard, and adding up what the shards counted."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock
from sae_tracks.files import PROVENANCE, read_json
from sae_tracks.metrics.counts import Counts, load_counts
from sae_tracks.metrics.tables import COUNTS
from sae_tracks.regions import Shard, check_complete, parse_shard
from sae_tracks.source import Source

OWN = ("shard", "command")  # facts that differ between the parts of one run


def part_of(source: Source, shard: Shard, features: Iterable[int] | None = None) -> Iterator[FeatureBlock]:
    """The blocks of a shard: of its contiguous part of the windows of each read strand; see `Source.blocks`."""
    for strand in source.read_strands:
        windows = source.windows(strand)
        mine = windows[shard.slice(len(windows))]
        if mine:
            part = replace(source, regions=[window.kept for window in mine], read_strands=(strand,))
            yield from part.blocks(features)


def merge_parts(folders: Iterable[Path]) -> tuple[Counts, dict]:
    """Add the counts that the shards of one run have written, one at a time.

    Parameters
    ----------
    folders : iterable of Path
        Each holds the ``counts.npz`` and ``provenance.json`` of ``metrics --shard i/n``; any order.

    Returns
    -------
    Counts, dict
        The numbers of the run in one part, and what its provenance says.

    Raises
    ------
    SaeTracksError
        A folder holds no part, parts are of different runs, or one is missing or there twice.
    """
    folders = list(folders)
    facts = [_facts(folder) for folder in folders]
    shards = [parse_shard(fact["shard"]) for fact in facts]
    for folder, fact in zip(folders, facts):
        for key in (fact.keys() | facts[0].keys()) - set(OWN):
            if fact.get(key) != facts[0].get(key):
                raise SaeTracksError(f"{folder} is of another run than {folders[0]}: its {key} differs")
    check_complete(shards, "metrics")
    total = None
    for folder in folders:
        counts = load_counts(folder / COUNTS)
        if total is None:
            total = counts
        else:
            total.merge(counts)
    return total, {key: value for key, value in facts[0].items() if key not in (*OWN, "sae_tracks")}


def _facts(folder: Path) -> dict:
    facts = read_json(Path(folder) / PROVENANCE)
    if "shard" not in facts:
        raise SaeTracksError(f"{folder} is not of metrics --shard i/n: there is nothing to add")
    return facts
