"""Scores a language model and Markov models on held-out sequence, and checks that this sequence was unseen."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sae_tracks.bootstrap import draws_of, interval
from sae_tracks.dna import kmers, reverse_complement
from sae_tracks.genome import Genome
from sae_tracks.intervals import merge, runs_of
from sae_tracks.lm import HyenaDNAForCausalLM
from sae_tracks.pretrain.loss import NextBaseLM, losses_by_block
from sae_tracks.pretrain.markov import MarkovModels
from sae_tracks.pretrain.windows import overlapping_chunks, stretches_inside
from sae_tracks.regions import GenomicRegion, regions_of, spans_by_contig

K = 32  # two bits per base fill a uint64; chance alone repeats no 32-mer in a genome
CHUNK = 1 << 21
LONG = 1000  # bases; repeats of one family differ long before
FEW = 5  # blocks, which would tell too little about others
MOST = 0.5  # of the 32-mers; interspersed repeats share a few per cent, a copy that differs at 1 % of its bases 70 %


@dataclass(frozen=True, slots=True)
class Overlap:
    """The 32-mers that held-out regions share with the training sequence, forward or reverse complemented."""

    kmers: int
    """Starts of 32-mers of A, C, G, T alone in the held-out regions."""
    shared: int
    """Number of these whose 32-mer the training sequence also holds."""
    longest: int
    """Bases of the longest run in which every 32-mer is shared; 0 if none is."""
    where: str | None
    """That run in the held-out regions, 1-based inclusive; None if no 32-mer is shared."""

    @property
    def fraction(self) -> float:
        """Share of the held-out 32-mers that are in the training sequence."""
        return self.shared / max(self.kmers, 1)

    @property
    def suspicious(self) -> bool:
        """Whether it is more than repeats: a run of `LONG` bases, or more than `MOST` of the 32-mers."""
        return self.longest >= LONG or self.fraction > MOST


def overlap(
    genome: Genome, held_out: Iterable[GenomicRegion], training: Iterable[GenomicRegion]
) -> tuple[Overlap, list[GenomicRegion]]:
    """Compare disjoint held-out regions with the stretches that are trained on; memory follows the held-out bases.

    Also returns the copies: the stretches of the held-out regions that shared 32-mers cover, disjoint and ascending.
    """
    stretches = stretches_inside(genome, held_out)
    held = [codes[whole] for codes, whole in _codes(genome, stretches)]
    known = np.unique(np.concatenate([np.empty(0, np.uint64), *held]))
    seen = np.zeros(len(known), bool)
    for codes, whole in _codes(genome, training):
        at, hit = _find(known, np.unique(codes[whole]))
        seen[at[hit]] = True
    known = known[seen]
    kmers = shared = 0
    copies: list[GenomicRegion] = []
    longest: GenomicRegion | None = None
    for stretch in stretches:
        chunks = []
        for codes, whole in _codes(genome, [stretch]):
            kmers += int(whole.sum())
            chunks.append(_find(known, codes)[1] & whole)
        common = np.concatenate(chunks)
        shared += int(common.sum())
        runs = runs_of(common) + np.array([stretch.start, stretch.start + K - 1])
        found = regions_of(stretch.contig, runs)
        copies += regions_of(stretch.contig, merge(runs))
        longest = max([*([longest] if longest else []), *found], key=len, default=None)
    return Overlap(kmers, shared, len(longest or ()), str(longest) if longest else None), copies


def _codes(
    genome: Genome, stretches: Iterable[GenomicRegion]
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.bool_]]]:
    """The 32-mers of stretches by their start, in chunks.

    Yields
    ------
    (n,) uint64, (n,) bool
        The lesser of the codes of the two strands, and whether all letters are A, C, G or T.
    """
    for stretch in stretches:
        for chunk in overlapping_chunks(stretch, CHUNK, K - 1):
            sequence = genome.sequence(chunk)
            forward, runs = kmers(sequence, K)
            reverse, _ = kmers(reverse_complement(sequence), K)
            yield np.minimum(forward[K - 1 :], reverse[K - 1 :][::-1]), runs[K - 1 :] >= K


def _find(known: NDArray[np.uint64], codes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The place of each code among the known ones, which ascend, and whether it is there."""
    if not len(known):
        return np.zeros(len(codes), np.int64), np.zeros(len(codes), bool)
    at = np.searchsorted(known, codes).clip(max=len(known) - 1)
    return at, known[at] == codes


@dataclass(frozen=True, slots=True)
class Losses:
    """Next-base cross entropy of every model on the same bases, in nats per base."""

    bases: int
    """Number of bases scored."""
    nats_per_base: float
    """Loss of the language model."""
    markov_nats_per_base: list[float]
    """Losses of the Markov models of order 0, 1, ..., trained on the same sequence."""

    @property
    def best_order(self) -> int:
        """The order of the best Markov model."""
        return self.markov_nats_per_base.index(min(self.markov_nats_per_base))

    @property
    def difference(self) -> float:
        """Loss of the language model less that of the best Markov model."""
        return self.nats_per_base - min(self.markov_nats_per_base)


@dataclass(frozen=True, slots=True)
class UniqueScores(Losses):
    """The losses on the bases that lie in no 32-mer of the training sequence: what a model cannot have copied."""

    interval: tuple[float, float] | None
    """95 % interval of `difference`, from draws of blocks of 10 kb; None if these are fewer than `FEW`."""

    def line(self) -> str:
        """A line for people."""
        between = " ({:+.4f} to {:+.4f})".format(*self.interval) if self.interval else ""
        return (
            f"of these, {self.bases:,} bases are in no such 32-mer: language model {self.nats_per_base:.4f}, best "
            f"Markov model (order {self.best_order}) {min(self.markov_nats_per_base):.4f}, difference "
            f"{self.difference:+.4f}{between}"
        )


@dataclass(frozen=True, slots=True)
class HeldOutScores(Losses):
    """The losses on held-out regions."""

    overlap: Overlap
    unique: UniqueScores | None
    """The same without copies; None if no base is scored outside of them."""

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "HeldOutScores":
        """From what `dataclasses.asdict` made of them."""
        unique = record.get("unique")
        unique = unique and UniqueScores(**{**unique, "interval": unique["interval"] and tuple(unique["interval"])})
        return cls(**{**record, "overlap": Overlap(**record["overlap"]), "unique": unique})

    def lines(self) -> list[str]:
        """Lines of a table for people."""
        markov = [f"Markov order {k:<8} {loss:.4f}" for k, loss in enumerate(self.markov_nats_per_base)]
        markov[self.best_order] += "  best"
        found = self.overlap
        return [
            f"held out: {self.bases:,} bases scored, nats per base",
            *markov,
            f"language model        {self.nats_per_base:.4f}  {self.difference:+.4f} against order {self.best_order}",
            f"of {found.kmers:,} held-out 32-mers {found.fraction:.2%} are in the training sequence too; the longest "
            f"run of them is {found.longest:,} bases",
            *([self.unique.line()] if self.unique else []),
        ]

    def warning(self) -> str | None:
        """A warning if held-out sequence was trained on after all, under another name or from another assembly."""
        if not self.overlap.suspicious:
            return None
        return (
            f"warning: {self.overlap.fraction:.1%} of the held-out 32-mers are also in the training sequence, "
            f"{self.overlap.longest:,} bases in a row at {self.overlap.where}: the held-out losses are too low; hold "
            "the copies out too, or leave them out of the FASTA"
        )


def score_held_out(
    model: HyenaDNAForCausalLM, genome: Genome, held_out: list[GenomicRegion], training: list[GenomicRegion]
) -> HeldOutScores:
    """Score a language model and Markov models of the training stretches on disjoint held-out regions."""
    found, copies = overlap(genome, held_out, training)
    models = NextBaseLM(model), MarkovModels.trained(genome, training)
    marked = spans_by_contig(copies)
    (nats, bases), (markov, _) = (losses_by_block(each, genome, held_out, marked) for each in models)
    loss, markov_loss = (sums.sum(axis=(0, 1)) / bases.sum() for sums in (nats, markov))
    unique = _unique(nats[0], markov[0], bases[0]) if bases[0].any() else None
    return HeldOutScores(int(bases.sum()), float(loss), markov_loss.tolist(), found, unique)


def _unique(nats: NDArray[np.float64], markov: NDArray[np.float64], bases: NDArray[np.int64]) -> UniqueScores:
    """The scores of blocks: sums (blocks,) and (blocks, orders), and (blocks,) bases."""
    loss, markov_loss = nats.sum() / bases.sum(), markov.sum(axis=0) / bases.sum()
    between = None
    if (blocks := len(bases)) >= FEW:
        draws = draws_of(blocks, 0)
        between = interval(draws @ (nats - markov[:, markov_loss.argmin()]) / np.maximum(draws @ bases, 1))
    return UniqueScores(int(bases.sum()), float(loss), markov_loss.tolist(), between)
