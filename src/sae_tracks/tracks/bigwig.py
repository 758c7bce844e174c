"""bigWig: a value on every readable base, nothing elsewhere.

Files are written here and read back with pyBigWig before they get their names; docs/performance.md compares writers.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, locked_folder, make_folder, values_differ, write_provenance
from sae_tracks.json_file import COUNT, At, check
from sae_tracks.progress import track
from sae_tracks.records import check_parts, part_sums, read_made
from sae_tracks.regions import Shard, one_run
from sae_tracks.tracks.bbi.bigwig import check_lengths, finest_zoom, write_bigwig
from sae_tracks.tracks.bbi.runs import STATS, binned
from sae_tracks.tracks.export import fill, nonempty, spooled
from sae_tracks.tracks.folder import track_name
from sae_tracks.tracks.spool import INDEX, RECORD, RUNS, StoredRuns, TrackSpool, spool_record

if TYPE_CHECKING:
    from sae_tracks.source import Source

SCALES = ("raw", "max")
PARTS = (RECORD, RUNS, INDEX)  # of a shard
STORED = {"bin_size": At(1, 1 << 40), "bin_stat": ("max", "mean"), "scale": SCALES, "maxima?": [float]}  # facts of it
UNRECORDED = ("maxima", "shard", "lengths", "format_version")  # facts that the record of bigWigs leaves out
MOST_WRITERS = 64  # each opens up to 12 of the usual 1,024 files; pyBigWig crashes if there are no more


@dataclass(frozen=True, slots=True)
class BigWigValues:
    """How the values of a bigWig follow from activations."""

    bin_size: int = 1  # bases per bin; 1 is the activation of every base
    bin_stat: str = "max"  # or "mean": the value of a bin, over its readable bases
    scale: str = "raw"  # or "max": fractions of the feature's maximum

    def __post_init__(self) -> None:
        if self.bin_size < 1:
            raise SaeTracksError(f"--bin-size {self.bin_size}: bins have at least 1 base")
        if self.bin_stat not in STATS or self.scale not in SCALES:
            raise SaeTracksError(f"bin_stat is one of {STATS} and scale one of {SCALES}")


PLAIN = BigWigValues()


def write_bigwigs(
    source: "Source",
    features: Iterable[int],
    folder: str | Path,
    values: BigWigValues = PLAIN,
    *,
    threads: int = 1,
) -> list[Path]:
    """Write one bigWig per feature and read strand, in one pass over the genome.

    Parameters
    ----------
    source : Source
        Model, SAE, genome and regions.
    features : iterable of int
        Feature ids.
    folder : path
        Gets ``f357.bw`` (``f357.plus.bw`` and ``f357.minus.bw`` if both strands are read) and ``provenance.json``.
        While the genome is read, runs of values lie in a hidden folder there. If the export is interrupted, starting it
        again with the same settings continues it.
    values : BigWigValues
        Bins and scale.
    threads : int
        Number of bigWigs written at the same time, at most 64.

    Returns
    -------
    list of Path
        The files: all of the first read strand, features ascending, then those of the second.

    Raises
    ------
    SaeTracksError
        A feature is not in the SAE, no base of the regions is readable, a file cannot be written, or the folder has
        tracks of other features that are of another run.

    Examples
    --------
    >>> from sae_tracks import Genome, Source, load_lm, load_sae, write_bigwigs
    >>> genome = Genome("hg38.fa")
    >>> source = Source(load_lm("demo"), load_sae("sae/"), genome, [genome.region("chr14:87,049,332-87,049,831")])
    >>> write_bigwigs(source, [357], "tracks")
    [PosixPath('tracks/f357.bw')]
    """
    ids = source.sae.check_features(features).tolist()
    folder = make_folder(Path(folder))
    facts = _facts(source, ids, values)
    _refuse_others(facts, folder)
    with spooled(source, ids, folder, facts) as runs:
        return _write_all(runs, facts, folder, threads)


def write_bigwig_shard(
    source: "Source", features: Iterable[int], folder: str | Path, shard: Shard, values: BigWigValues = PLAIN
) -> None:
    """Read the windows of a shard and store the values of features, for `merge_bigwigs`.

    The folder gets ``spool.json``, ``runs.bin``, ``index.bin`` and ``provenance.json``. An interrupted shard is
    continued. See `write_bigwigs` for the other arguments.
    """
    ids, folder = source.sae.check_features(features).tolist(), Path(folder)
    facts: dict[str, Any] = _facts(source, ids, values) | {"shard": f"{shard.index}/{shard.count}"}
    _refuse_others(facts, folder)
    with TrackSpool(nonempty(source.genome.lengths), ids, folder, facts=facts, keep=True) as spool:
        complete = spool.sealed and (folder / PROVENANCE).exists()
        fill(spool, source, ids, shard)
    if complete:
        check_parts(folder, *PARTS)  # new checksums would hide that a file was changed
    else:
        facts.pop("maxima", None)
        write_provenance(folder, **facts, parts=part_sums(folder, *PARTS))


def merge_bigwigs(shards: Iterable[str | Path], folder: str | Path, *, threads: int = 1) -> list[Path]:
    """Write the bigWigs of a run from all its shards; they have the bytes that `write_bigwigs` would write.

    `shards` are the folders that `write_bigwig_shard` wrote, each once, in any order.

    Raises
    ------
    SaeTracksError
        A folder holds no shard or an incomplete one, a shard is missing, or two were made with settings that change
        values. `folder` has tracks of other features that are of another run.
    """
    folders = [Path(shard) for shard in shards]
    records = [spool_record(shard) for shard in folders]
    for shard, record in zip(folders, records):
        if "shard" not in record:
            raise SaeTracksError(f"{shard} belongs to an interrupted run without --shard: start that run again")
        check(record, str(shard / RECORD), STORED, "run that shard again")
    order = one_run(folders, records, "export-bigwig", partial(values_differ, ignore=["shard"]))
    folder = make_folder(Path(folder))
    _refuse_others(records[0], folder)
    with StoredRuns(order) as runs:
        for shard in order:
            check_parts(shard, *PARTS)
        return _write_all(runs, records[0], folder, threads, shards=len(folders))


def _facts(source: "Source", ids: list[int], values: BigWigValues) -> dict:
    """All that the bytes of the bigWigs depend on, for JSON."""
    check_lengths(nonempty(source.genome.lengths))
    facts = {**source.provenance(), "features": ids, **asdict(values)}
    if values.scale == "max":
        facts["maxima"] = source.sae.maxima()[ids].tolist()
    return facts


def _others(facts: dict, folder: Path) -> tuple[list[int], str | None]:
    """The features of tracks in a folder that an export leaves there, and in what their run differs, if it does."""
    path, remedy = folder / PROVENANCE, "delete it, or name another folder"
    before = read_made(path, remedy=remedy) if path.exists() else {}
    if not {"features", "read_strands", "bin_size"} <= before.keys():  # a record of something else
        return [], None
    check(before, str(path), {"features": [COUNT], "read_strands": [("+", "-")]}, remedy)
    replaced, theirs = _paths(facts, folder), _paths(before, folder)
    left = {feature for file, (feature, _) in theirs.items() if file not in replaced and file.exists()}
    ignored = ("features", *UNRECORDED, "sae_tracks", "command", "shards", "parts")
    return sorted(left), values_differ(before, facts, (*ignored, "genome")) or values_differ(before, facts, ignored)


def _refuse_others(facts: dict, folder: Path) -> None:
    """Refuse a folder in which tracks of another run would stay, because one record describes all tracks."""
    left, differing = _others(facts, folder)
    if left and differing:
        raise SaeTracksError(
            f"{folder} has tracks of another run, such as those of f{left[0]}: the two differ in {differing}, and one "
            "provenance.json cannot describe both; name another folder or delete this one"
        )


def _write_all(runs: StoredRuns, facts: dict, folder: Path, threads: int, **more: Any) -> list[Path]:
    """Write the bigWigs and, at last, their record, which goes on to name the features of other tracks of this run."""
    with locked_folder(folder):
        left, differing = _others(facts, folder)
        if differing and not left:  # until all its tracks are replaced, there is no record
            (folder / PROVENANCE).unlink()
    paths = _write_tracks(runs, facts, folder, threads)
    recorded = {key: value for key, value in facts.items() if key not in UNRECORDED}
    with locked_folder(folder):  # an export that ends at the same instant would write a record without these features
        left, differing = _others(facts, folder)
        recorded["features"] = sorted({*facts["features"], *([] if differing else left)})
        write_provenance(folder, **recorded, **more)
    return paths


def _write_tracks(runs: StoredRuns, facts: dict, folder: Path, threads: int = 1) -> list[Path]:
    """Write the bigWigs of spooled runs; see `write_bigwigs` and `_facts`."""
    values = BigWigValues(**{name: facts[name] for name in BigWigValues.__slots__})
    maxima = dict(zip(facts["features"], facts.get("maxima", ())))
    wanted = _paths(facts, folder)

    def write(path: Path) -> Path:
        feature, strand = wanted[path]
        _write_track(path, runs, feature, strand, values, maxima.get(feature))
        return path

    with ThreadPoolExecutor(min(threads, MOST_WRITERS)) as pool:
        try:
            return list(track(pool.map(write, wanted), "writing", len(wanted)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _paths(facts: dict, folder: Path) -> dict[Path, tuple[int, str]]:
    """Feature and read strand of each bigWig of an export."""
    strands, features = facts["read_strands"], facts["features"]
    return {folder / f"{track_name(f, strand, strands)}.bw": (f, strand) for strand in strands for f in features}


def _write_track(
    path: Path, runs: StoredRuns, feature: int, strand: str, values: BigWigValues, maximum: float | None
) -> None:
    """The bigWig of one feature and read strand."""
    lengths = runs.line.lengths
    readable, active, total = runs.bases(feature, strand)
    if not readable:
        raise SaeTracksError(f"nothing to write into {path.name}: the regions hold no readable base")
    if maximum == 0 and active:
        raise SaeTracksError(f"{path.stem} has values, but was dead where its maximum was measured: use --scale raw")
    divisor = np.float32(maximum) if maximum else None
    stored = runs.value_runs(feature, strand, divisor=divisor)
    by_contig = (part for chunk in stored for part in runs.line.split(chunk))
    if values.bin_size > 1:
        by_contig = binned(by_contig, values.bin_size, values.bin_stat, lengths)
    expected = (readable, total / float(divisor or 1)) if values.bin_size == 1 else None
    write_bigwig(path, lengths, by_contig, finest_zoom(active / max(readable, 1), values.bin_size), expected)
