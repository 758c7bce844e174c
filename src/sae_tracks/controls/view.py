"""The reported pairs of one read strand, and all that is known of a tile of the report half."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations import Annotation
from sae_tracks.controls.dictionaries import word_places, words_read
from sae_tracks.controls.gather import FEATURES, WORDS, Gathered
from sae_tracks.controls.items import Items, Shape, Tile, blocks_of, report_tiles
from sae_tracks.controls.labels import TileLabels, spans_by_class
from sae_tracks.controls.spool import Levels, Spooled
from sae_tracks.controls.verdict import is_motif
from sae_tracks.dna import NUCLEOTIDES, codes
from sae_tracks.intervals import NO_SPANS, hold
from sae_tracks.metrics import Evaluation
from sae_tracks.regions import GenomicRegion, ReadStrand


@dataclass(frozen=True, slots=True)
class Pairs:
    """The best feature of each concept on a read strand: arrays of (p,), and what all of them share."""

    concepts: pd.DataFrame
    concept: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.int64]  # of the match, by number
    motif: NDArray[np.bool_]
    read_strand: ReadStrand
    strand: int  # along the axis of counts
    blocks: int  # of the bootstrap
    levels: int  # thresholds of the features
    seed: int

    def __len__(self) -> int:
        return len(self.concept)

    @property
    def site_strand(self) -> NDArray[np.object_]:
        """(p,) str."""
        return self.concepts["site_strand"].to_numpy(object)[self.concept]

    @property
    def annotated(self) -> NDArray[np.bool_]:
        """(p,): the concept has regions of an annotation: it is neither a letter nor a motif."""
        return ~self.motif & (self.concept >= len(NUCLEOTIDES))


class Part(Protocol):
    """A measurement that grows tile by tile."""

    def wanted(self) -> Mapping[str, NDArray[np.int64]]:
        """The columns that it looks at, by the name of their dictionary; -1 is none."""
        ...

    def add(self, view: "View") -> None:
        """Add a tile."""
        ...


class Measured(Part, Protocol):
    """One that gives columns of the table."""

    def table(self) -> pd.DataFrame:
        """Its columns, one row per pair."""
        ...


@dataclass(frozen=True, slots=True)
class View:
    """What is known of a tile."""

    tile: Tile
    letters: NDArray[np.uint8]  # (n,)
    labels: TileLabels
    repeats: list[NDArray[np.bool_]]  # (n,) of each class of repeats
    words: NDArray[np.int64]  # (6, n): from `words_read`, -1 also on bases that are not readable
    _wanted: Mapping[str, NDArray[np.int64]]
    _levels: Mapping[str, Levels]
    _places: Mapping[int, NDArray[np.int64]]

    def active(self, source: str, column: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Ascending bases of the tile on which a wanted column of a dictionary is active, and its levels there."""
        if source == WORDS:
            places = self._places[column]
            return places.astype(np.int32), np.ones(len(places), np.uint8)
        return self._levels[source][int(np.searchsorted(self._wanted[source], column))]

    def items(self, concept: int) -> Items:
        """The items of a concept."""
        return self.labels.items(concept)


class Tiles:
    """The tiles of the report half, with the spools of a run."""

    def __init__(
        self,
        evaluation: Evaluation,
        gathered: Gathered,
        repeats: Annotation | None,
        read_strand: ReadStrand,
        causal: bool,
    ) -> None:
        self.evaluation = evaluation
        self.read_strand: ReadStrand = read_strand
        self.regions = report_tiles(evaluation)
        self._blocks = blocks_of(self.regions)
        self.blocks = 1 + max((int(block.max()) for block in self._blocks if len(block)), default=0)
        self.repeats = spans_by_class(repeats)
        self.shape = Shape.of(evaluation.labels.instances, len(evaluation.labels.concepts), causal=causal)
        self._gathered = gathered
        self._spools: dict[str, Spooled] = {}

    def __len__(self) -> int:
        return len(self.regions)

    def columns(
        self, source: str, region: GenomicRegion, wanted: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], Levels]:
        """Which bases of a tile are readable, and the levels of some columns of a dictionary, ascending."""
        if source not in self._spools:
            self._spools[source] = Spooled(self._gathered.spools[source])
        return self._spools[source].columns(region, self.read_strand, wanted)

    def words(self, region: GenomicRegion, readable: NDArray[np.bool_]) -> NDArray[np.int64]:
        """(6, n): the words read last at each readable base; see `words_read`."""
        columns = words_read(self.evaluation.genome, region, self.read_strand)
        columns[:, ~readable] = -1
        return columns

    def views(self, wanted: Mapping[str, NDArray[np.int64]]) -> Iterator[View]:
        """Yield every tile that has a readable base, ascending, with the wanted columns of dictionaries.

        There must be some of the features.
        """
        for region, block in zip(self.regions, self._blocks):
            found = {FEATURES: self.columns(FEATURES, region, wanted[FEATURES])}
            if not found[FEATURES][0].any():  # nothing is counted on runs of N, which may be long
                continue
            others = wanted.keys() - {FEATURES, WORDS}
            found |= {name: self.columns(name, region, wanted[name]) for name in others}
            bases = np.arange(region.start, region.end)
            classes = [hold(spans.get(region.contig, NO_SPANS), bases) for spans in self.repeats.values()]
            inside = np.any(classes, axis=0) if classes else np.zeros(len(region), np.bool_)
            tile = Tile.of(region, self.read_strand, found[FEATURES][0], block, inside)
            words, letters = self.words(region, tile.readable), codes(self.evaluation.genome.sequence(region))
            some = wanted.get(WORDS, np.empty(0, np.int64))
            places = dict(zip(some.tolist(), word_places(words, some)))
            labels = TileLabels(self.evaluation.labels, self.shape, tile, letters)
            levels = {name: columns for name, (_, columns) in found.items()}
            yield View(tile, letters, labels, classes, words, wanted, levels, places)


def pairs_of(rows: pd.DataFrame, gathered: Gathered, evaluation: Evaluation, tiles: Tiles, seed: int) -> Pairs:
    """The rows of the table of one read strand."""
    counts, concepts = gathered.counts[FEATURES], evaluation.labels.concepts
    concept = concept_numbers(concepts, rows)
    return Pairs(
        concepts,
        concept,
        rows["feature"].str[1:].to_numpy(np.int64),
        np.searchsorted(counts.thresholds, rows["threshold"].to_numpy(np.float64)),
        is_motif(concepts)[concept],
        tiles.read_strand,
        counts.read_strands.index(tiles.read_strand),
        tiles.blocks,
        len(counts.thresholds),
        seed,
    )


def concept_numbers(concepts: pd.DataFrame, rows: pd.DataFrame) -> NDArray[np.int64]:
    """(m,) int64: the number among concepts of the ``concept`` and ``site_strand`` of each row; -1 if it is none."""
    ours, theirs = (
        pd.MultiIndex.from_arrays([table[name].astype(str) for name in ("concept", "site_strand")])
        for table in (concepts, rows)
    )
    return ours.get_indexer(theirs).astype(np.int64)
