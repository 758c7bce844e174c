"""The sink that counts features against annotations."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.metrics.buffer import Buffer
from sae_tracks.metrics.counts import Counts
from sae_tracks.metrics.evaluation import Evaluation
from sae_tracks.metrics.kernels import count_instances, count_letter, encode
from sae_tracks.metrics.rows import Rows
from sae_tracks.sae.model import feature_name
from sae_tracks.threads import Each, pieces

if TYPE_CHECKING:
    from sae_tracks.features import FeatureBlock
    from sae_tracks.sae import SAE

BASES = 1 << 18  # counted at once: the more, the more sites of a concept meet its counts in the cache
NONZEROS = 1 << 26  # counted at once, where features are dense
CONCEPTS = 8  # a piece of work for one thread
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
        called = [feature_name(i) if names is None else names[i] for i in ids]
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
        with pieces() as each:
            coded = self._encode(blocks, buffer, each)
            self._count_letters(strand, buffer, coded, each)
            self._count_instances(strand, buffer, coded, each)

    def _encode(self, blocks: "list[FeatureBlock]", buffer: Buffer, each: Each) -> tuple[NDArray, NDArray, NDArray]:
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

    def _count_letters(self, strand: int, buffer: Buffer, coded: tuple, each: Each) -> None:
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

    def _count_instances(self, strand: int, buffer: Buffer, coded: tuple, each: Each) -> None:
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
