"""Top loci of a track: the places where it is highest, and how its values are spread."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sae_tracks.bbi import open_bbi, read_summary
from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import GenomicRegion

APART = 100  # bases between two loci, at least
BINS = 30
CHUNK = 1 << 20  # bases read at once, about
PEAK_SPAN = 100_000  # bases searched base by base for the highest
HELD = 1 << 20  # active bases in memory before those that cannot be chosen are dropped
BASE = np.dtype([("strand", np.int8), ("contig", np.int32), ("position", np.int64), ("value", np.float32)])


class HighestBases:
    """Finds the highest active bases that lie apart, in one pass over a track or a stream.

    The first one is the highest base. Each further one is the highest base at least `apart` bases from all before it,
    on any strand. Of equal values, the first that was added comes first. A base bars those of at most three tiles of
    `apart` bases per strand. So all that are chosen lie in the ``3 x count x strands`` tiles with the largest maxima,
    and the bases of the other tiles are dropped.
    """

    def __init__(self, count: int, apart: int, strands: int = 1) -> None:
        self._count, self._apart, self._tiles = count, apart, 3 * count * strands
        self._held, self._added, self._least = [np.empty(0, BASE)], 0, 0.0

    def add(self, position: NDArray[np.int64], value: NDArray[np.float32], contig: int, strand: int = 0) -> None:
        """Add ascending bases of one contig with their values, > 0."""
        if not len(position):
            return
        first = np.flatnonzero(np.diff(position // self._apart, prepend=-1))
        kept = np.maximum.reduceat(value, first) > self._least
        kept[[0, -1]] = True  # these tiles may be incomplete
        kept = np.repeat(kept, np.diff(first, append=len(position)))
        bases = np.empty(int(kept.sum()), BASE)
        bases["strand"], bases["contig"], bases["position"], bases["value"] = (
            strand,
            contig,
            position[kept],
            value[kept],
        )
        self._held.append(bases)
        self._added += len(bases)
        if self._added > HELD:
            self._drop()

    def best(self) -> NDArray:
        """(k,) `BASE`: the bases chosen, the highest first; fewer than wanted if all others are barred."""
        bases = self._drop()
        left, chosen = bases["value"].copy(), []
        while len(chosen) < self._count and left.any():
            chosen.append(top := int(left.argmax()))
            near = np.abs(bases["position"] - bases["position"][top]) < self._apart
            left[near & (bases["contig"] == bases["contig"][top])] = 0
        return bases[chosen]

    def _drop(self) -> NDArray:
        """Keep and return the bases of the tiles with the largest maxima, and of the last, which may be incomplete."""
        bases = np.concatenate(self._held)
        if len(bases):
            tile = bases["strand"], bases["contig"], bases["position"] // self._apart
            first = np.concatenate(([0], np.flatnonzero(sum(np.diff(key) != 0 for key in tile)) + 1))
            maxima = np.maximum.reduceat(bases["value"], first)
            order, kept = np.argsort(-maxima, kind="stable"), np.zeros(len(first), bool)
            kept[order[: self._tiles]] = kept[-1] = True
            self._least = float(maxima[order[self._tiles - 1]]) if len(order) >= self._tiles else 0.0
            bases = bases[np.repeat(kept, np.diff(np.append(first, len(bases))))]
        self._held, self._added = [bases], 0
        return bases


@dataclass(frozen=True, slots=True)
class Locus:
    """A base where a track is highest among its neighbours; `position` is 0-based."""

    contig: str
    position: int
    value: float


@dataclass(frozen=True, slots=True)
class TrackLoci:
    """The top loci of a bigWig, the highest first, and the histogram of its values.

    `edges` (bins + 1,) are equally spaced from 0 to the largest value. `counts` (bins,) are the bases with a value
    above 0 in each bin. A value on an edge counts in the upper bin, the largest in the last. `bases` bases have a
    value, which is above 0 on `active` of them.
    """

    loci: list[Locus]
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    bases: int
    active: int


def top_loci(path: Path, count: int, *, apart: int = APART, bins: int = BINS) -> TrackLoci:
    """Find the highest bases of a bigWig that lie apart (see `HighestBases`), and the histogram of its values.

    Contigs and positions are in the order of the bigWig. Loci on different contigs are always apart.

    Raises
    ------
    SaeTracksError
        The file is no bigWig.
    """
    edges = np.linspace(0, max(read_summary(path).maximum, np.finfo(np.float32).tiny), bins + 1, dtype=np.float64)
    counts, highest, bases = np.zeros(bins, np.int64), HighestBases(count, apart), 0
    with open_bbi(path) as bigwig:
        lengths = bigwig.chroms()
        for contig, start, values in _chunks(bigwig, lengths):
            active = np.flatnonzero(values > 0)  # NaN is not
            above = values[active]
            bases += len(values) - int(np.count_nonzero(np.isnan(values)))
            counts += np.histogram(np.minimum(above, edges[-1]), edges)[0]
            highest.add(start + active, above, contig)
    names = list(lengths)
    loci = [Locus(names[contig], position, value) for _, contig, position, value in highest.best().tolist()]
    return TrackLoci(loci, edges, counts, bases, int(counts.sum()))


def _chunks(bigwig, lengths: dict[str, int]) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield number of the contig, start and values, which are NaN on bases without one."""
    for number, (contig, length) in enumerate(lengths.items()):
        for start in range(0, length, CHUNK):
            try:
                yield number, start, bigwig.values(contig, start, min(start + CHUNK, length), numpy=True)
            except RuntimeError as error:
                raise SaeTracksError(f"the bigWig cannot be read at {contig}:{start + 1}: {error}") from error


def highest(path: Path, span: int = 500) -> GenomicRegion:
    """`span` bases around the first base that has a bigWig's largest value, cut at the ends of the contig."""
    with open_bbi(path) as bigwig:
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
