"""Milliseconds per variant, beside two whole readings of each.

    python benchmarks/variants.py sae/ genome.fa variants.vcf.gz --n 500 --json

Both ways read the same variants on one read strand. `ours` is `variant_effects`: a shared reading of the reference, and
copies from the change on. `ours_with_loss` also measures the model's own loss. `naive` reads the window around each
variant twice, with either allele, and encodes the compared bases alone. Its windows are the same, so the bases before a
variant are the same. Rounds alternate; the figures are the best of `--rounds`. CPU seconds are those of all threads.
`difference` is the largest one of the strongest changes per variant, relative to the largest change.
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch

from sae_tracks import Genome, Source, load_sae, variant_effects
from sae_tracks.insight.alleles import Plan, copy_of, pairs_of
from sae_tracks.insight.vcf import Variant, read_variants
from sae_tracks.lm.protocol import checked_rows
from sae_tracks.sae.encoder import SparseEncoder
from sae_tracks.source import sae_language_model


def ours(source: Source, variants: list[Variant], loss: bool) -> np.ndarray:
    """(n,) strongest changes, in activations."""
    found = np.zeros(len(variants), np.float32)
    for effects in variant_effects(source, variants, scale="raw", loss=loss):
        found[effects.number] = effects.strongest
    return found


def naive(source: Source, variants: list[Variant]) -> np.ndarray:
    """(n,) strongest changes, in activations, from two whole windows per variant."""
    plan, encoder = Plan(source), SparseEncoder.of(source.sae)
    window, found = source.layout.window, np.zeros(len(variants), np.float32)
    for one in plan.windows(variants, source.read_strands[0]):
        beyond = one.stretch.letters(one.start, one.start + 2 * window)
        for allele in one.alleles:
            at = allele.first - one.start
            pairs = pairs_of(allele, at, np.ones(window, bool), 0)
            both = (pairs.ref >= 0) & (pairs.alt >= 0)
            dense = []
            for letters, offsets in ((beyond[:window], pairs.ref), (copy_of(allele, at, beyond, 0, window), pairs.alt)):
                rows, _ = checked_rows(source.lm, letters)
                indptr, feature, value = encoder.encode(rows[torch.from_numpy(at + offsets[both])])
                values = np.zeros((both.sum(), source.sae.d_sae), np.float32)
                values[np.repeat(np.arange(both.sum()), np.diff(indptr)), feature] = value
                dense.append(values)
            found[allele.number] = np.abs(dense[1] - dense[0]).max(initial=0)
    return found


def timed(call: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Wall and CPU seconds, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = call()
    return time.perf_counter() - wall, time.process_time() - cpu, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sae", "genome", "vcf"):
        parser.add_argument(name)
    parser.add_argument("--n", type=int, default=500, help="consecutive variants")
    parser.add_argument("--few", type=int, default=50, help="of these, how many the naive way reads")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sae = load_sae(args.sae)
    source = Source(sae_language_model(sae, device="cpu"), sae, Genome(args.genome))
    variants = read_variants(args.vcf, source.genome).variants[: args.n]
    few = variants[:: max(len(variants) // args.few, 1)]
    ways = {
        "ours": (variants, lambda: ours(source, variants, loss=False)),
        "ours_with_loss": (variants, lambda: ours(source, variants, loss=True)),
        "naive": (few, lambda: naive(source, few)),
    }
    ours(source, variants[:20], loss=True)  # compiles
    naive(source, variants[:2])
    runs = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, (_, call) in ways.items():
            runs[name].append(timed(call))
    found = {
        name: {
            "ms": round(1e3 * min(run[0] for run in runs[name]) / len(scored), 3),
            "cpu_ms": round(1e3 * min(run[1] for run in runs[name]) / len(scored), 3),
        }
        for name, (scored, _) in ways.items()
    }
    mine = runs["ours"][0][2][:: max(len(variants) // args.few, 1)]
    theirs = runs["naive"][0][2]
    pairs = [naive_run[0] / len(few) / (run[0] / len(variants)) for run, naive_run in zip(runs["ours"], runs["naive"])]
    result = {
        "variants": len(variants),
        "window": source.layout.window,
        **found,
        "times_faster": {"best": round(found["naive"]["ms"] / found["ours"]["ms"], 1), "least": round(min(pairs), 1)},
        "difference": float(np.abs(mine - theirs).max() / theirs.max()),
    }
    print(json.dumps(result, indent=1) if args.json else result)


if __name__ == "__main__":
    main()
