"""Where features are active: BED6, narrowPeak, bedGraph and bigBed."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, STDOUT, digest, opened, write_provenance
from sae_tracks.tracks.bigbed import write_bigbed
from sae_tracks.tracks.bigwig import finest_zoom
from sae_tracks.tracks.export import nonempty, spooled
from sae_tracks.tracks.intervals import active_intervals, as_intervals
from sae_tracks.tracks.stored import StoredRuns

if TYPE_CHECKING:
    from sae_tracks.source import Source

HELD = 1 << 20  # runs in memory while those of all features are merged
TOP_SCORE = 1000
ENDINGS = (".tbi", ".csi", f".{PROVENANCE}")  # of what lies beside the file
FORMATS = ("bed6", "narrowpeak", "bedgraph", "bigbed")
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
class Row:
    """An interval of one feature and read strand, to be sorted; `peak` is on the genome line, as `start` and `end`."""

    start: int
    end: int
    feature: int
    strand: str
    score: int
    value: str
    peak: int


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
    """Write the intervals in which features are active, sorted, in one pass over the genome.

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
        activation of the interval / the feature's maximum, rounded, at most 1000; 0 where the SAE has no maxima.
        ``narrowpeak``: signalValue (the largest activation), pValue and qValue (-1), peak (the first base with the
        largest activation, from the start) besides. ``bigbed``: the same as bigBed, UCSC's bigNarrowPeak.
        ``bedgraph``: contig, start, end, value of one feature and read strand, intervals of equal value.
    merge_gap : int
        Join intervals of one feature with fewer bases than this between them, active or not, readable or not.
    min_length : int
        Leave out intervals that are shorter, after joining.

    Returns
    -------
    int
        The number of intervals.
    """
    ids = source.sae.check_features(features).tolist()
    _check(out, form, len(ids) * len(source.read_strands), merge_gap, min_length)
    cutoffs = source.sae.cutoffs(threshold, scale)
    folder = None if str(out) == STDOUT else Path(out).parent
    facts = {**source.provenance(), "features": ids, "threshold": threshold, "scale": str(scale), "out": Path(out).name}
    facts["cutoffs_sha256"] = digest(map(str, cutoffs[ids]))
    results = [] if folder is None else [Path(f"{out}{ending}") for ending in ("", *ENDINGS)]
    with spooled(source, ids, folder, facts, cutoffs, results=results) as runs:
        rows = _rows(runs, source, ids, form, merge_gap, min_length)
        count = _write(rows, runs, source, ids, out, form)
        if folder is not None:
            facts |= {"format": form, "merge_gap": merge_gap, "min_length": min_length}
            write_provenance(folder, file_name=f"{Path(out).name}.{PROVENANCE}", **facts)
    return count


def scores(values: NDArray[np.float32], maximum: float | None) -> NDArray[np.int64]:
    """(n,) int64, 0 to 1000: values as a share of the maximum; 0 where that is not known, 1000 where it is exceeded."""
    if maximum is None:
        return np.zeros(len(values), np.int64)
    with np.errstate(divide="ignore"):
        return np.rint(np.minimum(TOP_SCORE * (values.astype(np.float64) / maximum), TOP_SCORE)).astype(np.int64)


def _check(out: str | Path, form: str, tracks: int, merge_gap: int, min_length: int) -> None:
    """Refuse what does not go together."""
    if form not in FORMATS:
        raise SaeTracksError(f"--format {form}: it is one of {', '.join(FORMATS)}")
    if form == "bedgraph" and tracks > 1:
        raise SaeTracksError(f"bedGraph holds one track, not {tracks}: name one feature and one read strand")
    if form == "bedgraph" and (merge_gap or min_length > 1):
        raise SaeTracksError("bedGraph has a row a value: leave out --merge-gap and --min-length")
    if form == "bigbed" and (str(out) == STDOUT or str(out).endswith(".gz")):
        raise SaeTracksError(f"bigBed is binary and indexed as it is: name a file such as features.bb, not {out}")


def _rows(
    runs: StoredRuns, source: "Source", ids: list[int], form: str, merge_gap: int, min_length: int
) -> Iterator[tuple[str, Row, int]]:
    """Contig, row and the contig's offset on the line, sorted over all features and read strands."""
    maxima = {} if source.sae.stats is None else dict(enumerate(source.sae.maxima().tolist()))
    wanted = [(feature, strand) for feature in ids for strand in source.read_strands]
    chunk = max(HELD // len(wanted), 64)
    streams = []
    for feature, strand in wanted:
        stored = runs.stored_runs(feature, strand, chunk)
        gap = None if form == "bedgraph" else merge_gap
        found = map(as_intervals, stored) if gap is None else active_intervals(stored, gap, runs.line.offsets)
        streams.append(_of_track(found, feature, strand, maxima.get(feature), min_length))
    spans = zip(runs.line.names, runs.line.offsets.tolist(), runs.line.offsets[1:].tolist())
    contig, offset, until = next(spans)
    for row in heapq.merge(*streams, key=lambda row: (row.start, row.end, row.feature, row.strand)):
        while row.start >= until:
            contig, offset, until = next(spans)
        yield contig, row, offset


def _of_track(
    chunks: Iterable[NDArray], feature: int, strand: str, maximum: float | None, min_length: int
) -> Iterator[Row]:
    """The rows of one feature and read strand."""
    for found in chunks:
        found = found[found["end"] - found["start"] >= min_length]
        columns = (
            found["start"],
            found["end"],
            scores(found["value"], maximum),
            found["value"].astype(str),
            found["peak"],
        )
        for start, end, score, value, peak in zip(*(column.tolist() for column in columns)):
            yield Row(start, end, feature, strand, score, value, peak)


def _write(
    rows: Iterator[tuple[str, Row, int]],
    runs: StoredRuns,
    source: "Source",
    ids: list[int],
    out: str | Path,
    form: str,
) -> int:
    """Write rows in their format, and count them."""
    lengths = nonempty(source.genome.lengths)
    if form == "bigbed":
        shares = [runs.bases(feature, strand) for feature in ids for strand in source.read_strands]
        density = min(sum(active / max(readable, 1) for readable, active, _ in shares), 1.0)
        items = ((contig, row.start - at, row.end - at, _rest(row, peak=True)) for contig, row, at in rows)
        return write_bigbed(Path(out), lengths, items, PEAK_SQL, finest_zoom(density))
    count = 0
    with opened(out, max(lengths.values())) as write:
        for contig, row, at in rows:
            rest = row.value if form == "bedgraph" else _rest(row, peak=form == "narrowpeak")
            write(f"{contig}\t{row.start - at}\t{row.end - at}\t{rest}\n")
            count += 1
    return count


def _rest(row: Row, *, peak: bool) -> str:
    """The columns from the name on."""
    text = f"f{row.feature}\t{row.score}\t{row.strand}"
    return f"{text}\t{row.value}\t-1\t-1\t{row.peak - row.start}" if peak else text
