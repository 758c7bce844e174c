"""Windows in which one feature at a time is ablated, and how the predictions at each base change."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby, islice

import numpy as np
import torch
from numpy.typing import NDArray

from sae_tracks.dna import OTHER, codes, reverse_complement
from sae_tracks.genome import Genome
from sae_tracks.insight.spliced import Active, by_feature, remove
from sae_tracks.lm.rest import Rest
from sae_tracks.progress import track
from sae_tracks.reading import BATCH, Reading, Window, read_windows
from sae_tracks.regions import GenomicRegion, ReadStrand, Shard
from sae_tracks.source import Source


@dataclass(slots=True)
class Stand:
    """A window as the model reads it, and the n places in it whose predictions are scored."""

    sequence: bytes
    activations: torch.Tensor
    contig: str
    scored: NDArray[np.int64]  # (n,) places in the window
    position: NDArray[np.int64]  # (n,) of the same bases in the genome
    target: NDArray[np.int64]  # (n,) the next base, 0 to 3; without meaning for plug-ins
    active: dict[int, Active]  # of the features asked for
    before: torch.Tensor = field(init=False)  # (window, k) float64 log probabilities as they are


class Ablation:
    """Reads windows, and measures what changes in them without a feature."""

    def __init__(self, source: Source, ids: list[int], rest: Rest, cutoffs: NDArray[np.float32]) -> None:
        self.source, self.ids, self.rest, self.cutoffs = source, ids, rest, cutoffs
        self.encoder = source.encoder(ids)
        self.measures = [*(["change"] if rest.next_base else []), "kl", *(f"p_{name}" for name in rest.names)]

    def windows(self, strand: ReadStrand, shard: Shard) -> Iterator[Stand]:
        """Yield the windows of a shard of a read strand in which something is scored.

        Windows that read the same bases are one.
        """
        source = self.source
        groups = [list(same) for _, same in groupby(source.windows(strand), lambda window: window.fed)]
        groups = groups[shard.slice(len(groups))]
        whole = [replace(same[0], kept=same[0].fed) for same in groups]
        readings = read_windows(source.lm, source.genome, whole, source.black_list, source.min_context)
        for same, reading in track(zip(groups, readings, strict=True), f"ablating {strand}", len(groups)):
            stand = self._stand(same, reading)
            if len(stand.scored):
                stand.before = self.rest(stand.sequence, stand.activations[None])[0].double()
                yield stand

    def _stand(self, windows: list[Window], reading: Reading) -> Stand:
        fed, forward = reading.region, reading.read_strand == "+"
        kept = np.zeros(len(fed), bool)
        for window in windows:
            kept[window.kept.start - fed.start : window.kept.end - fed.start] = True
        scored, position = kept & reading.readable, np.arange(fed.start, fed.end)
        sequence, x = self.source.genome.sequence(fed), reading.activations
        if not forward:
            sequence, x = reverse_complement(sequence), x.flip(0)
            scored, position = scored[::-1], position[::-1]
        target = _base_numbers(_next_bases(self.source.genome, fed, sequence, forward))
        if self.rest.next_base:
            scored = scored & (target >= 0)
        at = np.flatnonzero(scored)
        active = by_feature(*self.encoder.encode(x))
        return Stand(sequence, x, fed.contig, at, position[at], target[at], active)

    def changes(self, stand: Stand) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield each feature with an effect (its place in the ids), and (n, measures) changes at the scored places."""
        last = stand.scored[-1]
        present = [i for i, one in enumerate(self.ids) if one in stand.active]
        if self.source.lm.causal and self.rest.next_base:  # what lies behind all scored places changes none
            present = [i for i in present if stand.active[self.ids[i]][0][0] <= last]
        waiting = iter(present)
        while some := list(islice(waiting, max(BATCH // len(stand.sequence), 1))):
            without = stand.activations.repeat(len(some), 1, 1)
            for x, i in zip(without, some):
                remove(x, *stand.active[self.ids[i]], self.source.sae.W_dec[self.ids[i]])
            for i, after in zip(some, self.rest(stand.sequence, without)):
                yield i, self._measured(stand, after.double(), stand.active[self.ids[i]][0][0])

    def _measured(self, stand: Stand, after: torch.Tensor, first: int) -> NDArray[np.float64]:
        """(n, measures): the loss (of a next-base model), the divergence, and the probability of each class."""
        if self.source.lm.causal and self.rest.next_base:
            after[:first] = stand.before[:first]
        before, now = stand.before.numpy()[stand.scored], after.numpy()[stand.scored]
        p = np.exp(before)
        columns = [(p * (before - now)).sum(1), *(np.exp(now) - p).T]
        if self.rest.next_base:
            rows = np.arange(len(before)), stand.target
            columns.insert(0, before[rows] - now[rows])
        return np.stack(columns, axis=1)

    def is_active(self, stand: Stand, feature: int) -> NDArray[np.bool_]:
        """(n,) whether a feature exceeds its cutoff at the scored places."""
        rows, values = stand.active[feature]
        return np.isin(stand.scored, rows[values > self.cutoffs[feature]])

    def losses(self, stand: Stand) -> NDArray[np.float64]:
        """(n,) nats of the model as it is; zeros for plug-ins."""
        if not self.rest.next_base:
            return np.zeros(len(stand.scored))
        return -stand.before.numpy()[stand.scored, stand.target]


def _next_bases(genome: Genome, fed: GenomicRegion, sequence: bytes, forward: bool) -> bytes:
    """The base behind each base of a window, as the model reads; N behind the last one of a contig."""
    at = fed.end if forward else fed.start - 1
    if not 0 <= at < genome.lengths[fed.contig]:
        return sequence[1:] + b"N"
    letter = genome.sequence(GenomicRegion(fed.contig, at, at + 1))
    return sequence[1:] + (letter if forward else reverse_complement(letter))


def _base_numbers(sequence: bytes) -> NDArray[np.int64]:
    """(n,) 0 to 3 for A, C, G and T; -1 for other letters."""
    found = codes(sequence).astype(np.int64)
    return np.where(found == OTHER, -1, found)
