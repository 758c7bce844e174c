"""What controls need of a pass over a genome: counts and spools, of one run or added up from shards."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sae_tracks.controls.chance import CompetitorLabels
from sae_tracks.controls.dictionaries import QUANTILES, RANDOM, Directions, word_block
from sae_tracks.controls.dictionaries import WORDS as WORD_COLUMNS
from sae_tracks.controls.spool import Spool, bytes_of
from sae_tracks.features import FeatureBlock, encode_reading
from sae_tracks.metrics import Counter, Counts, Evaluation, Labels, load_counts
from sae_tracks.motifs import Competitors
from sae_tracks.reading import Reading
from sae_tracks.sae import SAE
from sae_tracks.sae.encoder import SparseEncoder
from sae_tracks.source import Source, device_of

Cutoffs = Callable[[SAE], NDArray[np.float32]]
FEATURES, WORDS, DIRECTIONS, COMPETITORS = "features", "words", "directions", "competitors"


@dataclass
class Gathered:
    """Counts by name, and the folders of spools by name; those of shards add up.

    ``features`` are the SAE's; ``words``, ``directions``, ``random-0`` (untrained models) and ``seed-0`` rivals;
    ``competitors`` counts features on motifs and decoys.
    """

    counts: dict[str, Counts] = field(default_factory=dict)
    spools: dict[str, list[Path]] = field(default_factory=dict)

    def add(self, folder: Path, names: Mapping[str, Sequence[str]]) -> None:
        """Add what a shard has saved in a folder: its `Gatherer.names`."""
        for name in names["counts"]:
            counts = load_counts(folder / f"{name}.npz")
            if name in self.counts:
                self.counts[name].merge(counts)
            else:
                self.counts[name] = counts
        for name in names["spools"]:
            self.spools.setdefault(name, []).append(folder / name)


@dataclass(frozen=True, slots=True)
class _Seed:
    """An SAE of another seed, which reads the same activations."""

    name: str
    encoder: SparseEncoder


def disk_needed(bases: int, block: FeatureBlock, d_model: int, sources: int) -> int:
    """Bytes of the spools on so many bases, if one block is typical, with other sources whose features are as many."""
    columns = 2 * d_model + RANDOM
    share = len(block.feature) / max(len(block.region), 1)
    directions = bytes_of(bases, round(bases * columns * (1 - QUANTILES[0])), columns)
    return sources * bytes_of(bases, round(bases * share), block.d_sae) + directions


class Gatherer:
    """A sink that feeds counters and spools from the blocks of an SAE, and from the readings before them.

    Parameters
    ----------
    source : Source
        Its windows and read strands.
    evaluation : Evaluation
        Split into halves.
    thresholds : sequence of float
        Those of the features.
    cutoffs : function
        From an SAE to its (T, d_sae) cut-offs.
    folder : path
        For the spools.
    competitors : Competitors, optional
        Motifs with their decoys.
    seeds : sequence of SAE
        SAEs of other seeds.
    """

    def __init__(
        self,
        source: Source,
        evaluation: Evaluation,
        thresholds: Sequence[float],
        cutoffs: Cutoffs,
        folder: Path,
        competitors: Competitors | None,
        seeds: Sequence[SAE] = (),
    ) -> None:
        self._genome, self._evaluation, self._folder = source.genome, evaluation, folder
        self._strands = source.read_strands
        self.counters: dict[str, Counter] = {}
        self.spools: dict[str, Spool] = {}
        self._directions = {strand: Directions(source, strand) for strand in source.read_strands}
        one = next(iter(self._directions.values()))
        self._spool(FEATURES, cutoffs(source.sae))
        self._count(WORDS, [0.0], np.zeros((1, WORD_COLUMNS), np.float32), evaluation)
        self._both(DIRECTIONS, list(range(len(one.cutoffs))), one.cutoffs)
        if competitors is not None:
            labels = cast(Labels, CompetitorLabels(source.genome, competitors, evaluation.halves))
            on = replace(evaluation, labels=labels)
            self._count(COMPETITORS, thresholds, cutoffs(source.sae), on)
        self._seeds = []
        for number, sae in enumerate(seeds):
            self._seeds.append(_Seed(f"seed-{number}", SparseEncoder.of(sae, device=device_of(source.lm))))
            self._both(self._seeds[-1].name, thresholds, cutoffs(sae))

    def _count(self, name: str, thresholds: Sequence[float], cutoffs: NDArray, evaluation: Evaluation) -> None:
        strands = self._strands
        self.counters[name] = Counter(evaluation, thresholds, cutoffs, read_strands=strands, instances=False)

    def _spool(self, name: str, cutoffs: NDArray) -> None:
        self.spools[name] = Spool(self._folder / name, self._evaluation.halves, cutoffs)

    def _both(self, name: str, thresholds: Sequence[float], cutoffs: NDArray) -> None:
        self._count(name, thresholds, cutoffs, self._evaluation)
        self._spool(name, cutoffs)

    def _add(self, name: str, block: FeatureBlock) -> None:
        self.counters[name].add(block)
        self.spools[name].add(block)

    def add_reading(self, reading: Reading) -> None:
        """Count what comes from the activations themselves; called before the blocks of the reading."""
        self._add(DIRECTIONS, self._directions[reading.read_strand].block(reading))
        for seed in self._seeds:
            for block in encode_reading(seed.encoder, reading):
                self._add(seed.name, block)

    def add(self, block: FeatureBlock) -> None:
        """Count a block of the SAE, and the words of its bases."""
        self.spools[FEATURES].add(block)
        self.counters[WORDS].add(word_block(self._genome, block))
        if COMPETITORS in self.counters:
            self.counters[COMPETITORS].add(block)

    def read_through(
        self, name: str, source: Source, thresholds: Sequence[float], cutoffs: NDArray, **shard: Any
    ) -> None:
        """Count and spool all of another source, such as an untrained model, under a name."""
        self._both(name, thresholds, cutoffs)
        for block in source.blocks(**shard):
            self._add(name, block)

    def gathered(self, features: Counter) -> Gathered:
        """Close the spools, and return everything with the counts of the features."""
        for spool in self.spools.values():
            spool.close()
        counts = {name: counter.counts() for name, counter in self.counters.items()}
        spools = {name: [spool.folder] for name, spool in self.spools.items()}
        return Gathered({FEATURES: features.counts()} | counts, spools)

    @property
    def names(self) -> dict[str, list[str]]:
        """What `save` writes."""
        return {"counts": sorted(self.counters), "spools": sorted(self.spools)}

    def save(self) -> None:
        """Write the counts beside the spools, for `Gathered.add`; those of the features lie elsewhere."""
        for spool in self.spools.values():
            spool.close()
        for name, counter in self.counters.items():
            counter.save(self._folder / f"{name}.npz")
