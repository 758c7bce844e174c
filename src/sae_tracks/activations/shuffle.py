"""An exact global shuffle of activation shards in two passes and bounded memory.

Pass 1 sends every row to a bucket drawn uniformly and independently; pass 2 permutes one bucket at a time. The buckets
one after the other are then a uniform permutation of all rows (Rao 1961, Sandelius 1962), whatever their number.
"""

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sae_tracks.activations.shards import (
    MANIFEST,
    UNFINISHED,
    WINDOWS,
    ActivationShards,
    ShardFile,
    check_no_shards,
    open_shards,
    publish,
    shard_name,
    write_shard,
)
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import make_folder, scratch_folder, write_provenance, writing
from sae_tracks.progress import counter

log = logging.getLogger(__name__)
ROWS_SHARE = 0.5  # of the memory; the rest is for sorting, file buffers and Python itself


@dataclass(frozen=True, slots=True)
class ShufflePlan:
    """Sizes of a shuffle."""

    rows: int
    buckets: int  # each becomes a shard
    chunk: int  # rows of pass 1 in memory at once
    disk: int  # bytes on disk at once, including temporary files


def parse_size(text: str) -> int:
    """Read ``512M`` or ``4G`` as bytes; K, M, G, T are powers of 1,024."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise SaeTracksError(f"cannot read the size {text!r}: write it as 512M or 4G")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


def plan_shuffle(source: ActivationShards, memory: int) -> ShufflePlan:
    """Choose the smallest number of buckets for which the largest bucket fits into memory.

    The probability that a bucket is larger than planned is below one in a billion.

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
        The memory is too small for one row.
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
        Another folder, without other shards. If the same shuffle is complete in it, it is left as it is.
    plan : ShufflePlan
        From `plan_shuffle`.
    seed : int
        The order of the rows depends only on the source, the plan and the seed.

    Raises
    ------
    SaeTracksError
        The output is the input, holds shards already, or cannot be written. Then nothing is left behind.
    """
    if out.resolve() == source.folder.resolve():
        raise SaeTracksError(f"{out} is the input: name another folder for the output")
    facts = {**source.manifest, "shuffled": True, "shuffle_seed": seed, "source_sha256": source.checksum}
    if _is_complete(out, facts, plan):
        log.info("%s is complete: this shuffle has been made before", out)
        return
    check_no_shards(out)
    windows = (source.folder / WINDOWS).read_bytes()
    make_folder(out)
    with (
        writing(out, out),
        scratch_folder("shuffle", out) as hidden,
        counter("shuffling", len(source) + plan.buckets) as advance,
    ):
        distribute(source, hidden, plan, np.random.default_rng([seed, 0]), advance)
        shards = [permute_bucket(hidden, i, source.d_model, seed, advance) for i in range(plan.buckets)]
        if (rows := sum(shard.rows for shard in shards)) != plan.rows:
            raise SaeTracksError(f"{rows:,} of {plan.rows:,} rows were shuffled: the disk of {out} lost some")
        (out / WINDOWS).write_bytes(windows)
        write_provenance(out, source=str(source.folder), seed=seed)
        publish(hidden, out, facts, shards)


def _is_complete(out: Path, facts: dict[str, Any], plan: ShufflePlan) -> bool:
    """Whether a folder holds what this shuffle writes."""
    if not (out / MANIFEST).is_file():
        return False
    made = open_shards(out)
    same = {**made.manifest, "shards": facts["shards"]} == facts and len(made) == plan.buckets
    if same:
        (out / UNFINISHED).unlink(missing_ok=True)
    return same


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
            chunk = slice(start, start + plan.chunk)
            records = np.empty(len(rows[chunk]), _record(source.d_model))
            records["row"], records["locus"] = rows[chunk], loci[chunk]
            bucket = rng.integers(plan.buckets, size=len(records))
            order = np.argsort(bucket, kind="stable")
            ends = np.cumsum(np.bincount(bucket, minlength=plan.buckets))
            for i, mine in enumerate(np.split(order, ends[:-1])):
                with (folder / f"bucket-{i}").open("ab") as file:
                    file.write(records[mine].tobytes())  # numpy's tofile loses in silence what a full disk refuses
        advance("pass 1 of 2")


def permute_bucket(
    folder: Path, index: int, d_model: int, seed: int, advance: Callable[[str], None] = lambda state: None
) -> ShardFile:
    """Pass 2: write the rows of one bucket as a shard in uniformly random order, and delete the bucket."""
    path = folder / f"bucket-{index}"
    records = np.fromfile(path, _record(d_model))
    path.unlink()
    np.random.default_rng([seed, 1, index]).shuffle(records)
    advance("pass 2 of 2")
    return write_shard(folder, shard_name(index), records["row"], records["locus"])
