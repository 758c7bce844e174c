"""Next-base cross entropy of a language model and of Markov models on held-out sequence, also in Alu copies.

Example: python benchmarks/bundled_lm.py train.fa held_out.bed alu.fa -r chr22 --table > bundled_lm.json

All figures are in nats per base, on the forward strand, and all models are scored on the same bases. The Markov models
are counted on the FASTA without the regions of the BED. Their best order is chosen on the scored region, which favours
them. 95 % intervals are from a bootstrap over blocks of 10 kb. Both terms of a difference or a ratio are drawn from the
same blocks.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import alu
import numpy as np
from numpy.typing import NDArray

from sae_tracks.annotations import read_regions
from sae_tracks.controls.alu import MIN_SCORE, best_score, find_copies
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import bundled
from sae_tracks.genome import Genome
from sae_tracks.lm import load_causal_lm
from sae_tracks.lm.device import resolve_device
from sae_tracks.pretrain.held_out import overlap
from sae_tracks.pretrain.loss import NextBaseLM, cross_entropy_per_base
from sae_tracks.pretrain.markov import MarkovModels
from sae_tracks.pretrain.windows import stretches_outside

BLOCK = 10_000  # bases; far longer than a repeat copy, so that blocks are nearly independent
RESAMPLES = 2000
SEED = 0
LEAD = 100  # bases of a copy that are read before the first one counted as inside


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic of a region and its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, resampled: NDArray[np.float64]) -> "Estimate":
        """From the value on the region followed by those on its resamples."""
        low, high = np.nanquantile(resampled[1:], [0.025, 0.975])  # NaN: a resample without a base that counts
        return cls(float(resampled[0]), float(low), float(high))

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


class Blocks:
    """Bootstrap over the blocks of a region that have a scored base.

    Parameters
    ----------
    scored : (n,) bool
        Of the region's bases.
    """

    def __init__(self, scored: NDArray[np.bool_]) -> None:
        self.starts = np.arange(0, len(scored), BLOCK)
        filled = self._sums(scored) > 0
        k = int(filled.sum())
        self.weights = np.zeros((RESAMPLES + 1, len(self.starts)))  # times each block is drawn; first the region itself
        self.weights[0, filled] = 1
        self.weights[1:, filled] = np.random.default_rng(SEED).multinomial(k, np.full(k, 1 / k), RESAMPLES)

    def means(self, losses: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(RESAMPLES + 1,) means of (n,) losses over the chosen bases: of the region, then of its resamples."""
        with np.errstate(invalid="ignore"):
            return (self.weights @ self._sums(np.where(chosen, losses, 0))) / (self.weights @ self._sums(chosen))

    def _sums(self, values: NDArray[Any]) -> NDArray[np.float64]:
        return np.add.reduceat(values, self.starts, dtype=np.float64)


def score_region(
    lm: NDArray[np.float32], markov: NDArray[np.float32], sequence: bytes, consensus: bytes
) -> dict[str, Any]:
    """Everything measured on one region.

    Parameters
    ----------
    lm : (n,) float32
        Losses of the language model, NaN where a base is not scored.
    markov : (orders, n) float32
        Losses of the Markov models, NaN on the same bases.
    sequence, consensus : bytes
        The n letters of the region, and the repeat's consensus; upper case.
    """
    scored = np.isfinite(lm)
    if not scored.any():
        raise SaeTracksError("a region to score holds nothing but N: leave it out")
    blocks = Blocks(scored)
    of_lm, of_markov = blocks.means(lm, scored), [blocks.means(losses, scored) for losses in markov]
    best = int(np.argmin([means[0] for means in of_markov]))
    return {
        "bases": int(scored.sum()),
        "blocks": int(blocks.weights[0].sum()),
        "language_model": Estimate.of(of_lm),
        "markov": [Estimate.of(means) for means in of_markov],
        "best_order": best,
        "language_model_minus_best_markov": Estimate.of(of_lm - of_markov[best]),
        "alu": score_copies({"language_model": lm, "best_markov": markov[best]}, blocks, sequence, consensus),
    }


def score_copies(
    models: Mapping[str, NDArray[np.float32]], blocks: Blocks, sequence: bytes, consensus: bytes
) -> dict[str, Any]:
    """Cross entropy inside and outside of the consensus's copies, of each model's (n,) losses."""
    copies = find_copies(sequence, consensus)
    before = alu.bases_before(copies, len(sequence))
    scored = np.isfinite(next(iter(models.values())))
    inside, outside = scored & (before >= LEAD), scored & (before < 0)
    found: dict[str, Any] = {
        "copies": len(copies),
        "lowest_score_of_a_copy": MIN_SCORE,
        "best_score_of_the_reversed_consensus": best_score(sequence, consensus[::-1]),
        "bases_in_copies": int((before >= 0).sum()),
        "bases_inside": int(inside.sum()),
        "bases_outside": int(outside.sum()),
    }
    if not inside.any():
        return found
    found["identity"] = alu.identity(copies, sequence, consensus)
    for name, losses in models.items():
        within, without = blocks.means(losses, inside), blocks.means(losses, outside)
        found[name] = {"inside": within, "outside": without, "ratio": within / without}
        found[name] = {key: Estimate.of(resampled) for key, resampled in found[name].items()}
    return found


def entropy_table(results: Mapping[str, dict[str, Any]]) -> str:
    """Markdown: a row a model, a column a region."""
    columns = list(results.values())
    rows = [["bases", *(f"{c['bases']:,}" for c in columns)]]
    highest = len(columns[0]["markov"]) - 1
    for order in range(highest + 1):
        marks = (" best" if c["best_order"] == order else "" for c in columns)
        rows.append([f"Markov order {order}", *(f"{c['markov'][order]}{mark}" for c, mark in zip(columns, marks))])
    rows.append(["language model", *(str(c["language_model"]) for c in columns)])
    rows.append(
        [
            f"language model - best of order 0 to {highest}",
            *(str(c["language_model_minus_best_markov"]) for c in columns),
        ]
    )
    return markdown(["nats per base", *results], rows)


def alu_table(results: Mapping[str, dict[str, Any]]) -> str:
    """Markdown: a row a measure, a column a region; only regions with bases to count."""
    results = {region: c["alu"] for region, c in results.items() if "language_model" in c["alu"]}
    rows = [
        [name.replace("_", " "), *(f"{c[name]:,}" for c in results.values())]
        for name in ("copies", "bases_in_copies", "bases_inside", "bases_outside")
    ]
    rows.append(["identity to the consensus", *(f"{c['identity']:.3f}" for c in results.values())])
    for model in ("language_model", "best_markov"):
        for part in ("inside", "outside", "ratio"):
            rows.append([f"{model.replace('_', ' ')}, {part}", *(str(c[model][part]) for c in results.values())])
    return markdown(["Alu copies", *results], rows)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table, its first column to the left."""
    rule = [":--", *["--:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All regions, and what they were measured with."""
    genome, consensus = Genome(args.genome), alu.read_consensus(args.alu)
    held_out = genome.merged(read_regions(args.held_out, genome))
    regions = [genome.region(text) for text in args.region] if args.region else held_out
    for region in regions:
        if not any(held.overlap(region) == region for held in held_out):
            raise SaeTracksError(f"region {region} is not held out by {args.held_out}: the Markov models count it")
    training = stretches_outside(genome, held_out)
    lm = NextBaseLM(load_causal_lm(args.model).to(resolve_device(args.device)))
    markov = MarkovModels.trained(genome, training)
    results = {}
    for region in regions:
        losses = [cross_entropy_per_base(model, genome, [region])[0] for model in (lm, markov)]
        shared = overlap(genome, [region], training)
        results[str(region)] = score_region(*losses, genome.sequence(region), consensus) | {
            "share_of_32mers_in_the_training_sequence": shared.fraction,
            "longest_run_of_them": shared.longest,
        }
    return {
        "model": args.model,
        "markov_training_bases": sum(map(len, training)),
        "bootstrap": {"block": BLOCK, "resamples": RESAMPLES, "seed": SEED, "interval": 0.95},
        "versions": {name: version(name) for name in ("sae-tracks", "torch", "numpy")},
        "regions": results,
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("genome", type=Path, help="FASTA with training and held-out sequence")
    parser.add_argument("held_out", type=Path, help="BED of what the model was not trained on")
    parser.add_argument("alu", type=Path, help="FASTA of the Alu consensus, one record")
    parser.add_argument("-r", "--region", action="append", help="score this held-out region alone; may be repeated")
    parser.add_argument("--model", default=str(bundled("demo-lm")), help="a HyenaDNA: folder, hub id or .ckpt")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--table", action="store_true", help="Markdown tables too, on stderr")
    args = parser.parse_args()
    try:
        record = measure(args)
    except SaeTracksError as error:
        sys.exit(f"error: {error}")
    print(json.dumps(record, indent=2, default=asdict))
    if args.table:
        print(entropy_table(record["regions"]), alu_table(record["regions"]), sep="\n\n", file=sys.stderr)


if __name__ == "__main__":
    main()
