"""How much of a model's own outputs survives an SAE, for models that say something of every base (`OffersOutputs`).

The activations of a whole window are replaced: by the SAE's reconstruction, by their mean, or by zero. The outputs on
the kept bases are compared with those of the model as it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sae_tracks.dna import readable_bases, reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.evaluate.recovered import Rebuilder, share, sparsity_line
from sae_tracks.genome import Genome
from sae_tracks.lm.outputs import OffersOutputs, read_outputs
from sae_tracks.lm.protocol import checked_rows
from sae_tracks.progress import track
from sae_tracks.reading import WindowLayout, plan_windows
from sae_tracks.regions import GenomicRegion, ReadStrand
from sae_tracks.sae import SAE
from sae_tracks.train.measure import THRESHOLD


@dataclass(frozen=True, slots=True)
class RecoveredOutputs:
    """An SAE inside its model. Divergences are of the outputs from those of the model as it is, in nats per base."""

    bases: int  # scored, on all read strands together
    read_strands: list[ReadStrand]
    outputs: list[str]  # the classes
    kl_sae: float  # Kullback-Leibler divergence, with the activations replaced by the SAE's reconstruction
    kl_zero: float  # by zero
    kl_mean: float  # by their mean over the scored bases
    difference: list[float]  # mean absolute difference of a probability through the SAE, per class
    correlation: list[float | None]  # Pearson's, of the same probabilities; None if one of them is constant
    l0: float  # as in `Recovered`
    l0_at_threshold: float | None
    fvu: float | None

    @property
    def recovered_zero(self) -> float | None:
        """``1 - kl_sae / kl_zero``; None if zero changes nothing."""
        return share(self.kl_zero - self.kl_sae, self.kl_zero)

    @property
    def recovered_mean(self) -> float | None:
        """``1 - kl_sae / kl_mean``; None if the mean changes nothing."""
        return share(self.kl_mean - self.kl_sae, self.kl_mean)

    def record(self) -> dict[str, Any]:
        """Every number by its name."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        shares = {"recovered_zero": self.recovered_zero, "recovered_mean": self.recovered_mean}
        return {**values, **shares, "threshold": THRESHOLD}

    def lines(self) -> list[str]:
        """Return a table for people."""
        rows = [f"{'through the SAE':<18}{self.kl_sae:10.6f}"]
        for name, nats, part in (
            ("mean instead", self.kl_mean, self.recovered_mean),
            ("zero instead", self.kl_zero, self.recovered_zero),
        ):
            recovered = "the outputs do not change" if part is None else f"recovered {part:.3f}"
            rows.append(f"{name:<18}{nats:10.6f}   {recovered}")
        rows.append(f"{'output':<18}{'difference':>10}   correlation")
        for name, difference, correlation in zip(self.outputs, self.difference, self.correlation, strict=True):
            rows.append(f"{name:<18}{difference:10.6f}   {'none' if correlation is None else f'{correlation:.4f}'}")
        return [
            f"{self.bases:,} bases scored, divergence from the outputs of the model in nats per base",
            *rows,
            sparsity_line(self.l0, self.l0_at_threshold, self.fvu),
        ]


@torch.inference_mode()
def measure_outputs(
    lm: OffersOutputs,
    sae: SAE,
    genome: Genome,
    regions: Sequence[GenomicRegion],
    layout: WindowLayout,
    read_strands: Sequence[ReadStrand] = ("+",),
) -> RecoveredOutputs:
    """Compare the outputs of a model as it is with those after its activations were replaced.

    Each A, C, G, T of the regions is scored once per read strand, in the window that keeps it. The windows are read
    twice: for the mean of the activations, and for the outputs.
    """
    windows = [
        window for strand in read_strands for window in plan_windows(genome, regions, layout=layout, read_strand=strand)
    ]

    def inputs(what: str) -> Iterator[tuple[bytes, torch.Tensor]]:
        """Yield the sequence of each window as it is read, and which of its bases are scored."""
        for window in track(windows, what, len(windows)):
            sequence = genome.sequence(window.fed)
            scored = readable_bases(sequence)
            scored[: window.kept.start - window.fed.start] = False
            scored[window.kept.end - window.fed.start :] = False
            if window.read_strand == "-":
                sequence, scored = reverse_complement(sequence), np.ascontiguousarray(scored[::-1])
            yield sequence, torch.from_numpy(scored)

    mean = _mean((checked_rows(lm, sequence)[0][scored] for sequence, scored in inputs("averaging")), lm.d_model)
    sums = _Sums(lm, sae, mean)
    for sequence, scored in inputs("evaluating"):
        sums.add(sequence, scored)
    return sums.result(list(read_strands))


def _mean(parts: Iterator[torch.Tensor], width: int) -> torch.Tensor:
    """(width,) float64: the mean of all rows."""
    total, rows = torch.zeros(width, dtype=torch.float64), 0
    for part in parts:
        total, rows = total + part.sum(0, dtype=torch.float64), rows + len(part)
    if not rows:
        raise SaeTracksError("the regions hold no base to score: all are N or other IUPAC letters")
    return total / rows


class _Sums:
    """Sums over windows."""

    def __init__(self, lm: OffersOutputs, sae: SAE, mean: torch.Tensor) -> None:
        self.lm, self.rebuild, self.mean = lm, Rebuilder(sae, "cpu"), mean.float()
        self.divergences: dict[str, float] = dict.fromkeys(("sae", "zero", "mean"), 0.0)
        self.difference = torch.zeros(len(lm.output_names), dtype=torch.float64)
        self.moments = torch.zeros(5, len(lm.output_names), dtype=torch.float64)  # of p, q, p p, q q and p q

    def add(self, sequence: bytes, scored: torch.Tensor) -> None:
        """Add a window."""
        x, _ = checked_rows(self.lm, sequence)
        own = read_outputs(self.lm, sequence)[scored]
        replaced = {"sae": self.rebuild(x, scored), "zero": torch.zeros_like(x), "mean": self.mean.expand_as(x)}
        for name, instead in replaced.items():
            found = read_outputs(self.lm, sequence, instead)[scored]
            self.divergences[name] += (own.exp() * (own - found)).sum().item()
            if name == "sae":
                self._compare(own.exp(), found.exp())

    def _compare(self, p: torch.Tensor, q: torch.Tensor) -> None:
        self.difference += (p - q).abs().sum(0)
        self.moments += torch.stack([p, q, p * p, q * q, p * q]).sum(1)

    def result(self, read_strands: list[ReadStrand]) -> RecoveredOutputs:
        """Return means over all scored bases."""
        bases = self.rebuild.rows
        return RecoveredOutputs(
            bases=bases,
            read_strands=read_strands,
            outputs=list(self.lm.output_names),
            **{f"kl_{name}": total / bases for name, total in self.divergences.items()},
            difference=(self.difference / bases).tolist(),
            correlation=[_correlation(*row) for row in (self.moments / bases).T.tolist()],
            l0=self.rebuild.l0,
            l0_at_threshold=self.rebuild.l0_at_threshold,
            fvu=self.rebuild.fvu,
        )


def _correlation(p: float, q: float, pp: float, qq: float, pq: float) -> float | None:
    """Pearson's, from the means of two variables, their squares and their product."""
    spread = (pp - p * p) * (qq - q * q)
    return (pq - p * q) / spread**0.5 if spread > 0 else None
