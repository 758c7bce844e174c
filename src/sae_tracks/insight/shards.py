"""A long run in parts: what a shard of a run stores, and all shards of a run together."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, values_differ, write_provenance
from sae_tracks.records import by_content, check_parts, part_sums, read_shard, write_shard
from sae_tracks.regions import Shard, one_run

STORED, FORMAT_VERSION = "shard.npz", 1
STORED_RECORD = {
    **{"format_version": FORMAT_VERSION, "sae_tracks": str, "verb": str, "shard": str},
    **{"sources": [dict], "facts": dict, "inputs": dict},
}
BY_CHECKSUM = ("annotation", "annotations", "repeats", "alias", "from_a", "from_b")  # path: checksum, or None
Arrays = dict[str, NDArray]
VERBS = "motifs, effects, compare or insert"
log = logging.getLogger(__name__)


class Run(Protocol):
    """A run that can be read in shards.

    Attributes
    ----------
    verb : str
        The verb of ``sae-tracks`` that makes such runs.
    """

    verb: str

    def sources(self) -> list[dict[str, Any]]:
        """The provenance of each source."""
        ...

    def facts(self) -> dict[str, Any]:
        """Everything else that the result depends on, for its provenance: the same for all shards of a run."""
        ...

    def inputs(self) -> dict[str, Any]:
        """What a merge needs beside the arrays, such as the paths of files that it reads again."""
        ...

    def read(self, shard: Shard) -> Arrays:
        """Read a shard: arrays from which the result of the run follows, together with those of the other shards."""
        ...

    def provenance(self) -> dict[str, Any]:
        """What the result records."""
        return provenance(self.sources(), self.facts())


def run_shard(run: Run, folder: str | Path, shard: Shard) -> bool:
    """Read a shard of a run and store it, unless its folder holds it already.

    So if some shards of a run were interrupted, the same commands again read only these.

    Parameters
    ----------
    run : Run
        Its inputs are open and checked; no window is read yet.
    folder : path
        A folder of this shard alone, made if it is missing, for ``shard.npz`` and ``provenance.json``; see
        docs/formats.md. `merge_shards` takes the folders of all shards.
    shard : Shard
        Which part.

    Returns
    -------
    bool
        Whether the shard was read; False if it was complete.

    Raises
    ------
    SaeTracksError
        The folder holds another shard, or one of other settings.
    """
    folder, facts = Path(folder), run.facts()
    name = f"{shard.index}/{shard.count}"
    record = {"format_version": FORMAT_VERSION, "sae_tracks": _version(), "verb": run.verb, "shard": name}
    record |= {"sources": run.sources(), "facts": facts, "inputs": run.inputs()}
    if (folder / STORED).exists():
        stored = _record(folder)
        if key := _differ(stored, record):
            raise SaeTracksError(f"{folder} holds a shard of another run, whose {key} differs: name another folder")
        if stored["shard"] != name:
            raise SaeTracksError(f"{folder} holds shard {stored['shard']}: name a folder for shard {name} alone")
        if not (folder / PROVENANCE).exists():  # killed before it was written
            _write_made(run, record, folder)
        check_parts(folder, STORED)
        log.info("shard %s in %s is complete already", name, folder)
        return False
    if (folder / PROVENANCE).exists():
        raise SaeTracksError(f"{folder} holds other results: name a folder for shard {name} alone")
    if pipes := [path for path in _named(record["inputs"].values()) if Path(path).is_fifo()]:
        raise SaeTracksError(f"{pipes[0]} is a pipe, which merge-shards could not read again: name a file")
    arrays = run.read(shard)
    write_shard(folder / STORED, record, arrays)
    _write_made(run, record, folder)
    log.info("shard %s in %s; sae-tracks merge-shards joins all shards", name, folder)
    return True


def _write_made(run: Run, record: Mapping[str, Any], folder: Path) -> None:
    made = {**provenance(record["sources"], record["facts"]), "verb": run.verb, "shard": record["shard"]}
    write_provenance(folder, **made, parts=part_sums(folder, STORED))


def provenance(sources: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a run records: of one source its facts as they are, of two sources under ``a`` and ``b``."""
    return {**(sources[0] if len(sources) == 1 else dict(zip("ab", sources))), **facts}


@dataclass(frozen=True, slots=True)
class Shards:
    """All shards of a run, from 1 to n.

    Attributes
    ----------
    verb, sources, facts, inputs
        As in `Run`.
    folders : list of Path
        One per shard.
    """

    verb: str
    sources: list[dict[str, Any]]
    facts: dict[str, Any]
    inputs: dict[str, Any]
    folders: list[Path]

    def arrays(self) -> Iterator[Arrays]:
        """Yield what `Run.read` returned, shard by shard."""
        for folder in self.folders:
            yield read_shard(folder / STORED, STORED_RECORD)[1]

    def check(self, facts: Mapping[str, Any]) -> None:
        """Refuse files that are not what they were when the shards were read; `facts` are those of now."""
        if key := _facts_differ(self.facts, facts):
            raise SaeTracksError(f"the files of {key} have changed since the shards were read: run the shards again")

    def provenance(self) -> dict[str, Any]:
        """What the merged run records."""
        return provenance(self.sources, self.facts) | {"shards": len(self.folders)}


def read_shards(folders: Iterable[str | Path]) -> Shards:
    """Open the shards of a run, in any order.

    Raises
    ------
    SaeTracksError
        A folder holds no shard, shards are of different runs, or one is missing or there twice.
    """
    paths = list(map(Path, folders))
    records = list(map(_record, paths))
    for path in paths:
        check_parts(path, STORED)
    ordered = one_run(paths, records, records[0]["verb"] if records else VERBS, _differ)
    first = records[0]
    return Shards(first["verb"], first["sources"], first["facts"], first["inputs"], ordered)


def _record(folder: Path) -> dict[str, Any]:
    """The record of a shard."""
    if not (folder / STORED).is_file():
        raise SaeTracksError(f"{folder} holds no shard: name the folders of {VERBS} --shard i/n")
    return read_shard(folder / STORED, STORED_RECORD, record_alone=True)[0]


def _differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The first thing by which two records are of different runs; None if they are of one."""
    for name in ("verb", "sae_tracks"):
        if one[name] != other[name]:
            return name
    for ours, theirs in zip_longest(one["sources"], other["sources"], fillvalue={}):
        if key := values_differ(ours, theirs):
            return key
    return _facts_differ(one["facts"], other["facts"])


def _facts_differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    return values_differ(by_content(one, BY_CHECKSUM), by_content(other, BY_CHECKSUM))


def _named(values: Iterable[Any]) -> Iterator[str]:
    """All texts among values, and in lists of them; some are paths."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _named(value)


def _version() -> str:
    from sae_tracks import __version__

    return __version__
