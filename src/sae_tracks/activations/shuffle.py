"""An exact global shuffle of activation shards in two passes and bounded memory.

Pass 1 sends every row to a bucket drawn uniformly and independently; pass 2 permutes one bucket at a time. The buckets
one after the other are then a uniform permutation of all rows (Rao 1961, Sandelius 1962), whatever their number.
"""

import math
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sae_tracks.activations.shards import (
    MANIFEST,
    WINDOWS,
    ActivationShards,
    ShardFile,
    shard_name,
    write_manifest,
    write_shard,
)
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import make_folder, write_provenance, writing
from sae_tracks.progress import counter

ROWS_SHARE = 0.5  # of the memory; the rest is for sorting, file buffers and Python itself


@dataclass(frozen=True, slots=True)
class ShufflePlan:
    """How a shuffle is laid out.

    Attributes
    ----------
    rows, buckets : int
        Rows in all; buckets, each of which becomes a shard.
    chunk : int
        Rows of pass 1 in memory at once.
    disk : int
        Bytes written that are there at once, the temporary ones included.
    """

    rows: int
    buckets: int
    chunk: int
    disk: int


def parse_size(text: str) -> int:
    """Read ``512M`` or ``4G`` as bytes; K, M, G, T are powers of 1,024."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise SaeTracksError(f"cannot read the size {text!r}: write it as 512M or 4G")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


def plan_shuffle(source: ActivationShards, memory: int) -> ShufflePlan:
    """Choose the number of buckets of a shuffle: the fewest whose largest fits the memory.

    The largest bucket is larger than planned with a chance below one in a billion.

    Parameters
    ----------
    source : ActivationShards
        The rows to shuffle.
    memory : int
        Memory to use, in bytes.

    Returns
    -------
    ShufflePlan
        For `shuffle`.

    Raises
    ------
    SaeTracksError
        The memory holds no row.
    """
    row_bytes = _record(source.d_model).itemsize
    budget = int(memory * ROWS_SHARE) // row_bytes
    mean = source.rows if budget >= source.rows else (max(budget + 3, 9) ** 0.5 - 3) ** 2  # m + 6 sqrt(m) + 6 = budget
    if mean < 1:
        raise SaeTracksError(f"--memory: {memory:,} bytes hold {budget} rows of {row_bytes:,} bytes; allow more")
    return ShufflePlan(source.rows, math.ceil(source.rows / mean), max(budget // 2, 1), 2 * source.rows * row_bytes)


def shuffle(source: ActivationShards, out: Path, plan: ShufflePlan, *, seed: int = 0) -> None:
    """Write the rows of `source`, each with its locus, to another folder of shards in uniformly random order.

    Parameters
    ----------
    source : ActivationShards
        Its checksums are verified.
    out : path
        Another folder, without shards.
    plan : ShufflePlan
        From `plan_shuffle`.
    seed : int
        The order of the rows is a function of the source, the plan and the seed.

    Raises
    ------
    SaeTracksError
        The output is the input or holds shards already, or cannot be written; nothing is left behind then.
    """
    if out.resolve() == source.folder.resolve():
        raise SaeTracksError(f"{out} is the input: name another folder for the output")
    if (out / MANIFEST).exists() or any(out.glob("shard-*")):
        raise SaeTracksError(f"{out} holds activation shards already: name another folder or delete it")
    windows = (source.folder / WINDOWS).read_bytes()
    make_folder(out)
    with (
        writing(out, out),
        tempfile.TemporaryDirectory(prefix=".shuffle-", dir=out) as name,
        counter("shuffling", len(source) + plan.buckets) as advance,
    ):
        hidden = Path(name)
        distribute(source, hidden, plan, np.random.default_rng([seed, 0]), advance)
        shards = [permute_bucket(hidden, i, source.d_model, seed, advance) for i in range(plan.buckets)]
        (out / WINDOWS).write_bytes(windows)
        for shard in shards:
            for path in shard.paths(hidden):
                path.rename(out / path.name)
    facts = {**source.manifest, "shuffled": True, "shuffle_seed": seed, "source_sha256": source.checksum}
    write_provenance(out, source=str(source.folder), seed=seed)
    write_manifest(out, facts, shards)


def _record(d_model: int) -> np.dtype:
    """A row and its locus as one item, so that they move together."""
    return np.dtype([("row", np.float16, (d_model,)), ("locus", np.int32, (2,))])


def distribute(
    source: ActivationShards,
    folder: Path,
    plan: ShufflePlan,
    rng: np.random.Generator,
    advance: Callable[[str], None] = lambda state: None,
) -> None:
    """Pass 1: append every row to the file of a bucket drawn uniformly, in chunks."""
    for rows, loci in source:
        for start in range(0, len(rows), plan.chunk):
            part = slice(start, start + plan.chunk)
            records = np.empty(len(rows[part]), _record(source.d_model))
            records["row"], records["locus"] = rows[part], loci[part]
            bucket = rng.integers(plan.buckets, size=len(records))
            order = np.argsort(bucket, kind="stable")
            ends = np.cumsum(np.bincount(bucket, minlength=plan.buckets))
            for i, mine in enumerate(np.split(order, ends[:-1])):
                _append(folder / f"bucket-{i}", records[mine])
        advance("pass 1 of 2")


def _append(path: Path, records: NDArray) -> None:
    with path.open("ab") as file:
        records.tofile(file)


def permute_bucket(
    folder: Path, index: int, d_model: int, seed: int, advance: Callable[[str], None] = lambda state: None
) -> ShardFile:
    """Pass 2: the rows of one bucket in uniformly random order as a shard; its file is deleted."""
    path = folder / f"bucket-{index}"
    records = np.fromfile(path, _record(d_model))
    path.unlink()
    np.random.default_rng([seed, 1, index]).shuffle(records)
    advance("pass 2 of 2")
    return write_shard(folder, shard_name(index), records["row"], records["locus"])
