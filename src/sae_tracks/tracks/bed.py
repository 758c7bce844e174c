"""Where features are active: BED6, narrowPeak, bedGraph and bigBed."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError, UsageError
from sae_tracks.files import PROVENANCE, STDOUT, TOP_SCORE, digest, make_folder, text_output, write_provenance
from sae_tracks.tracks.bbi.bigbed import write_bigbed
from sae_tracks.tracks.bbi.bigwig import finest_zoom
from sae_tracks.tracks.bbi.runs import RUN
from sae_tracks.tracks.export import nonempty, spooled
from sae_tracks.tracks.folder import track_name
from sae_tracks.tracks.spool import StoredRuns

if TYPE_CHECKING:
    from sae_tracks.source import Source

HELD = 1 << 20  # runs in memory while the tracks of all features are merged
SUFFIXES = {"bed6": ".bed", "narrowpeak": ".narrowPeak", "bedgraph": ".bedgraph"}
FORMATS = ("bed6", "narrowpeak", "bedgraph", "bigbed")
INTERVAL = np.dtype([*RUN.descr, ("peak", np.int64)])
NO_INTERVALS = np.empty(0, INTERVAL)
Track = tuple[int, str]  # feature, read strand
PEAK_SQL = """table activeIntervals
"Where features of a sparse autoencoder are active"
(
string chrom;        "Contig"
uint   chromStart;   "First base, 0-based"
uint   chromEnd;     "Base after the last"
string name;         "Feature: f357"
uint   score;        "1000 x the largest activation / the feature's maximum, at most 1000"
char[1] strand;      "Direction in which the language model read"
float  signalValue;  "Largest activation"
float  pValue;       "-1: not computed"
float  qValue;       "-1: not computed"
int    peak;         "First base with the largest activation, from chromStart"
)
"""


@dataclass(frozen=True, slots=True)
class _Row:
    """An interval of one feature and read strand; `start`, `end` and `peak` are positions on the genome line."""

    start: int
    end: int
    feature: int
    strand: str
    score: int
    value: str
    peak: int


@dataclass(frozen=True, slots=True)
class _Style:
    """How intervals are made and written; see `write_bed`."""

    form: str
    merge_gap: int
    min_length: int

    def check(self, tracks: int, out: str | Path) -> None:
        """Refuse options that exclude each other, for a file that holds this many tracks."""
        if self.form not in FORMATS:
            raise SaeTracksError(f"--format {self.form}: it is one of {', '.join(FORMATS)}")
        if self.form == "bedgraph" and tracks > 1:
            raise UsageError(f"bedGraph holds one track, not {tracks}: name one feature and one read strand")
        if self.form == "bedgraph" and (self.merge_gap or self.min_length > 1):
            raise UsageError("bedGraph has one row per value: leave out --merge-gap and --min-length")
        if self.form == "bigbed" and (str(out) == STDOUT or str(out).endswith(".gz")):
            raise UsageError(f"bigBed is binary and has its own index: name a file such as features.bb, not {out}")
        if self.form != "bigbed" and str(out).endswith((".bb", ".bigBed")):
            raise UsageError(f"{out} is a name of bigBed: add --format bigbed, or name a .bed")


def write_bed(
    source: "Source",
    features: Iterable[int],
    out: str | Path,
    threshold: float = 0.15,
    scale: str = "max",
    *,
    form: str = "bed6",
    merge_gap: int = 0,
    min_length: int = 1,
) -> int:
    """Write the intervals in which features are active into one sorted file, in one pass over the genome.

    An interval is a maximal run of readable bases whose float32 activation, as the bigWig holds it, is strictly above
    the feature's cutoff. Rows ascend by contig (in the order of the FASTA), start, end, feature.

    Parameters
    ----------
    source : Source
        Model, SAE, genome and regions.
    features : iterable of int
        Feature ids.
    out : path
        ``.gz`` is bgzip, with its index beside it; ``-`` is stdout. A file ``f.bed`` gets ``f.bed.provenance.json``.
    threshold, scale
        See `SAE.cutoffs`; a dead feature has no intervals with ``max``.
    form : str
        ``bed6``: contig, start, end (0-based half-open), ``f357``, score, read strand. The score is 1000 x the largest
        activation of the interval / the feature's maximum, rounded, at most 1000; it is 0 if the SAE has no maxima.
        ``narrowpeak``: four more columns, signalValue (the largest activation), pValue and qValue (-1), peak (the first
        base with the largest activation, counted from the start). ``bigbed``: the same as bigBed, UCSC's bigNarrowPeak.
        ``bedgraph``: contig, start, end, value of one feature and read strand, intervals of equal value.
    merge_gap : int
        Join intervals of one feature with fewer bases than this between them, active or not, readable or not.
    min_length : int
        Leave out intervals that are shorter, after joining.

    Returns
    -------
    int
        The number of intervals.

    Raises
    ------
    SaeTracksError
        A feature is not in the SAE, options exclude each other, or the file cannot be written.
    """
    ids = source.sae.check_features(features).tolist()
    style, tracks = _Style(form, merge_gap, min_length), _tracks(source, ids)
    style.check(len(tracks), out)
    folder = None if str(out) == STDOUT else Path(out).parent
    cutoffs = source.sae.cutoffs(threshold, scale)
    facts = _facts(source, ids, threshold, scale, cutoffs) | {"out": Path(out).name}
    with spooled(source, ids, folder, facts, cutoffs) as runs:
        count = _write(runs, source, tracks, out, style)
        if folder is not None:
            write_provenance(folder, file_name=f"{Path(out).name}.{PROVENANCE}", **facts, **_recorded(style))
    return count


def write_beds(
    source: "Source",
    features: Iterable[int],
    folder: str | Path,
    threshold: float = 0.15,
    scale: str = "max",
    *,
    form: str = "bed6",
    merge_gap: int = 0,
    min_length: int = 1,
) -> list[Path]:
    """Write the intervals in which features are active, one file per feature and read strand, in one pass.

    Parameters
    ----------
    source, features, threshold, scale, merge_gap, min_length
        As for `write_bed`.
    folder : path
        Gets ``f357.bed`` (``f357.plus.bed`` and ``f357.minus.bed`` if both strands are read), or ``.narrowPeak`` and
        ``.bedgraph`` files, and ``intervals.provenance.json``. A feature without an interval has an empty file.
    form : "bed6", "narrowpeak" or "bedgraph"

    Returns
    -------
    list of Path
        The files: all of the first read strand, features ascending, then those of the second.

    Raises
    ------
    SaeTracksError
        A feature is not in the SAE, options do not fit together, or a file cannot be written.

    Examples
    --------
    >>> write_beds(source, [357, 12], "intervals", threshold=0.5)
    [PosixPath('intervals/f12.bed'), PosixPath('intervals/f357.bed')]
    """
    ids = source.sae.check_features(features).tolist()
    style = _Style(form, merge_gap, min_length)
    style.check(tracks=1, out=folder)
    if form not in SUFFIXES:
        raise SaeTracksError(f"write_beds writes text, one of {', '.join(SUFFIXES)}; write_bed writes a bigBed")
    folder = make_folder(Path(folder))
    cutoffs, strands = source.sae.cutoffs(threshold, scale), source.read_strands
    facts = _facts(source, ids, threshold, scale, cutoffs)
    paths = {
        folder / f"{track_name(f, strand, strands)}{SUFFIXES[form]}": (f, strand) for f, strand in _tracks(source, ids)
    }
    with spooled(source, ids, folder, facts | {"out": "one file per track"}, cutoffs) as runs:
        for path, one in paths.items():
            _write(runs, source, [one], path, style)
        write_provenance(folder, file_name=f"intervals.{PROVENANCE}", **facts, **_recorded(style))
    return list(paths)


def scores(values: NDArray[np.float32], maximum: float | None) -> NDArray[np.int64]:
    """BED scores, (n,) int64 from 0 to 1000: values as a share of the maximum, cut at 1000; 0 without a maximum."""
    if maximum is None:
        return np.zeros(len(values), np.int64)
    with np.errstate(divide="ignore"):
        return np.rint(np.minimum(TOP_SCORE * (values.astype(np.float64) / maximum), TOP_SCORE)).astype(np.int64)


def _tracks(source: "Source", ids: Iterable[int]) -> list[Track]:
    """Feature and read strand of every track."""
    return [(feature, strand) for strand in source.read_strands for feature in ids]


def _facts(source: "Source", ids: list[int], threshold: float, scale: str, cutoffs: NDArray[np.float32]) -> dict:
    """All that the stored runs depend on, for JSON."""
    settings = {"features": ids, "threshold": threshold, "scale": str(scale)}
    return source.provenance() | settings | {"cutoffs_sha256": digest(map(str, cutoffs[ids]))}


def _recorded(style: _Style) -> dict:
    return {"format": style.form, "merge_gap": style.merge_gap, "min_length": style.min_length}


def _write(runs: StoredRuns, source: "Source", tracks: Sequence[Track], out: str | Path, style: _Style) -> int:
    """Write the intervals of some tracks into one file, and count them."""
    rows, lengths = _rows(runs, source, tracks, style), nonempty(source.genome.lengths)
    if style.form == "bigbed":
        shares = [runs.bases(feature, strand) for feature, strand in tracks]
        density = min(sum(active / max(readable, 1) for readable, active, _ in shares), 1.0)
        items = ((contig, row.start - at, row.end - at, _columns(row, peak=True)) for contig, row, at in rows)
        return write_bigbed(Path(out), lengths, items, PEAK_SQL, finest_zoom(density))
    count = 0
    with text_output(out, max(lengths.values())) as write:
        for contig, row, at in rows:
            columns = row.value if style.form == "bedgraph" else _columns(row, peak=style.form == "narrowpeak")
            write(f"{contig}\t{row.start - at}\t{row.end - at}\t{columns}\n")
            count += 1
    return count


def _rows(
    runs: StoredRuns, source: "Source", tracks: Sequence[Track], style: _Style
) -> Iterator[tuple[str, _Row, int]]:
    """Yield contig, row and the contig's offset on the genome line, sorted over all tracks."""
    maxima = {} if source.sae.stats is None else dict(enumerate(source.sae.maxima().tolist()))
    chunk = max(HELD // len(tracks), 64)
    streams = []
    for feature, strand in tracks:
        stored = runs.stored_runs(feature, strand, chunk)
        if style.form == "bedgraph":
            joined = map(as_intervals, stored)
        else:
            joined = active_intervals(stored, style.merge_gap, runs.line.offsets)
        streams.append(_rows_of_track(joined, feature, strand, maxima.get(feature), style.min_length))
    spans = zip(runs.line.names, runs.line.offsets.tolist(), runs.line.offsets[1:].tolist())
    contig, offset, until = next(spans)
    for row in heapq.merge(*streams, key=lambda row: (row.start, row.end, row.feature, row.strand)):
        while row.start >= until:
            contig, offset, until = next(spans)
        yield contig, row, offset


def _rows_of_track(
    chunks: Iterable[NDArray], feature: int, strand: str, maximum: float | None, min_length: int
) -> Iterator[_Row]:
    for found in chunks:
        found = found[found["end"] - found["start"] >= min_length]
        score, value = scores(found["value"], maximum), found["value"].astype(str)
        columns = (found["start"], found["end"], score, value, found["peak"])
        for start, end, score, value, peak in zip(*(column.tolist() for column in columns)):
            yield _Row(start, end, feature, strand, score, value, peak)


def _columns(row: _Row, *, peak: bool) -> str:
    """The columns of a row from the name on; with `peak` those of narrowPeak."""
    text = f"f{row.feature}\t{row.score}\t{row.strand}"
    return f"{text}\t{row.value}\t-1\t-1\t{row.peak - row.start}" if peak else text


def as_intervals(runs: NDArray) -> NDArray:
    """Each run as an interval, (k,) `INTERVAL`, with its peak at its first base."""
    found = np.empty(len(runs), INTERVAL)
    for name in RUN.names or ():
        found[name] = runs[name]
    found["peak"] = runs["start"]
    return found


def active_intervals(chunks: Iterable[NDArray], gap: int, offsets: NDArray[np.int64]) -> Iterator[NDArray]:
    """Join runs of one contig that touch, or have fewer than `gap` bases between them, into intervals.

    The runs are ascending and disjoint on the genome line, on which contigs begin at `offsets`. How they are cut into
    arrays changes nothing. Each (k,) `INTERVAL` has the largest value, and the first position on the line that has it.
    """
    carried = NO_INTERVALS
    for runs in chunks:
        found = _joined(np.concatenate((carried, as_intervals(runs))), gap, offsets)
        carried = found[-1:]  # the next chunk may go on with it
        if len(found) > 1:
            yield found[:-1]
    if len(carried):
        yield carried


def _joined(intervals: NDArray, gap: int, offsets: NDArray[np.int64]) -> NDArray:
    new = intervals["start"][1:] - intervals["end"][:-1] >= max(gap, 1)
    if gap > 1:  # one position lies between contigs
        new |= np.diff(np.searchsorted(offsets, intervals["start"], side="right")) > 0
    first = np.concatenate(([0], np.flatnonzero(new) + 1))
    found = intervals[first]
    found["end"] = intervals["end"][np.append(first[1:], len(intervals)) - 1]
    found["value"] = np.maximum.reduceat(intervals["value"], first)
    highest = intervals["value"] == np.repeat(found["value"], np.diff(np.append(first, len(intervals))))
    found["peak"] = np.minimum.reduceat(np.where(highest, intervals["peak"], np.iinfo(np.int64).max), first)
    return found
