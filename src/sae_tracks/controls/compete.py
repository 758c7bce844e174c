"""Motifs against their decoys: the best feature of each, chosen on the select half and measured on the report half."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.controls.chance import competition
from sae_tracks.controls.gather import FEATURES
from sae_tracks.controls.items import Histogram, items_of, lag_of
from sae_tracks.controls.rivals import Chosen, Column, choose
from sae_tracks.controls.verdict import LEAST_INSTANCES
from sae_tracks.controls.view import Pairs, View, concept_numbers
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.genome import Genome
from sae_tracks.metrics import Counts
from sae_tracks.motifs import Competitors
from sae_tracks.regions import GenomicRegion


class Competition:
    """The best features of motifs and decoys, each on both strands, as far as they are of one read strand."""

    def __init__(self, pairs: Pairs, counts: Counts, genome: Genome, competitors: Competitors, *, causal: bool) -> None:
        self._genome, self._competitors = genome, competitors
        matrices = np.arange(len(NUCLEOTIDES), len(counts.concepts))
        chosen = [choose(counts, strand, matrices) for strand in range(len(counts.read_strands))]
        best = np.argmax([one.score for one in chosen], axis=0)  # a motif has its best feature of all read strands too
        mine = chosen[pairs.strand]
        self._elsewhere = best != pairs.strand
        mine = Chosen(np.where(self._elsewhere, -1, mine.column), mine.score, mine.f1)
        self._best = Column(FEATURES, FEATURES, mine, Histogram(len(matrices), 1, pairs.levels))
        self._shapes = [(motif.width, lag_of(motif.width, causal)) for motif in competitors.motifs]
        self._widest = max((motif.width for motif in competitors.motifs), default=0)

    def wanted(self) -> Mapping[str, NDArray[np.int64]]:
        return {FEATURES: self._best.chosen.column}

    def add(self, view: View) -> None:
        region = view.tile.region
        reach = GenomicRegion(region.contig, max(region.start - self._widest, 0), region.end)
        motif, start, end, strand, competes = self._competitors.sites(self._genome, reach)
        on_tile = end > region.start  # one that ends before the tile is not on it, even if it is extended
        row = (2 * motif.astype(np.int64) + (strand < 0))[on_tile]
        copies = competes[on_tile].astype(np.int64)
        start, end = start[on_tile] - region.start, end[on_tile] - region.start
        edges = np.searchsorted(row, np.arange(2 * len(self._shapes) + 1))
        for number, column in enumerate(self._best.chosen.column.tolist()):
            if column >= 0:
                some = slice(edges[number], edges[number + 1])
                items = items_of(view.tile, start[some], end[some], copies[some], *self._shapes[number // 2])
                self._best.histogram.add(number, view.tile, items, *view.active(FEATURES, column))

    @property
    def average_precision(self) -> NDArray[np.float64]:
        """(2 M,) float64 of each matrix on + and on -; NaN if its best feature is of another read strand."""
        return np.where(self._elsewhere, np.nan, self._best.average_precision)


def compete(
    best: pd.DataFrame, competitors: Competitors, measured: Sequence[NDArray[np.float64]], *, few: bool
) -> pd.DataFrame:
    """The columns of `competition` for the rows of the table, from what was measured on each read strand."""
    names, decoys = competitors.names, competitors.decoys
    found = np.fmax.reduce(measured)
    average = np.full((2 * len(names), 1 + int(decoys.max(initial=0))), np.nan)
    first = np.cumsum(decoys + 1) - decoys - 1
    for target, (start, k) in enumerate(zip(first.tolist(), decoys.tolist())):
        for strand in range(2):
            average[2 * target + strand, : k + 1] = found[2 * (start + np.arange(k + 1)) + strand]
    targets = pd.DataFrame({"concept": [n for n in names for _ in "+-"], "site_strand": [*"+-"] * len(names)})
    of = concept_numbers(targets, best)
    enough = best["instances"].to_numpy() >= LEAST_INSTANCES
    average[~np.isin(np.arange(len(targets)), of[enough])] = np.nan  # these are no tests
    outcome = competition(average, few).reindex(of).set_index(best.index)
    outcome["decoy_win"] = outcome["decoy_win"].where(outcome["decoy_win"].notna(), None)
    outcome.loc[best["concept"].isin([*competitors.missing]), "decoys"] = 0
    return outcome
