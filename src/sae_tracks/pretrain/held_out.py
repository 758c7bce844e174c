"""What a language model knows of held-out sequence, beside Markov models, and whether that sequence was unseen."""

from dataclasses import dataclass
from typing import Any

from sae_tracks.genome import Genome
from sae_tracks.lm import HyenaDNAForCausalLM
from sae_tracks.pretrain.loss import NextBaseLM, cross_entropy
from sae_tracks.pretrain.markov import MarkovModels
from sae_tracks.pretrain.overlap import Overlap, overlap
from sae_tracks.regions import GenomicRegion


@dataclass(frozen=True, slots=True)
class HeldOutScores:
    """Next-base cross entropy on held-out regions, nats a base, of every model on the same bases."""

    bases: int
    """Scored."""
    nats_per_base: float
    """Of the language model."""
    markov_nats_per_base: list[float]
    """Of the Markov models of order 0, 1, ..., trained on the same sequence."""
    overlap: Overlap
    """What the held-out regions share with the training sequence."""

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "HeldOutScores":
        """From what `dataclasses.asdict` made of them."""
        return cls(**{**record, "overlap": Overlap(**record["overlap"])})

    @property
    def best_order(self) -> int:
        """The order of the best Markov model."""
        return self.markov_nats_per_base.index(min(self.markov_nats_per_base))

    def lines(self) -> list[str]:
        """A table for people."""
        best = self.markov_nats_per_base[self.best_order]
        markov = [f"Markov order {k:<8} {loss:.4f}" for k, loss in enumerate(self.markov_nats_per_base)]
        markov[self.best_order] += "  best"
        found = self.overlap
        return [
            f"held out: {self.bases:,} bases scored, nats a base",
            *markov,
            f"language model        {self.nats_per_base:.4f}  {self.nats_per_base - best:+.4f} against order "
            f"{self.best_order}",
            f"of {found.kmers:,} held-out 32-mers {found.fraction:.2%} are in the training sequence too; the longest "
            f"run of them is {found.longest:,} bases",
        ]

    def warning(self) -> str | None:
        """Where held-out sequence was trained on after all, under another name or from another assembly."""
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
    """Score a language model and Markov models of the training parts on disjoint held-out regions."""
    loss, bases = cross_entropy(NextBaseLM(model), genome, held_out)
    markov, _ = cross_entropy(MarkovModels.trained(genome, training), genome, held_out)
    return HeldOutScores(bases, float(loss), markov.tolist(), overlap(genome, held_out, training))
