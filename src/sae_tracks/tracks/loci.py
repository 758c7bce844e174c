"""Top loci of a track: the places where it is highest, and how its values are spread."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import GenomicRegion
from sae_tracks.tracks.bbi.read import opened, read_summary

APART = 100  # bases between two loci, at least
BINS = 30
CHUNK = 1 << 20  # bases read at once, about
PEAK_SPAN = 100_000  # bases searched base by base for the highest


@dataclass(frozen=True, slots=True)
class Locus:
    """A base where a track is highest among its neighbours.

    Attributes
    ----------
    contig : str
    position : int
        0-based.
    value : float
        Of the track there.
    """

    contig: str
    position: int
    value: float


@dataclass(frozen=True, slots=True)
class TrackLoci:
    """What one walk over a bigWig gives.

    Attributes
    ----------
    loci : list of Locus
        The highest first; of equal values, the first in the order of the bigWig's contigs and positions.
    edges : (bins + 1,) float64
        Of the histogram, equally wide from 0 to the largest value.
    counts : (bins,) int64
        Bases with a value above 0 in each bin; a value on an edge counts in the upper bin, the largest in the last.
    bases, active : int
        Bases that have a value, and those where it is above 0.
    """

    loci: list[Locus]
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    bases: int
    active: int


def top_loci(path: Path, count: int, *, apart: int = APART, bins: int = BINS) -> TrackLoci:
    """The highest bases of a bigWig that lie apart, and the histogram of its values, in one walk.

    The first locus is the highest base; each further one is the highest base at least `apart` bases from all before it.
    Values of 0 or less are never loci.

    Parameters
    ----------
    path : Path
        bigWig.
    count : int
        Loci wanted, 1 or more; fewer are found where the values above 0 lie too close.
    apart : int
        Bases, 1 or more. Loci on different contigs are apart.
    bins : int
        Of the histogram.

    Raises
    ------
    SaeTracksError
        The file is no bigWig.
    """
    edges = np.linspace(0, max(read_summary(path).maximum, np.finfo(np.float32).tiny), bins + 1, dtype=np.float64)
    counts = np.zeros(bins, np.int64)
    candidates = _Candidates(3 * count)  # a locus bars the bases of at most three blocks of `apart` bases
    bases = active = 0
    with opened(path) as bigwig:
        lengths = bigwig.chroms()
        for number, (contig, start, values) in enumerate(_chunks(bigwig, lengths, apart)):
            present = values[~np.isnan(values)]
            above = present[present > 0]
            bases, active = bases + len(present), active + len(above)
            counts += np.histogram(np.minimum(above, edges[-1]), edges)[0]
            if len(above):
                candidates.add(number, contig, start, _block_maxima(values, apart))
        loci = _pick(bigwig, candidates.best(), lengths, count, apart)
    return TrackLoci(loci, edges, counts, bases, active)


def _chunks(bigwig, lengths: dict[str, int], apart: int) -> Iterator[tuple[str, int, NDArray[np.float32]]]:
    """Contig, start and values, NaN where there is none; starts are multiples of `apart`."""
    step = apart * max(CHUNK // apart, 1)
    for contig, length in lengths.items():
        for start in range(0, length, step):
            try:
                yield contig, start, bigwig.values(contig, start, min(start + step, length), numpy=True)
            except RuntimeError as error:
                raise SaeTracksError(f"the bigWig cannot be read at {contig}:{start + 1}: {error}") from error


def _block_maxima(values: NDArray[np.float32], apart: int) -> NDArray[np.float32]:
    """The largest value of each block of `apart` bases, 0 where none is above 0."""
    padded = np.zeros(-(-len(values) // apart) * apart, np.float32)
    padded[: len(values)] = np.nan_to_num(values, nan=0)
    return padded.reshape(-1, apart).max(axis=1).clip(0)


class _Candidates:
    """The blocks with the largest maxima so far: those in which all loci lie."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values = np.zeros(0, np.float32)
        self._where = np.zeros((0, 2), np.int64)  # number of the chunk, block in it
        self._chunks: dict[int, tuple[str, int]] = {}

    def add(self, number: int, contig: str, start: int, maxima: NDArray[np.float32]) -> None:
        """Blocks of one chunk, which lies behind all before it."""
        blocks = np.flatnonzero(maxima > (self._values[-1] if len(self._values) == self._most else 0))
        where = np.stack([np.full(len(blocks), number), blocks], axis=1)
        values = np.concatenate([self._values, maxima[blocks]])
        order = np.argsort(-values, kind="stable")[: self._most]
        self._values, self._where = values[order], np.concatenate([self._where, where])[order]
        self._chunks[number] = contig, start

    def best(self) -> list[tuple[float, int, str, int, int]]:
        """(value, chunk, contig, start of the chunk, block), the highest first."""
        return [
            (float(value), number, *self._chunks[number], block)
            for value, (number, block) in zip(self._values, self._where.tolist())
        ]


def _pick(bigwig, blocks: list, lengths: dict[str, int], count: int, apart: int) -> list[Locus]:
    """The highest base that is not barred, again and again; a block is read when it is its turn, so as it then is."""
    heap = [(-value, number, start + block * apart, contig) for value, number, contig, start, block in blocks]
    heapq.heapify(heap)
    chosen: dict[str, list[int]] = {}
    loci: list[Locus] = []
    while heap and len(loci) < count:
        value, number, start, contig = heapq.heappop(heap)
        begin = start - start % apart
        end = min(begin + apart, lengths[contig])
        values = np.nan_to_num(bigwig.values(contig, begin, end, numpy=True), nan=0)
        for position in chosen.get(contig, ()):
            values[max(position - apart + 1 - begin, 0) : max(position + apart - begin, 0)] = 0
        best = int(values.argmax())
        if values[best] <= 0:
            continue
        if (-values[best], begin + best) != (value, start):  # its place in the heap was that of a base now barred
            heapq.heappush(heap, (-float(values[best]), number, begin + best, contig))
            continue
        chosen.setdefault(contig, []).append(begin + best)
        loci.append(Locus(contig, begin + best, float(values[best])))
    return loci


def highest(path: Path, span: int = 500) -> GenomicRegion:
    """`span` bases around the first base that has a bigWig's largest value, cut at the ends of the contig."""
    with opened(path) as bigwig:
        lengths = bigwig.chroms()
        best = {contig: bigwig.stats(contig, type="max", exact=True)[0] for contig in lengths}
        contig = max(lengths, key=lambda name: -1.0 if best[name] is None else best[name])
        centre = _first_maximum(bigwig, contig, lengths[contig])
    start = max(min(centre - span // 2, lengths[contig] - span), 0)
    return GenomicRegion(contig, start, min(start + span, lengths[contig]))


def _first_maximum(bigwig, contig: str, length: int) -> int:
    """Position of the first base with the contig's largest value, found block by block."""
    edges = range(0, length, PEAK_SPAN)
    maxima = [bigwig.stats(contig, start, min(start + PEAK_SPAN, length), type="max", exact=True)[0] for start in edges]
    block = edges[int(np.argmax([-1.0 if value is None else value for value in maxima]))]
    values = bigwig.values(contig, block, min(block + PEAK_SPAN, length), numpy=True)
    return block + int(np.argmax(np.nan_to_num(values, nan=-1.0)))
