"""The sink that counts features against annotations."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sae_tracks.dna import NUCLEOTIDES, codes
from sae_tracks.metrics.counts import Counts, OpenInstance, OpenInstances, Place
from sae_tracks.metrics.evaluation import Evaluation, Labels
from sae_tracks.metrics.kernels import count_instances, count_letter, encode
from sae_tracks.names import feature_name
from sae_tracks.regions import GenomicRegion
from sae_tracks.threads import ForEachSlice, in_threads

if TYPE_CHECKING:
    from sae_tracks.features import FeatureBlock
    from sae_tracks.sae import SAE


@dataclass(frozen=True, slots=True)
class Buffer:
    """Blocks of one read strand, one behind the other, ascending: n bases."""

    regions: list[GenomicRegion]  # of the blocks
    edges: NDArray[np.int64]  # block i holds bases edges[i]:edges[i + 1] of the buffer
    half: NDArray[np.int8]  # (n,): -1 on bases that are not readable or in no half
    letter: NDArray[np.int8]  # (n,): 0 to 3 on A, C, G, T, else 4

    @classmethod
    def of(cls, blocks: "list[FeatureBlock]", evaluation: Evaluation) -> "Buffer":
        """Join blocks; they say which bases are readable."""
        regions = [block.region for block in blocks]
        halves = [evaluation.halves.of(r.contig, np.arange(r.start, r.end)) for r in regions]
        readable = np.concatenate([block.readable for block in blocks])
        letter = np.concatenate([codes(evaluation.genome.sequence(region)) for region in regions])
        half = np.where(readable, np.concatenate(halves), -1).astype(np.int8)
        return cls(regions, np.cumsum([0, *map(len, regions)]), half, letter.astype(np.int8))

    def instances(self, labels: Labels) -> pd.DataFrame:
        """The instances that overlap the buffer, by concept and start.

        Returns
        -------
        DataFrame
            The columns of `Labels.instances`; ``first`` and ``last``, first base and last + 1 in the buffer; ``half``
            of the first base, -1 if that is not counted or not in the buffer; ``reaching``: whether the instance begins
            or ends outside of the buffer.
        """
        tables = []
        for contig, same in groupby(range(len(self.regions)), lambda i: self.regions[i].contig):
            blocks = list(same)
            span = GenomicRegion(contig, self.regions[blocks[0]].start, self.regions[blocks[-1]].end)
            starts, ends = np.array([(self.regions[i].start, self.regions[i].end) for i in blocks]).T
            there = labels.overlapping(span)
            place = np.stack([there["Start"], there["End"]])
            block = np.maximum(np.searchsorted(starts, place, side="right") - 1, 0)
            # the first base in the buffer at or behind each place, because blocks may have gaps between them
            first, last = self.edges[blocks[0] + block] + np.clip(place, starts[block], ends[block]) - starts[block]
            (start, end), near = place, block[0]
            begins = (starts[near] <= start) & (start < ends[near]) & (first < last)
            half = np.where(begins, self.half[np.minimum(first, len(self.half) - 1)], -1).astype(np.int64)
            reaching = (start < span.start) | (end > span.end)
            tables.append(there.assign(first=first, last=last, half=half, reaching=reaching)[first < last])
        return pd.concat(tables).sort_values(["concept", "first"], kind="stable", ignore_index=True)


BASES = 1 << 18  # counted at once: the more, the more sites of a concept meet its counts in the cache
NONZEROS = 1 << 26  # counted at once, if features are dense
CONCEPTS = 8  # counted by one thread at a time
Coded = tuple[NDArray, NDArray, NDArray]  # first, last and codes; see `kernels.encode`
THRESHOLDS = (0.0, 0.15, 0.5, 0.6, 0.8)  # InterPLM's, of each feature's maximum


def cutoffs_of(sae: "SAE", thresholds: Sequence[float], scale: str) -> NDArray[np.float32]:
    """(T, d_sae) float32: what the values of features exceed at each threshold; see `SAE.cutoffs`."""
    return np.array([sae.cutoffs(threshold, scale) for threshold in thresholds])


class Counter:
    """Counts, over readable bases, how often each feature is active on each concept, and on how many instances.

    Blocks wait until there are 256 kb of them. Then every instance is walked along, concept by concept, and each
    activation is counted in the bin of the highest threshold that it exceeds. Blocks of a read strand must come as the
    stream gives them, ascending. Read strands are counted apart. The number of threads changes no count.

    An instance is counted in the half of its first base, if this base is readable and in a half. It is hit at a
    threshold if the feature is active on at least one of its readable bases in the same half. Overlapping instances
    count separately. One that begins elsewhere (outside of the regions, on N) is no instance, but its bases count.

    Parameters
    ----------
    evaluation : Evaluation
        Concepts and halves; the blocks say which bases are readable.
    thresholds : (T,) float
        Names of the rows of `cutoffs` in the tables, ascending; at most 255.
    cutoffs : (T, d_sae) float32
        From `cutoffs_of`, ascending along T: a feature is active if its value is strictly greater.
    features : sequence of int, optional
        Feature ids to count; default all.
    names : sequence of str, optional
        Names of all d_sae features, if they are not an SAE's.
    read_strands : sequence of "+" and "-"
        Those of the blocks.
    instances : bool
        False: leave out `Counts.hits`, half of the memory.
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
        """Add a block; no base may come twice in one read strand."""
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
        """Encode the non-zeros; see `kernels.encode`."""
        first, last = np.empty((2, len(buffer.half)), np.int64)
        at = np.cumsum([0, *(len(block.feature) for block in blocks)])
        codes = np.empty(at[-1], np.uint32)

        def stage(some: slice) -> None:
            for i in range(some.start, some.stop):
                block, here = blocks[i], slice(buffer.edges[i], buffer.edges[i + 1])
                entries = block.indptr, block.feature, block.value
                cuts = self._cutoffs, self._column, self._shift
                encode(*entries, *cuts, codes, at[i], first[here], last[here])

        each(stage, len(blocks), 1)
        return first, last, codes

    def _count_letters(self, strand: int, buffer: Buffer, coded: Coded, each: ForEachSlice) -> None:
        """Add A, C, G and T, and from them what is counted on all readable bases."""
        counts, letters = self._counts, len(NUCLEOTIDES)
        tp, labelled = counts.tp[strand], counts.labelled[strand]

        def stage(some: slice) -> None:
            for i in range(some.start, some.stop):
                half, letter = divmod(i, letters)
                count_letter(letter, half, buffer.letter, buffer.half, *coded, self._shift, tp[half, letter])

        each(stage, len(tp) * letters, 1)
        counted = buffer.half >= 0
        place = buffer.half[counted].astype(np.int64) * letters + buffer.letter[counted]
        labelled[:, :letters] += np.bincount(place, minlength=len(tp) * letters).reshape(-1, letters)
        counts.bases[strand] = labelled[:, :letters].sum(axis=1)
        counts.instances[strand, :, :letters] = labelled[:, :letters]
        counts.active[strand] = tp[:, :letters].sum(axis=1)
        if counts.hits is not None:
            counts.hits[strand, :, :letters] = tp[:, :letters]

    def _count_instances(self, strand: int, buffer: Buffer, coded: Coded, each: ForEachSlice) -> None:
        """Add the annotated concepts."""
        counts, found = self._counts, buffer.instances(self._evaluation.labels)
        begin = found[found["half"] >= 0]
        np.add.at(counts.instances[strand], (begin["half"], begin["concept"]), begin["copies"])
        tp, labelled = counts.tp[strand], counts.labelled[strand]
        hits = np.zeros((0, 0, *tp.shape[2:]), np.uint32)
        home = row = np.full(len(found), -1)
        reaching = OpenInstances()
        if counts.hits is not None:
            hits = counts.hits[strand]
            home, row, reaching = self._follow(strand, found)
        levels = np.array([one.levels for one in reaching.values()], np.uint8).reshape(-1, tp.shape[3])
        columns = found["first"], found["last"], home, found["copies"], row
        table = np.stack([np.asarray(column, np.int64) for column in columns], axis=1)
        concept, first = np.unique(found["concept"].to_numpy(np.int64), return_index=True)
        groups = np.stack([concept, first, np.append(first, len(found))[1:]], axis=1)

        def stage(some: slice) -> None:
            count_instances(groups[some], table, buffer.half, *coded, self._shift, labelled, tp, hits, levels)

        each(stage, len(groups), CONCEPTS)
        if counts.hits is not None:
            for one, level in zip(reaching.values(), levels, strict=True):
                one.levels = level.copy()
            counts.open.update(reaching)
            last = buffer.regions[-1]  # no base at or before its end will come
            mine = [place for place, one in counts.open.items() if place.strand == strand and one.counted]
            passed = [place for place in mine if place.contig != last.contig or place.end <= last.end]
            counts.open.close(counts.hits, passed)

    def _follow(self, strand: int, found: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64], OpenInstances]:
        """Find out in which half each instance of a buffer may be hit, and which ones stay open.

        An instance that begins before the first base seen in this read strand, on the same contig, may have begun where
        another counter sees it. Another one that is neither known nor begins here is not counted.

        Returns
        -------
        home, row : (m,) int64
            The half, or -1; the row among the open ones, or -1.
        opened : OpenInstances
            Those that are reaching and may be hit, in the order of their rows.
        """
        home, row, opened = found["half"].to_numpy(copy=True), np.full(len(found), -1), OpenInstances()
        reaching, (begun_contig, begun) = found[found["reaching"]], self._begun[strand]
        columns = cast(pd.DataFrame, reaching[["Chromosome", "Start", "End", "concept", "copies", "half"]])
        for i, contig, start, end, concept, copies, half in columns.itertuples(name=None):
            place = Place(strand, contig, start, end, concept)
            state = self._counts.open.get(place)
            if state is None:
                elsewhere = half < 0 and contig == begun_contig and start < begun
                half = int(self._evaluation.halves.of(contig, np.array(start))) if elsewhere else half
                levels = np.zeros(len(self._counts.features), np.uint8)
                state = OpenInstance(half, copies, not elsewhere, levels)
            home[i] = state.half
            if state.half >= 0:
                row[i], opened[place] = len(opened), state
        return home, row, opened
