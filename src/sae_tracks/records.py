"""What verbs leave for each other: what records must hold, as shapes of `sae_tracks.json_file`, and files of shards."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_tracks.bounded import read_arrays
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, atomic, sha256, write_json
from sae_tracks.json_file import COUNT, SIZE, At, Row, Shape, parse_json, read_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECORD = "record"  # of the arrays of a shard

MAYBE_TEXT = (str, None)
READ_STRANDS = [("+", "-")]
LM = {
    **{f"{name}?": MAYBE_TEXT for name in ("model", "revision", "weights_sha256", "architecture", "hook_name")},
    "layer?": (COUNT, None),
    "d_model?": SIZE,
}
CONTIGS = {str: {"length": At(0, 1 << 40), "M5": str}}
SPAN = Row(str, COUNT, COUNT)  # a region: contig, start, end
HALVES = Row((SIZE, None), COUNT, (Row([SPAN], [SPAN]), None))  # of `sae_tracks.metrics.halves`
READ_BASES = {"path": str, "contigs": CONTIGS, "regions": [SPAN], "black_list": [SPAN], "read_strands": READ_STRANDS}
MADE = {  # by any verb; a merged run of two sources has them under a and b
    **{f"{name}?": MAYBE_TEXT for name in ("sae_tracks", "command", "sae_sha256", "data", "shard")},
    "lm?": (LM, None),
    "genome?": ({"path": str, "contigs?": (CONTIGS, None)}, str, None),
    "regions?": ([str], str, int, None),
    "read_strands?": (READ_STRANDS, None),
    "annotations?": ({str: MAYBE_TEXT}, None),
    "parts?": {str: str},
    "a?": {"sae_sha256?": MAYBE_TEXT},
}


def read_made(path: Path, more: Shape | None = None, remedy: str = "") -> dict[str, Any]:
    """Read a record of how a folder or a file was made, ``provenance.json``.

    Parameters
    ----------
    path : path
    more : shape, optional
        Further fields that the reader needs.
    remedy : str
        See `read_json`.

    Returns
    -------
    dict
    """
    return read_json(path, {**MADE, **(more or {})}, remedy)


def part_sums(folder: Path, *names: str) -> dict[str, str]:
    """The SHA-256 of files in a shard's folder, and of those in its folders, for ``parts`` of its ``provenance.json``.

    The keys are paths in the folder. A name that is not there is left out.
    """
    return {name: sha256(folder / name) for name in _files(folder, names)}


def _files(folder: Path, names: Sequence[str]) -> list[str]:
    found = [path for name in names for path in (folder / name, *sorted((folder / name).rglob("*")))]
    return [path.relative_to(folder).as_posix() for path in found if path.is_file()]


def record_parts(folder: Path, *names: str) -> None:
    """Add the `part_sums` of files to the ``provenance.json`` that is there."""
    made = read_made(folder / PROVENANCE)
    write_json(folder / PROVENANCE, made | {"parts": made.get("parts", {}) | part_sums(folder, *names)})


def check_parts(folder: Path, *names: str, shape: Shape | None = None) -> dict[str, Any]:
    """Compare files of a shard's folder with their checksums in its ``provenance.json``, and return that record.

    `names` are those of files, or of folders with all that lies in them.

    Raises
    ------
    SaeTracksError
        There is no such record, a file is missing or has no checksum, or one has changed.
    """
    remedy = "delete the folder and run that shard again, or copy it again"
    made = read_made(folder / PROVENANCE, {"parts": {str: str}, **(shape or {})}, remedy)
    listed = {name: checksum for name, checksum in made["parts"].items() if name.split("/")[0] in names}
    for name in dict.fromkeys((*listed, *_files(folder, names))):
        if ".." in name.split("/") or not (folder / name).is_file():
            raise SaeTracksError(f"{folder / name} is missing: {remedy}")
        if name not in listed:
            raise SaeTracksError(f"{folder / PROVENANCE} has no checksum of {name}: {remedy}")
        if sha256(folder / name) != listed[name]:
            raise SaeTracksError(f"{folder / name} has changed since it was written, by its SHA-256: {remedy}")
    return made


def by_content(facts: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Facts with files known by their checksums: two shards may spell the path of one file in different ways.

    The facts of `keys` are dicts of path to checksum, None if it is no file.
    """
    files = {key: [checksum or path for path, checksum in (facts.get(key) or {}).items()] for key in keys}
    return {**facts, **files}


def write_shard(path: Path, record: Mapping[str, Any], arrays: "Mapping[str, NDArray]") -> None:
    """Write what a shard of a run found: arrays, and among them its record as JSON."""
    import numpy as np

    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{RECORD: np.frombuffer(json.dumps(record).encode(), np.uint8), **arrays})


def read_shard(path: Path, shape: Shape, *, record_alone: bool = False) -> "tuple[dict[str, Any], dict[str, NDArray]]":
    """Read what `write_shard` wrote: the record and the arrays, of which there are none if it is read alone.

    Raises
    ------
    SaeTracksError
        The file cannot be read, or its record is not of that shape.
    """
    remedy = "delete it, and run that shard again"
    try:
        arrays = read_arrays(path, [RECORD] if record_alone else None)
        if RECORD not in arrays:
            raise SaeTracksError(f"{path} has no array {RECORD!r}")
    except SaeTracksError as error:
        raise SaeTracksError(f"{error}; {remedy}") from error
    return parse_json(arrays.pop(RECORD).tobytes(), str(path), shape, remedy), arrays
