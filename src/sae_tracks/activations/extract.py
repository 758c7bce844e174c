"""From a genome to activation shards: a sample of the windows, read through a language model and stored as float16."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.activations.shards import (
    FORMAT_VERSION,
    LARGEST,
    LOCUS_BYTES,
    MANIFEST,
    ROWS_PER_SHARD,
    SHARD_SHAPE,
    WINDOWS,
    ShardFile,
    open_shard,
    shard_name,
    write_manifest,
    write_shard,
)
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, digest, make_folder, sha256, values_differ, write_json, write_provenance
from sae_tracks.genome import Genome
from sae_tracks.json_file import read_json
from sae_tracks.lm.protocol import GeneLM, checked_batch, describe
from sae_tracks.progress import counter, track
from sae_tracks.reading import Window, plan_windows, read_together, read_windows, window_layout
from sae_tracks.regions import WHOLE, GenomicRegion, ReadStrand, Shard
from sae_tracks.source import device_of
from sae_tracks.threads import Took, peak_memory, stopwatch

PLAN = "plan.json"
NOTHING_READABLE = "no readable base in the windows: all are N, IUPAC, black-listed or below --min-context"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Extraction:
    """The windows that an extraction reads, and how their rows are split into files."""

    lm: GeneLM
    genome: Genome
    windows: list[Window]  # ascending per read strand; the index of a window is its id
    black_list: list[GenomicRegion]  # bases that give no row
    min_context: int  # bases with less context give no row
    windows_per_shard: int
    settings: dict[str, Any]  # all that the rows depend on; the manifest begins with them

    @property
    def shard_count(self) -> int:
        return -(-len(self.windows) // self.windows_per_shard)

    def windows_of(self, index: int) -> list[Window]:
        """The windows of one shard file."""
        return self.windows[index * self.windows_per_shard : (index + 1) * self.windows_per_shard]

    def shards_of(self, shard: Shard) -> range:
        """The indices of the shard files that one of several writers makes."""
        return range(self.shard_count)[shard.slice(self.shard_count)]


def plan_extraction(
    lm: GeneLM,
    genome: Genome,
    regions: Iterable[GenomicRegion] | None = None,
    *,
    read_strands: Sequence[ReadStrand] = ("+",),
    window: int | None = None,
    context: int | None = None,
    min_context: int = 0,
    sample: int | None = None,
    seed: int = 0,
    black_list: Iterable[GenomicRegion] = (),
    rows_per_shard: int = ROWS_PER_SHARD,
) -> Extraction:
    """Choose the windows to read and the shard file of each.

    Parameters
    ----------
    lm, genome, regions, window, context, min_context, black_list
        See `read`.
    read_strands : sequence of "+" and "-"
        Directions to read in.
    sample : int, optional
        Number of windows to draw per read strand, without replacement; default all.
    seed : int
        Seed of that draw.
    rows_per_shard : int
        Approximate number of rows per shard file, which holds whole windows.

    Returns
    -------
    Extraction
        For `extract`.
    """
    layout = window_layout(lm, window, context, min_context)
    regions, black_list = genome.merged(regions), genome.merged(black_list)
    windows = []
    for strand in read_strands:
        windows += plan_windows(genome, regions, layout=layout, read_strand=strand, sample=sample, seed=seed)
    per_shard = max(rows_per_shard // layout.step, 1)
    settings = {
        "format_version": FORMAT_VERSION,
        "shuffled": False,
        "lm": describe(lm),
        "device": device_of(lm).type,
        "window": layout.window,
        "context": layout.context,
        "min_context": min_context,
        "read_strands": list(read_strands),
        "windows": len(windows),
        "windows_sha256": hashlib.sha256(_bed(windows).encode()).hexdigest(),
        "windows_per_shard": per_shard,
        "bases": sum(len(w.kept) for w in windows),
        "low_context": layout.low_context(windows),
        "black_list_sha256": digest(map(str, black_list)) if black_list else None,
        "seed": seed if sample is not None else None,
        "genome": genome.identity(dict.fromkeys(w.kept.contig for w in windows)),
    }
    return Extraction(lm, genome, windows, black_list, min_context, per_shard, settings)


def _bed(windows: Sequence[Window]) -> str:
    rows = ((w.kept.contig, w.kept.start, w.kept.end, i, 0, w.read_strand) for i, w in enumerate(windows))
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def extract(plan: Extraction, out: Path, shard: Shard = WHOLE) -> int:
    """Write some of the shard files. The writer that completes the set writes the manifest.

    A shard file depends only on the plan. So files of an interrupted run or of another machine are kept, and two
    writers of one shard write the same bytes.

    Parameters
    ----------
    plan : Extraction
        From `plan_extraction`.
    out : path
        Output folder.
    shard : Shard
        Contiguous subset of the shard files to write.

    Returns
    -------
    int
        Number of shard files that are still missing; 0 if the folder is complete.

    Raises
    ------
    SaeTracksError
        The folder holds an extraction with other settings, an activation does not fit float16, or no base of the
        windows gave a row. In the last case the files are removed.
    """
    make_folder(out)
    _check_same(plan, out)
    mine = plan.shards_of(shard)
    there = [i for i in mine if _written(plan, out, i)]
    whole = {i for i in track(there, "checking", len(there)) if _written(plan, out, i, verify=True)}
    for index in set(there) - whole:
        log.warning("%s has changed since it was written, and is made again", out / f"{shard_name(index)}.npy")
    todo = [i for i in mine if i not in whole]
    with counter("extracting", sum(len(plan.windows_of(i)) for i in todo)) as advance:
        for index in todo:
            first = index * plan.windows_per_shard
            rows, loci = read_rows(plan, range(first, first + len(plan.windows_of(index))), advance)
            _claim(plan, out)
            written = write_shard(out, shard_name(index), rows, loci)
            write_json(out / f"{written.name}.json", asdict(written))
    shards = [_written(plan, out, i) for i in range(plan.shard_count)]
    missing = shards.count(None)
    if not missing:
        _finish(plan, out, [s for s in shards if s])
    return missing


def read_rows(
    plan: Extraction, windows: Sequence[int], advance: Callable[[str], None] = lambda words: None
) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
    """Read the windows with some ids and keep one row per readable base at which a token starts.

    Neighbouring ids with the same fed bases share one pass of the model. `advance` is called after each window.

    Returns
    -------
    rows : (n, d_model) float16
        An activation that does not fit is an error.
    loci : (n, 2) int32
        Window id, and offset in bases from the forward start of the kept part of the window.
    """
    chosen = [plan.windows[i] for i in windows]
    capacity = sum(len(window.kept) for window in chosen)
    rows, loci = np.empty((capacity, plan.lm.d_model), np.float16), np.empty((capacity, 2), np.int32)
    done = 0
    readings = read_windows(plan.lm, plan.genome, chosen, plan.black_list, plan.min_context)
    for window_id, reading in zip(windows, readings, strict=True):
        offsets = np.flatnonzero(reading.readable & reading.token_starts)
        kept = reading.activations[torch.from_numpy(offsets)]
        if not (kept.abs() <= LARGEST).all():
            worst = f"an activation at {reading.region} is {kept.abs().max().item():.6g}"
            raise SaeTracksError(f"{worst}, past {LARGEST:.0f} where float16 ends")
        end = done + len(offsets)
        rows[done:end] = kept.numpy()
        loci[done:end, 0], loci[done:end, 1] = window_id, offsets
        done = end
        advance("")
    return rows[:done], loci[:done]


def _written(plan: Extraction, out: Path, index: int, *, verify: bool = False) -> ShardFile | None:
    """The record of a shard whose files are complete and, if they are verified, have its checksums; or None."""
    try:
        shard = ShardFile.of(read_json(out / f"{shard_name(index)}.json", SHARD_SHAPE))
        open_shard(out, shard, plan.lm.d_model)
        sums = [sha256(path) for path in shard.paths(out)] if verify else [shard.sha256, shard.loci_sha256]
    except SaeTracksError:
        return None
    return shard if shard.name == shard_name(index) and sums == [shard.sha256, shard.loci_sha256] else None


def _check_same(plan: Extraction, out: Path) -> None:
    """Refuse a folder with another plan."""
    if (out / PLAN).exists():
        if key := values_differ(plan.settings, read_json(out / PLAN, remedy="delete the folder and begin again")):
            raise SaeTracksError(f"{out} holds an extraction with another {key}; name another folder or delete it")
    elif (out / MANIFEST).exists():
        raise SaeTracksError(f"{out} holds shards that extract did not write; name another folder")


def _claim(plan: Extraction, out: Path) -> None:
    """Write the plan and the windows with the first shard."""
    _check_same(plan, out)
    if not (out / PLAN).exists():
        _write_windows(plan, out)
        write_json(out / PLAN, plan.settings)


def _write_windows(plan: Extraction, out: Path) -> None:
    with atomic(out / WINDOWS) as temporary:
        temporary.write_text(_bed(plan.windows))


def _finish(plan: Extraction, out: Path, shards: list[ShardFile]) -> None:
    rows = sum(shard.rows for shard in shards)
    if not rows:
        files = [path for shard in shards for path in (*shard.paths(out), out / f"{shard.name}.json")]
        for path in (*files, out / WINDOWS, out / PLAN):  # the plan, which claims the folder, last
            path.unlink(missing_ok=True)
        raise SaeTracksError(NOTHING_READABLE)
    if not (out / WINDOWS).is_file() or sha256(out / WINDOWS) != plan.settings["windows_sha256"]:
        _write_windows(plan, out)
    write_provenance(out, lm=describe(plan.lm), genome=str(plan.genome.path), seed=plan.settings["seed"])
    write_manifest(out, {**plan.settings, "left_out": plan.settings["bases"] - rows}, shards)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Size, memory and time of an extraction."""

    windows: int
    bases: int  # an upper limit of the rows, because unreadable bases give none
    shards: int
    disk: int  # bytes
    memory: int  # bytes
    took: Took  # to read the windows


def estimate(plan: Extraction, shard: Shard = WHOLE) -> Estimate:
    """Estimate an extraction from the time of its longest window when it is read a second time.

    If the model reads several such windows together, so many are read.
    """
    mine = plan.shards_of(shard)
    windows = [window for i in mine for window in plan.windows_of(i)]
    sequence = plan.genome.sequence(max((w.fed for w in plan.windows), key=len))
    together = [sequence] * read_together(plan.lm, len(sequence))
    checked_batch(plan.lm, together)
    passed = stopwatch()
    checked_batch(plan.lm, together)
    took = passed().times(len({(w.fed, w.read_strand) for w in windows}) / len(together))
    row_bytes = 2 * plan.lm.d_model + LOCUS_BYTES
    bases = sum(len(w.kept) for w in windows)
    largest = max((sum(len(w.kept) for w in plan.windows_of(i)) for i in mine), default=0)
    return Estimate(len(windows), bases, len(mine), bases * row_bytes, peak_memory() + largest * row_bytes, took)
