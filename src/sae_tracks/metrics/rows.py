"""The instances that a buffer holds, laid out for the kernel."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.metrics.buffer import Buffer
from sae_tracks.metrics.evaluation import Evaluation
from sae_tracks.metrics.open_instances import OpenInstance, OpenInstances, Place

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
        reaching = self.found[self.found["reaching"]]
        for i, number, start, end, concept, copies, half in reaching[PLACED].itertuples(name=None):
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
