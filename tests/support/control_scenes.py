"""Small drawn scenes for the parts of the controls: one contig whose every base, level and site a walk can visit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pandas as pd

from sae_tracks.annotations import Annotation
from sae_tracks.controls.gather import FEATURES, WORDS
from sae_tracks.controls.items import Shape, Tile
from sae_tracks.controls.labels import TileLabels
from sae_tracks.controls.spool import Levels
from sae_tracks.controls.view import Pairs, View
from sae_tracks.dna import codes
from sae_tracks.metrics import Counts, Labels
from sae_tracks.regions import GenomicRegion

COLUMNS = ["Chromosome", "Start", "End", "Name", "Score", "Strand", "TF"]
ALL_WORDS = ["".join(word) for k in range(1, 7) for word in product("ACGT", repeat=k)]
NUMBER = {word: i for i, word in enumerate(ALL_WORDS)}  # by length, then by the alphabet


def labels_of(rows: Sequence[tuple]) -> Labels:
    """From (start, end, name, score, strand) on the contig ``c``."""
    sites = pd.DataFrame([("c", *row, "") for row in rows], columns=COLUMNS)
    return Labels(Annotation(sites, "drawn"))


@dataclass
class Scene:
    """A contig ``c``, all of it as the report half reads it in one direction, in tiles; it serves as `Tiles` too."""

    text: str
    labels: Labels
    levels_of: Mapping[str, np.ndarray]  # (n, k) of each dictionary, 0 on bases that are not readable
    readable: np.ndarray
    block: np.ndarray
    edges: list[int]  # of the tiles
    read_strand: str = "+"
    causal: bool = True
    repeats: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        self.shape = Shape.of(self.labels.instances, len(self.labels.concepts), causal=self.causal)
        self.regions = [GenomicRegion("c", start, end) for start, end in pairwise(self.edges)]
        self.evaluation = SimpleNamespace(labels=self.labels)
        self.inside = np.any([*self.repeats.values(), np.zeros(len(self.text), bool)], axis=0)

    @property
    def features(self) -> np.ndarray:
        return self.levels_of[FEATURES]

    def columns(self, source, region, wanted):
        here = self.levels_of[source][region.start : region.end][:, wanted]
        column, base = np.nonzero(here.T)
        indptr = np.searchsorted(column, np.arange(len(wanted) + 1)).astype(np.int64)
        return self.readable[region.start : region.end], Levels(
            indptr, base.astype(np.int32), here[base, column].astype(np.uint8)
        )

    def words(self, region, readable):
        found = np.full((6, len(region)), -1, np.int64)
        for base in range(region.start, region.end):
            for k in range(1, 7):
                first = base - k + 1 if self.read_strand == "+" else base
                word = self.text[max(first, 0) : first + k]
                if len(word) == k and self.readable[base]:
                    found[k - 1, base - region.start] = NUMBER.get(word, -1)
        return found

    def views(self, wanted):
        """The tiles with what parts look at, as `Tiles.views` gives them."""
        wanted = {name: np.unique(columns[columns >= 0]) for name, columns in wanted.items()}
        for region in self.regions:
            here = slice(region.start, region.end)
            tile = Tile.of(region, self.read_strand, self.readable[here], self.block[here], self.inside[here])
            letters = codes(self.text[here].encode())
            words = self.words(region, self.readable[here])
            places = {c: np.flatnonzero((words == c).any(axis=0)) for c in wanted.get(WORDS, np.empty(0, int)).tolist()}
            levels = {name: self.columns(name, region, some)[1] for name, some in wanted.items() if name != WORDS}
            classes = [mask[here] for mask in self.repeats.values()]
            labels = TileLabels(self.labels, self.shape, tile, letters)
            yield View(tile, letters, labels, classes, words, wanted, levels, places)

    def through(self, part):
        """Add every tile to a part."""
        for view in self.views(part.wanted()):
            part.add(view)
        return part

    def instances(self, concept):
        """(start, end, copies, score) on the contig, by start."""
        if concept < 4:
            return [(i, i + 1, 1, np.nan) for i, letter in enumerate(self.text) if letter == "ACGT"[concept]]
        rows = self.labels.instances
        mine = rows[rows["concept"] == concept].sort_values("Start", kind="stable")
        return list(zip(mine["Start"], mine["End"], mine["copies"], mine["score"]))

    def labelled(self, concept):
        """(n,) bool: readable bases that a concept labels."""
        mask = np.zeros(len(self.text), bool)
        for start, end, *_ in self.instances(concept):
            mask[start:end] = True
        return mask & self.readable

    def items(self, concept, levels, instances=None, width=None, lag=None):
        """By a walk: (level, block, in a repeat) of every item, as often as it counts, and of every window."""
        width = int(self.shape.width[concept]) if width is None else width
        lag = int(self.shape.lag[concept]) if lag is None else lag
        instances = self.instances(concept) if instances is None else instances
        items, windows = [], []
        for start, end in pairwise(self.edges):
            touched = np.zeros(len(self.text), bool)
            for s, e, copies, *_ in instances:
                if e <= start or s >= end:
                    continue
                pieces = max(-(-(e - s) // 64), 1)
                for i in range(pieces):
                    first, last = s + i * (e - s) // pieces, s + (i + 1) * (e - s) // pieces
                    low, high = (first, last + lag) if self.read_strand == "+" else (first - lag, last)
                    reach = slice(max(low, start), min(high, end)) if high > start and low < end else slice(0)
                    touched[reach] = True
                    begins = first if self.read_strand == "+" else last - 1
                    if copies and start <= begins < end and self.readable[begins]:
                        own = slice(max(first, start), min(last, end))
                        row = int(levels[reach].max()), int(self.block[own.start]), bool(self.inside[own].any())
                        items += [row] * int(copies)
            for s in range(start, end - width - lag + 1):
                here = slice(s, s + width + lag)
                if s % (width + lag) == 0 and self.readable[here].all() and not touched[here].any():
                    windows.append((int(levels[here].max()), int(self.block[s]), bool(self.inside[here].any())))
        return items, windows


def draw_scene(
    seed: int,
    read_strand: str = "+",
    *,
    n: int = 700,
    concepts: int = 4,
    features: int = 4,
    levels: int = 3,
    sites: int = 18,
    width: int = 9,
    causal: bool = True,
    blocks: int = 2,
    others: Mapping[str, int] | None = None,
) -> Scene:
    """Sites of the concepts w, x, y ... on +, - and ., often twice at a place, over two tiles with N runs.

    The first and the last base of the contig and of both tiles lie in sites; the first feature is never active.
    """
    rng = np.random.default_rng(seed)
    border = int(rng.integers(n // 3, n // 2))
    letters = rng.choice(list("ACGT"), n)
    for start in rng.integers(1, n - 30, 3).tolist():
        letters[start : start + int(rng.integers(1, 25))] = "N"
    readable = (letters != "N") & (rng.random(n) < 0.98)
    rows = []
    for number in range(concepts):
        places = [0, border - 4, border - 1, border, n - 3, *rng.integers(0, n, sites).tolist()]
        places += places[:3]
        for start in places:
            end = min(start + int(rng.integers(1, width + 1)), n)
            score = [np.nan, *range(400, 420)][rng.integers(0, 21)]
            rows.append((start, end, "wxyz"[number], score, "+-.+"[number]))
    drawn = {FEATURES: features, **(others or {})}
    dense = {name: rng.integers(1, levels + 1, (n, k)) * (rng.random((n, k)) < 0.15) for name, k in drawn.items()}
    for values in dense.values():
        values[~readable] = 0
        values[:, 0] = 0
    repeats = {name: np.repeat(rng.random(n // 20 + 1) < 0.25, 20)[:n] for name in ("Alu", "L1", "MIR")}
    block = np.repeat(np.arange(blocks), -(-n // blocks))[:n]
    return Scene(
        "".join(letters), labels_of(rows), dense, readable, block, [0, border, n], read_strand, causal, repeats
    )


def pairs_on(scene: Scene, chosen: Sequence[tuple[int, int, int]], *, motifs=(), levels=3, seed=0) -> Pairs:
    """Pairs of (concept, feature, threshold); `motifs` are the concepts that have a matrix."""
    concept, feature, threshold = np.array(chosen, np.int64).reshape(-1, 3).T
    motif = np.isin(concept, list(motifs))
    blocks = int(scene.block.max()) + 1
    return Pairs(scene.labels.concepts, concept, feature, threshold, motif, scene.read_strand, 0, blocks, levels, seed)


def every_pair(scene: Scene, threshold: int = 1) -> list[tuple[int, int, int]]:
    """All concepts with all features."""
    return [(c, f, threshold) for c in range(len(scene.labels.concepts)) for f in range(scene.features.shape[1])]


def average_precision(items: Sequence[int], windows: Sequence[int], weight: float = 1) -> float:
    """Of the levels of items among those of windows, each of which counts `weight`: the mean precision at an item.

    It is exact until it is returned, so equal ones are equal numbers.
    """
    if not len(items):
        return np.nan
    items, windows, total = np.asarray(items), np.asarray(windows), Fraction(0)
    for level, times in zip(*np.unique(items, return_counts=True)):
        found, others = int((items >= level).sum()), int((windows >= level).sum())
        total += int(times) * found / (found + Fraction(weight) * others)
    return float(total / len(items))


def draw_counts(rng, concepts, columns, thresholds, *, read_strands="+-", density=0.5, most=9):
    """Counts of both halves as they could be: no more true positives than labelled or active bases."""
    names = [f"f{i}" for i in range(columns)]
    counts = Counts.zeros(tuple(read_strands), ("select", "report"), concepts, range(thresholds), names, hits=False)
    counts.tp[...] = rng.integers(0, most, counts.tp.shape) * (rng.random(counts.tp.shape) < density)
    counts.active[...] = counts.tp.max(axis=2) + rng.integers(0, most, counts.active.shape)
    total = counts.tp.sum(axis=3).max(axis=3).astype(int)
    counts.labelled[...] = total + rng.integers(0, most, total.shape)
    counts.instances[...] = rng.integers(0, most, total.shape)
    return counts


def best_by_loops(counts, strand, concept, columns, sites):
    """(column, F1 on the report half) by trying all columns and thresholds."""
    best, found = 0, (-1, np.nan)
    size = (counts.instances if sites else counts.labelled)[strand, 0, concept]
    for column in columns:
        for threshold in range(len(counts.thresholds)):
            tp = [int(counts.tp[strand, h, concept, threshold:, column].sum()) for h in range(len(counts.halves))]
            on = [int(counts.active[strand, h, threshold:, column].sum()) for h in range(len(counts.halves))]
            score = 2 * tp[0] / max(size + on[0], 1)
            if score > best:
                both = counts.labelled[strand, -1, concept] + on[-1]
                best, found = score, (column, 2 * tp[-1] / both if both else np.nan)
    return found
