"""The sink that counts features against annotations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sae_tracks.dna import NUCLEOTIDES, codes
from sae_tracks.metrics.counts import Counts, OpenInstance, OpenInstances, Place
from sae_tracks.metrics.evaluation import Evaluation
from sae_tracks.metrics.kernels import count_instances, count_letter, encode
from sae_tracks.names import feature_name
from sae_tracks.regions import GenomicRegion
from sae_tracks.threads import ForEachSlice, in_threads

if TYPE_CHECKING:
    from sae_tracks.features import FeatureBlock
    from sae_tracks.sae import SAE


@dataclass(frozen=True, slots=True)
class Buffer:
    """Blocks of one read strand, one behind the other, ascending: n bases.

    Attributes
    ----------
    regions : list of GenomicRegion
        Of the blocks.
    edges : (blocks + 1,) int64
        Block i holds bases ``edges[i]:edges[i + 1]`` of the buffer.
    half : (n,) int8
        -1 on bases that are not readable or in no half.
    letter : (n,) int8
        0 to 3 on A, C, G, T, else 4.
    """

    regions: list[GenomicRegion]
    edges: NDArray[np.int64]
    half: NDArray[np.int8]
    letter: NDArray[np.int8]

    @classmethod
    def of(cls, blocks: "list[FeatureBlock]", evaluation: Evaluation) -> "Buffer":
        """From blocks, which say what is readable."""
        regions = [block.region for block in blocks]
        halves = [evaluation.halves.of(r.contig, np.arange(r.start, r.end)) for r in regions]
        readable = np.concatenate([block.readable for block in blocks])
        letter = np.concatenate([codes(evaluation.genome.sequence(region)) for region in regions])
        half = np.where(readable, np.concatenate(halves), -1).astype(np.int8)
        return cls(regions, np.cumsum([0, *map(len, regions)]), half, letter.astype(np.int8))

    def bases_of(self, block: int) -> slice:
        return slice(self.edges[block], self.edges[block + 1])

    def letters_by_half(self, halves: int) -> NDArray[np.int64]:
        """(H, 4) int64: counted bases."""
        counted = self.half >= 0
        place = self.half[counted].astype(np.int64) * len(NUCLEOTIDES) + self.letter[counted]
        return np.bincount(place, minlength=halves * len(NUCLEOTIDES)).reshape(halves, -1)

    def spans(self) -> Iterator[tuple[GenomicRegion, slice]]:
        """From the first to the last base on each contig, and the blocks there, which may have gaps between them."""
        start = 0
        for i, region in enumerate(self.regions):
            if i + 1 == len(self.regions) or self.regions[i + 1].contig != region.contig:
                yield GenomicRegion(region.contig, self.regions[start].start, region.end), slice(start, i + 1)
                start = i + 1

    def at(self, blocks: slice, position: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of blocks on one contig, the first base in the buffer that does not lie before a position."""
        starts = np.array([region.start for region in self.regions[blocks]])
        ends = np.array([region.end for region in self.regions[blocks]])
        block = np.maximum(np.searchsorted(starts, position, side="right") - 1, 0)
        return self.edges[blocks][block] + np.clip(position, starts[block], ends[block]) - starts[block]

    def has(self, blocks: slice, position: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of blocks on one contig, whether one of them holds a position."""
        starts = np.array([region.start for region in self.regions[blocks]])
        ends = np.array([region.end for region in self.regions[blocks]])
        block = np.searchsorted(starts, position, side="right") - 1
        return (block >= 0) & (position < ends[block])

    def passed(self, strand: int, instances: OpenInstances) -> list[Place]:
        """The open instances of a read strand that count and of which no base will come after this buffer."""
        last = self.regions[-1]
        mine = [place for place, instance in instances.items() if place.strand == strand and instance.counted]
        return [place for place in mine if place.contig != last.contig or place.end <= last.end]


COLUMNS = ("start", "end", "concept", "copies")
PLACED = ["contig", "start", "end", "concept", "copies", "half"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Instances, by concept and start.

    Attributes
    ----------
    found : DataFrame
        ``contig``, ``start``, ``end``, ``concept``, ``copies``; ``first`` and ``last``, first base and last + 1 in the
        buffer; ``half`` of its first base, -1 where that is not counted or not in the buffer; ``reaching``: it does
        not begin and end within. ``contig`` is a number.
    contigs : list of str
        What the numbers mean.
    home, row : (m,) int64
        Half in which it may be hit, or -1; its row among the open ones, or -1.
    opened : OpenInstances
        Those that are reaching and may be hit, in the order of their rows.
    """

    found: pd.DataFrame
    contigs: list[str]
    home: NDArray[np.int64]
    row: NDArray[np.int64]
    opened: OpenInstances

    @classmethod
    def of(cls, buffer: Buffer, evaluation: Evaluation) -> "Rows":
        """Look up the instances of a buffer; none is followed."""
        parts, contigs = [], []
        for region, blocks in buffer.spans():
            there = evaluation.labels.overlapping(region)
            first, last = buffer.at(blocks, there.start), buffer.at(blocks, there.end)
            inside = buffer.has(blocks, there.start) & (first < last)
            half = np.where(inside, buffer.half[np.minimum(first, len(buffer.half) - 1)], -1).astype(np.int64)
            reaching = (there.start < region.start) | (there.end > region.end)
            own = {"first": first, "last": last, "half": half, "reaching": reaching, "contig": len(contigs)}
            contigs.append(region.contig)
            parts.append(pd.DataFrame({name: getattr(there, name) for name in COLUMNS} | own)[first < last])
        found = pd.concat(parts).sort_values(["concept", "first"], kind="stable", ignore_index=True)
        nowhere = np.full(len(found), -1)
        return cls(found, contigs, nowhere, nowhere, OpenInstances())

    def followed(
        self, strand: int, known: OpenInstances, features: int, begun: tuple[str, int], evaluation: Evaluation
    ) -> "Rows":
        """The same with what may be hit.

        Parameters
        ----------
        strand : int
            Read strand, by number.
        known : OpenInstances
            What is known of instances that began before.
        features : int
            K.
        begun : (str, int)
            The first base that was seen in this read strand. What begins before it on that contig may have begun where
            another counter sees it; else what is neither known nor begins here is not counted.
        """
        home, row, opened = self.found["half"].to_numpy(copy=True), self.row.copy(), OpenInstances()
        reaching = cast(pd.DataFrame, self.found[self.found["reaching"]][PLACED])
        for i, number, start, end, concept, copies, half in reaching.itertuples(name=None):
            contig = self.contigs[number]
            place = Place(strand, contig, start, end, concept)
            state = known.get(place)
            if state is None and half < 0 and contig == begun[0] and start < begun[1]:
                elsewhere = int(evaluation.halves.of(contig, np.array(start)))
                state = OpenInstance(elsewhere, copies, False, np.zeros(features, np.uint8))
            elif state is None:
                state = OpenInstance(half, copies, True, np.zeros(features, np.uint8))
            home[i] = state.half
            if state.half >= 0:
                row[i], opened[place] = len(opened), state
        return Rows(self.found, self.contigs, home, row, opened)

    def table(self) -> NDArray[np.int64]:
        """(m, 5) int64: see `kernels.count_instances`."""
        columns = self.found["first"], self.found["last"], self.home, self.found["copies"], self.row
        return np.stack([np.asarray(column, np.int64) for column in columns], axis=1)

    def groups(self) -> NDArray[np.int64]:
        """(g, 3) int64: every concept, its first row and last + 1."""
        concept, first = np.unique(self.found["concept"].to_numpy(np.int64), return_index=True)
        return np.stack([concept, first, np.append(first, len(self.found))[1:]], axis=1)


BASES = 1 << 18  # counted at once: the more, the more sites of a concept meet its counts in the cache
NONZEROS = 1 << 26  # counted at once, where features are dense
CONCEPTS = 8  # a piece of work for one thread
Coded = tuple[NDArray, NDArray, NDArray]  # first, last and codes; see `kernels.encode`
THRESHOLDS = (0.0, 0.15, 0.5, 0.6, 0.8)  # InterPLM's, of each feature's maximum


def cutoffs_of(sae: "SAE", thresholds: Sequence[float], scale: str) -> NDArray[np.float32]:
    """(T, d_sae) float32: what the values of features exceed at each threshold; see `SAE.cutoffs`."""
    return np.array([sae.cutoffs(threshold, scale) for threshold in thresholds])


class Counter:
    """Counts, over readable bases, how often each feature is active on each concept, and on how many instances.

    Blocks wait until there are 256 kb of them; then every instance is walked along, concept by concept, and each
    activation is counted in the bin of the highest threshold that it exceeds. Blocks of a read strand must come as the
    stream gives them, ascending. Read strands are counted apart. The number of threads changes no count.

    An instance is counted where its first base is readable and in a half, in that half, and it is hit at a threshold
    where the feature is active on at least one of its readable bases in the same half; overlapping instances count each
    for themselves. One that begins elsewhere (outside of the regions, on N) is no instance, but its bases count.

    Parameters
    ----------
    evaluation : Evaluation
        Concepts and halves; which bases are counted, the blocks say.
    thresholds : (T,) float
        Ascending; how the rows of `cutoffs` are called in the tables; at most 255.
    cutoffs : (T, d_sae) float32
        From `cutoffs_of`, ascending along T: a feature is active where its value is strictly greater.
    features : sequence of int, optional
        Feature ids to count; default all.
    names : sequence of str, optional
        What all d_sae features are called, where they are not an SAE's.
    read_strands : sequence of "+" and "-"
        Those that the blocks will have.
    instances : bool
        False: leave `Counts.hits` out, half of the memory.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        thresholds: ArrayLike,
        cutoffs: ArrayLike,
        *,
        features: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        read_strands: Sequence[str] = ("+",),
        instances: bool = True,
    ) -> None:
        self._cutoffs = np.array(np.asarray(cutoffs, np.float32).T, order="C")
        d_sae, levels = self._cutoffs.shape
        ids = np.arange(d_sae) if features is None else np.unique(np.asarray(features, np.int64))
        self._cutoffs[~np.isin(np.arange(d_sae), ids)] = np.inf
        self._column = np.zeros(d_sae, np.int32)
        self._column[ids] = np.arange(len(ids))
        self._shift = int(levels - 1).bit_length()
        self._evaluation = evaluation
        called = [feature_name(i) if names is None else names[i] for i in map(int, ids)]
        axes = (read_strands, evaluation.halves.names, evaluation.labels.concepts, thresholds, called)
        self._counts = Counts.zeros(*axes, hits=instances)
        self._begun: dict[int, tuple[str, int]] = {}  # the first base seen in each read strand
        self._pending: list[FeatureBlock] = []
        self._waiting = np.zeros(2, np.int64)  # bases and non-zeros

    def add(self, block: "FeatureBlock") -> None:
        """Take in a block; bases must not come twice in one read strand."""
        if self._pending and self._pending[0].read_strand != block.read_strand:
            self._flush()
        self._pending.append(block)
        self._waiting += np.array([len(block.region), len(block.feature)])
        if (self._waiting >= (BASES, NONZEROS)).any():
            self._flush()

    def counts(self) -> Counts:
        """The counts of all blocks so far; instances that reach past them are open."""
        self._flush()
        return self._counts

    def merge(self, other: "Counter") -> None:
        """Add what another counter counted on other bases."""
        self.counts().merge(other.counts())

    def save(self, path: Path) -> None:
        """Write the counts; see `Counts.save`."""
        self.counts().save(path)

    def _flush(self) -> None:
        """Count the blocks that wait, all of one read strand."""
        if not self._pending:
            return
        blocks, self._pending, self._waiting = self._pending, [], np.zeros(2, np.int64)
        strand = self._counts.read_strands.index(blocks[0].read_strand)
        self._begun.setdefault(strand, (blocks[0].region.contig, blocks[0].region.start))
        buffer = Buffer.of(blocks, self._evaluation)
        with in_threads() as each:
            coded = self._encode(blocks, buffer, each)
            self._count_letters(strand, buffer, coded, each)
            self._count_instances(strand, buffer, coded, each)

    def _encode(self, blocks: "list[FeatureBlock]", buffer: Buffer, each: ForEachSlice) -> Coded:
        """Of every base the first of its codes and the last + 1, and the codes; see `kernels.encode`."""
        first, last = np.empty((2, len(buffer.half)), np.int64)
        at = np.cumsum([0, *(len(block.feature) for block in blocks)])
        codes = np.empty(at[-1], np.uint32)

        def stage(part: slice) -> None:
            for i in range(part.start, part.stop):
                block, here = blocks[i], buffer.bases_of(i)
                entries = block.indptr, block.feature, block.value
                cuts = self._cutoffs, self._column, self._shift
                encode(*entries, *cuts, codes, at[i], first[here], last[here])

        each(stage, len(blocks), 1)
        return first, last, codes

    def _count_letters(self, strand: int, buffer: Buffer, coded: Coded, each: ForEachSlice) -> None:
        """Add A, C, G and T, and from them what is counted on all readable bases."""
        counts, letters = self._counts, len(NUCLEOTIDES)
        tp, labelled = counts.tp[strand], counts.labelled[strand]

        def stage(part: slice) -> None:
            for i in range(part.start, part.stop):
                half, letter = divmod(i, letters)
                count_letter(letter, half, buffer.letter, buffer.half, *coded, self._shift, tp[half, letter])

        each(stage, len(tp) * letters, 1)
        labelled[:, :letters] += buffer.letters_by_half(len(tp))
        counts.bases[strand] = labelled[:, :letters].sum(axis=1)
        counts.instances[strand, :, :letters] = labelled[:, :letters]
        counts.active[strand] = tp[:, :letters].sum(axis=1)
        if counts.hits is not None:
            counts.hits[strand, :, :letters] = tp[:, :letters]

    def _count_instances(self, strand: int, buffer: Buffer, coded: Coded, each: ForEachSlice) -> None:
        """Add the annotated concepts."""
        counts, rows = self._counts, Rows.of(buffer, self._evaluation)
        begin = rows.found[rows.found["half"] >= 0]
        np.add.at(counts.instances[strand], (begin["half"], begin["concept"]), begin["copies"])
        tp, labelled = counts.tp[strand], counts.labelled[strand]
        hits = np.zeros((0, 0, *tp.shape[2:]), np.uint32)
        if counts.hits is not None:
            hits = counts.hits[strand]
            rows = rows.followed(strand, counts.open, len(counts.features), self._begun[strand], self._evaluation)
        levels = rows.opened.levels(len(counts.features))
        table, groups = rows.table(), rows.groups()

        def stage(part: slice) -> None:
            count_instances(groups[part], table, buffer.half, *coded, self._shift, labelled, tp, hits, levels)

        each(stage, len(groups), CONCEPTS)
        if counts.hits is not None:
            rows.opened.set_levels(levels)
            counts.open.update(rows.opened)
            counts.open.close(counts.hits, buffer.passed(strand, counts.open))
