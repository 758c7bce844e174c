"""BED: where features are active."""

import heapq
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sae_tracks.files import PROVENANCE, atomic, write_provenance
from sae_tracks.tracks.spool import TrackSpool

if TYPE_CHECKING:
    from sae_tracks.source import Source

HELD = 1 << 20  # runs in memory while those of all features are merged
TOP_SCORE = 1000
STDOUT = "-"


def write_bed(
    source: "Source", features: Iterable[int], out: str | Path, threshold: float = 0.15, scale: str = "max"
) -> int:
    """Write the intervals in which features are active as sorted BED6, in one pass over the genome.

    An interval is a maximal run of readable bases whose float32 activation, as the bigWig holds it, is strictly above
    the feature's cutoff. Columns: contig, start, end (0-based half-open), ``f357``, score, read strand. The score is
    1000 x the largest activation of the interval / the feature's maximum, rounded, at most 1000; 0 where the SAE has no
    maxima. Rows ascend by contig (in the order of the FASTA), start, end, feature.

    Parameters
    ----------
    source : Source
        Model, SAE, genome and regions.
    features : iterable of int
        Feature ids.
    out : path
        ``.gz`` is bgzip; ``-`` is stdout. A file ``f.bed`` gets ``f.bed.provenance.json`` beside it.
    threshold, scale
        See `SAE.cutoffs`; a dead feature has no intervals with ``max``.

    Returns
    -------
    int
        The number of intervals.
    """
    ids = source.sae.check_features(features).tolist()
    cutoffs = source.sae.cutoffs(threshold, scale)
    lengths, folder = source.genome.lengths, None if str(out) == STDOUT else Path(out).parent
    with _opened(out) as write, TrackSpool(lengths, folder, cutoffs) as spool:
        for block in source.blocks(ids):
            spool.add(block)
        count = 0
        for row in _rows(spool, source, ids):
            write(row)
            count += 1
    if folder is not None:
        facts = {**source.provenance(), "features": ids, "threshold": threshold, "scale": str(scale)}
        write_provenance(folder, file_name=f"{Path(out).name}.{PROVENANCE}", **facts)
    return count


def scores(values: NDArray[np.float32], maximum: float | None) -> NDArray[np.int64]:
    """(n,) int64, 0 to 1000: values as a share of the maximum; 0 where that is not known, 1000 where it is exceeded."""
    if maximum is None:
        return np.zeros(len(values), np.int64)
    with np.errstate(divide="ignore"):
        return np.rint(np.minimum(TOP_SCORE * (values.astype(np.float64) / maximum), TOP_SCORE)).astype(np.int64)


def _rows(spool: TrackSpool, source: "Source", ids: list[int]) -> Iterator[str]:
    """BED lines, sorted over all features and read strands."""
    from sae_tracks.sae.model import feature_name

    maxima = {} if source.sae.stats is None else dict(enumerate(source.sae.maxima().tolist()))
    wanted = [(feature, strand) for feature in ids for strand in source.read_strands]
    chunk = max(HELD // len(wanted), 64)
    intervals = [_intervals(spool, feature, strand, maxima.get(feature), chunk) for feature, strand in wanted]
    spans = zip(spool.line.names, spool.line.offsets.tolist(), spool.line.offsets[1:].tolist())
    contig, offset, until = next(spans)
    for start, end, feature, strand, score in heapq.merge(*intervals):
        while start >= until:
            contig, offset, until = next(spans)
        yield f"{contig}\t{start - offset}\t{end - offset}\t{feature_name(feature)}\t{score}\t{strand}\n"


def _intervals(
    spool: TrackSpool, feature: int, strand: str, maximum: float | None, chunk: int
) -> Iterator[tuple[int, int, int, str, int]]:
    """Start, end (on the genome line), feature, read strand and score of the active runs of one feature."""
    for runs in spool.active_runs(feature, strand, chunk):
        columns = runs["start"].tolist(), runs["end"].tolist(), scores(runs["value"], maximum).tolist()
        yield from ((start, end, feature, strand, score) for start, end, score in zip(*columns))


@contextmanager
def _opened(out: str | Path) -> Iterator[Callable[[str], object]]:
    """What writes text to a file, plain or bgzip, or to stdout."""
    if str(out) == STDOUT:
        yield sys.stdout.write
        sys.stdout.flush()
        return
    out = Path(out)
    with atomic(out) as temporary:
        if out.suffix == ".gz":
            with _bgzip(temporary) as write:
                yield write
        else:
            with temporary.open("w") as file:
                yield file.write


@contextmanager
def _bgzip(path: Path) -> Iterator[Callable[[str], object]]:
    import pysam

    with pysam.BGZFile(str(path), "wb") as file:
        yield lambda text: file.write(text.encode("ascii"))
