"""Where features are strongest, and places where they are silent: one pass over a stream, in bounded memory."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sae_tracks.dna import OTHER, codes
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock
from sae_tracks.genome import Genome
from sae_tracks.genome_line import GenomeLine
from sae_tracks.jit import EXACT
from sae_tracks.metrics import Halves
from sae_tracks.regions import GenomicRegion
from sae_tracks.source import ReadBases

FLANK = 30  # bases of a window on either side of its middle
SILENT = 5000  # places per half at which is looked whether features are silent
CHUNK = 1 << 20  # bases of the genome read at once
NEAR, HERE = 1, 2  # a feature is active on a base of the tile, or on its middle
PLACE = np.dtype([("line", np.int64), ("strand", np.int8), ("value", np.float32)])


class Places:
    """A sink that finds the strongest places of features in each half, and tiles in which they are silent.

    The genome is cut into tiles of `apart` bases. The highest base of a tile, per read strand and half, is a candidate.
    The first place is the highest candidate. Each further one is the highest at least `apart` bases from all before it,
    on any strand. Of equal ones the first in the stream comes first. A place bars the candidates of at most three tiles
    per strand, so the ``3 x count x strands`` highest ones are kept: 36 kB per feature, half and thousand places.

    A stream may also be read in parts, by a sink each: `merge` adds the `arrays` of the others, in any order.

    Parameters
    ----------
    bases : ReadBases
        Regions, read strands and the genome.
    halves : Halves
        The bases that choose and those that report.
    features : sequence of int
        Ids of the F features, ascending.
    count : int
        Most places per feature and half.
    apart : int
        Fewest bases between two places; a window of `FLANK` bases on either side fits into a tile.
    seed : int
        Of the draw of the tiles that may serve as silent ones.
    """

    def __init__(
        self, bases: ReadBases, halves: Halves, features: Sequence[int], count: int, apart: int, seed: int = 0
    ) -> None:
        if count < 1 or apart < 2 * FLANK + 1:
            raise SaeTracksError(
                f"--places is at least 1 and --apart at least {2 * FLANK + 1}, not {count} and {apart}"
            )
        self.bases, self.halves, self.features = bases, halves, list(features)
        self.line = GenomeLine(bases.genome.lengths, apart)
        self.count = count
        size, kept, n_halves = len(self.features), 3 * count * len(bases.read_strands), len(halves.names)
        self._column = np.empty(0, np.int32)
        self._heap = np.empty((n_halves, size, kept), np.float32), np.empty((n_halves, size, kept), np.int64)
        self._size = np.zeros((n_halves, size), np.int64)
        # the candidates of the tiles that are being read: tile and place; value
        self._open = np.full((2, n_halves, size), -1, np.int64), np.zeros((n_halves, size), np.float32)
        tiles = [_draw_tiles(bases, halves, half, apart, seed) for half in range(n_halves)]
        self._tile = np.unique(np.concatenate([self._starts_of(drawn) for drawn in tiles]))
        self._seen = np.zeros(len(self._tile), np.int64)
        self._active = np.zeros((len(self._tile), size), np.uint8)

    def _starts_of(self, drawn: list[tuple[str, NDArray[np.int64]]]) -> NDArray[np.int64]:
        return np.concatenate([np.empty(0, np.int64), *(self.line.starts[contig] + start for contig, start in drawn)])

    def add(self, block: FeatureBlock) -> None:
        """Add a block; blocks ascend per read strand."""
        if len(self._column) != block.d_sae:
            self._column = np.full(block.d_sae, -1, np.int32)
            self._column[self.features] = np.arange(len(self.features))
        contig, start, n = block.region.contig, block.region.start, len(block.region)
        half = self.halves.of(contig, np.arange(start, start + n)).astype(np.int8)
        strand = self.bases.read_strands.index(block.read_strand)
        first = self.line.place(block.region)
        sparse = block.indptr, block.feature, block.value, self._column
        line = first + strand * len(self.line)
        _collect(*sparse, half, line, self.line.apart, *self._open, *self._heap, self._size)
        self._add_tiles(block, first)

    def _add_tiles(self, block: FeatureBlock, first: int) -> None:
        """Note which features are active in the drawn tiles of a block."""
        apart, n = self.line.apart, len(block.region)
        low, high = np.searchsorted(self._tile, (first - apart + 1, first + n))
        for tile in range(low, high):
            begin = int(self._tile[tile]) - first
            inside = slice(max(begin, 0), min(begin + apart, n))
            self._seen[tile] += int(block.readable[inside].sum())
            _mark(
                block.indptr,
                block.feature,
                self._column,
                inside.start,
                inside.stop,
                begin + apart // 2,
                self._active[tile],
            )

    def best(self, column: int, half: int) -> NDArray:
        """(k,) `PLACE`: the strongest places of a feature in a half, the highest first.

        A place whose window reaches into the other half, or out of both, is left out.
        """
        self._close(half, column)
        kept = self._size[half, column]
        value, line = self._heap[0][half, column, :kept], self._heap[1][half, column, :kept]
        strand, place = np.divmod(line, len(self.line))
        inside = self._inside(place, half)
        order = np.flatnonzero(inside)[np.lexsort((line[inside], -value[inside]))]
        chosen = order[_apart(place[order], np.argsort(place[order], kind="stable"), self.line.apart, self.count)]
        found = np.empty(len(chosen), PLACE)
        found["line"], found["strand"], found["value"] = place[chosen], strand[chosen], value[chosen]
        return found

    def _inside(self, place: NDArray[np.int64], half: int) -> NDArray[np.bool_]:
        """(n,) bool: whether the windows lie in a half, as far as they lie on their contig."""
        number, found = self.line.contigs(place), np.zeros(len(place), bool)
        for contig, name in enumerate(self.line.lengths):
            mine = np.flatnonzero(number == contig)
            if len(mine):
                position, last = place[mine] - self.line.starts[name], self.line.lengths[name] - 1
                ends = np.clip(position - FLANK, 0, last), np.clip(position + FLANK, 0, last)
                found[mine] = np.all([self.halves.of(name, end) == half for end in ends], axis=0)
        return found

    def _close(self, half: int, column: int) -> None:
        """Keep the candidate of a feature's last tile in a half, which no later base can complete."""
        tile, place = self._open[0][:, half, column]
        if tile >= 0:
            value = self._open[1][half, column]
            _push(self._heap[0][half, column], self._heap[1][half, column], self._size[half], column, value, place)
            self._open[0][0, half, column] = -1

    def arrays(self) -> dict[str, NDArray]:
        """All that was found, for `merge`: candidates by half and feature, and what is active in the drawn tiles."""
        parts = list(np.ndindex(self._size.shape))
        for half, column in parts:
            self._close(half, column)
        heap = [[array[half, column, : self._size[half, column]] for half, column in parts] for array in self._heap]
        value, line = (np.concatenate(some) for some in heap)
        return {"size": self._size, "value": value, "line": line, "seen": self._seen, "active": self._active}

    def merge(self, arrays: Mapping[str, NDArray]) -> None:
        """Add what another sink found in other bases.

        Of a tile that both saw in part, the higher candidate stays, of equal ones the first in the stream.
        """
        edges = np.concatenate(([0], np.cumsum(arrays["size"])))
        for i, (half, column) in enumerate(np.ndindex(self._size.shape)):
            self._close(half, column)
            theirs, mine = slice(edges[i], edges[i + 1]), self._size[half, column]
            value = np.concatenate((self._heap[0][half, column, :mine], arrays["value"][theirs]))
            line = np.concatenate((self._heap[1][half, column, :mine], arrays["line"][theirs]))
            order = np.lexsort((line, -value))
            first = np.unique(line[order] // self.line.apart, return_index=True)[1]
            best = order[np.sort(first)[: self._heap[0].shape[2]]][::-1]  # the worst first: a heap
            self._size[half, column] = len(best)
            self._heap[0][half, column, : len(best)] = value[best]
            self._heap[1][half, column, : len(best)] = line[best]
        self._seen += arrays["seen"]
        self._active |= arrays["active"]

    def tiles(self, half: int) -> NDArray[np.int64]:
        """(m,) int64: the drawn tiles of a half that are readable throughout, as numbers for `silent` and `middles`."""
        whole = self._seen == self.line.apart * len(self.bases.read_strands)
        return np.flatnonzero(whole & self._inside(self.middles(np.arange(len(self._tile))), half))

    def middles(self, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """(m,) int64: the middle bases of drawn tiles, on the line."""
        return self._tile[tiles] + self.line.apart // 2

    def silent(self, column: int, tiles: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(m,) bool each: whether a feature is silent throughout a tile, and whether it is on its middle base."""
        active = self._active[tiles, column]
        return active == 0, (active & HERE) == 0


def _draw_tiles(
    bases: ReadBases, halves: Halves, half: int, apart: int, seed: int
) -> list[tuple[str, NDArray[np.int64]]]:
    """At most `SILENT` of all tiles of a half that lie in the regions, as starts by contig."""
    parts = [region for whole in bases.regions for region, one in halves.tiles(whole) if one == half]
    first = np.array([-(-part.start // apart) for part in parts], np.int64)
    number = np.maximum(np.array([part.end // apart for part in parts], np.int64) - first, 0)
    rng, total = np.random.default_rng([seed, half]), int(number.sum())
    drawn = np.arange(total)
    if total > SILENT:
        drawn = np.sort(rng.choice(total, SILENT, replace=False, shuffle=False))
    edges = np.concatenate(([0], np.cumsum(number)))
    each = np.searchsorted(edges, drawn, side="right") - 1
    starts = (first[each] + drawn - edges[each]) * apart if len(drawn) else drawn
    return [(parts[i].contig, starts[each == i]) for i in np.unique(each).tolist()]


def windows_at(
    genome: Genome, line: GenomeLine, place: NDArray[np.int64], backwards: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The sequence around places, along the direction of reading.

    Parameters
    ----------
    place : (n,) int64
        Middles of the windows, on the line.
    backwards : (n,) bool
        Whether the reverse complement was read.

    Returns
    -------
    (n, 2 FLANK + 1) uint8
        Codes of `sae_tracks.dna.codes`, 4 beyond the ends of a contig. The genome is read once, in the order of the
        places, and only where there are some.
    """
    found = np.full((len(place), 2 * FLANK + 1), OTHER, np.uint8)
    order = np.argsort(place, kind="stable")
    for contig, first, some in _by_chunk(line, place, order):
        length = line.lengths[contig]
        region = GenomicRegion(contig, max(first - FLANK, 0), min(first + CHUNK + FLANK, length))
        padded = np.full(CHUNK + 2 * FLANK, OTHER, np.uint8)
        skipped = region.start - (first - FLANK)
        padded[skipped : skipped + len(region)] = codes(genome.sequence(region))
        position = place[some] - line.starts[contig] - first
        found[some] = padded[position[:, None] + np.arange(2 * FLANK + 1)]
    turned = found[backwards, ::-1]
    found[backwards] = np.where(turned == OTHER, OTHER, 3 - turned)
    return found


def _by_chunk(
    line: GenomeLine, place: NDArray[np.int64], order: NDArray[np.int64]
) -> Iterator[tuple[str, int, NDArray[np.int64]]]:
    """Yield contig, first base of a chunk, and the places in it, ascending."""
    for contig, start in line.starts.items():
        edges = np.arange(start, start + line.lengths[contig] + CHUNK, CHUNK)
        cuts = np.searchsorted(place[order], edges)
        for number in np.flatnonzero(np.diff(cuts)).tolist():
            yield contig, number * CHUNK, order[cuts[number] : cuts[number + 1]]


@njit(**EXACT)
def _apart(place, by_place, apart, count):
    """Which of n places, the highest first, are at least `apart` bases from all chosen before; at most `count`."""
    n = len(place)
    rank = np.empty(n, np.int64)
    for i in range(n):
        rank[by_place[i]] = i
    barred, chosen = np.zeros(n, np.bool_), np.empty(min(n, count), np.int64)
    found = 0
    for i in range(n):
        if found == count:
            break
        if barred[i]:
            continue
        chosen[found] = i
        found += 1
        for step in (-1, 1):
            near = rank[i] + step
            while 0 <= near < n and abs(place[by_place[near]] - place[i]) < apart:
                barred[by_place[near]] = True
                near += step
    return chosen[:found]


@njit(**EXACT)
def _collect(indptr, feature, value, column, half, line, apart, opened, highest, heap_value, heap_line, size):
    """Keep the highest base of every tile, feature and half; see `Places`. `opened` is tile and place."""
    tile, place = opened[0], opened[1]
    for i in range(len(half)):
        h = half[i]
        if h < 0:
            continue
        at = (line + i) // apart
        for k in range(indptr[i], indptr[i + 1]):
            c = column[feature[k]]
            if c < 0:
                continue
            if tile[h, c] != at:
                if tile[h, c] >= 0:
                    _push(heap_value[h, c], heap_line[h, c], size[h], c, highest[h, c], place[h, c])
                tile[h, c], place[h, c], highest[h, c] = at, line + i, value[k]
            elif value[k] > highest[h, c]:
                place[h, c], highest[h, c] = line + i, value[k]


@njit(**EXACT)
def _push(values, lines, size, column, value, line):
    """Add a candidate to a heap whose first element is the worst: the lowest, of equal ones the last in the stream."""
    n = size[column]
    if n < len(values):
        at = n
        size[column] = n + 1
        while at > 0:
            above = (at - 1) // 2
            if not _worse(value, line, values[above], lines[above]):
                break
            values[at], lines[at] = values[above], lines[above]
            at = above
    elif not _worse(values[0], lines[0], value, line):
        return
    else:
        at = 0
        while True:
            below = 2 * at + 1
            if below >= n:
                break
            if below + 1 < n and _worse(values[below + 1], lines[below + 1], values[below], lines[below]):
                below += 1
            if not _worse(values[below], lines[below], value, line):
                break
            values[at], lines[at] = values[below], lines[below]
            at = below
    values[at], lines[at] = value, line


@njit(**EXACT)
def _worse(value, line, other, other_line):
    return value < other or (value == other and line > other_line)


@njit(**EXACT)
def _mark(indptr, feature, column, start, stop, middle, active):
    """Mark the features that are active on bases ``start:stop`` of a block, and on its base `middle`."""
    for i in range(start, stop):
        bits = NEAR | HERE if i == middle else NEAR
        for k in range(indptr[i], indptr[i + 1]):
            c = column[feature[k]]
            if c >= 0:
                active[c] |= bits
