"""Saturation mutagenesis of a region, beside the same by reading every changed copy whole.

    python benchmarks/saturate.py --rounds 5

Both ways use the same language model, a topk SAE with random weights, the same random sequence and `--threads` threads.
`ours` is `saturate`. `whole` reads the 3 w copies with the context of the region, together as windows are read, and
encodes the bases of the region. The two ways alternate. Each figure is the median of the rounds: `wall_s` in seconds,
`cpu_s` in seconds of all threads, and the ratios of `whole` to `ours` within a round, with the smallest as `_least`.
`apart` is the largest difference of the dependency maps, as a share of the largest activation. The output is JSON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sae_tracks.genome import Genome
from sae_tracks.insight.edits import MOST_ROWS, FeatureReader
from sae_tracks.insight.saturate import saturate
from sae_tracks.lm import load_lm
from sae_tracks.lm.protocol import checked_batch
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE
from sae_tracks.source import Source

FEATURES = 4
D_SAE, K = 1024, 16


def open_source(model: str, bases: int, folder: Path) -> tuple[Source, GenomicRegion, list[int]]:
    """A source of random sequence and weights, a region behind the model's context, and its strongest features."""
    lm = load_lm(model)
    draw = torch.Generator().manual_seed(0)
    weights = torch.randn(lm.d_model, D_SAE, generator=draw)
    sae = SAE(weights, torch.zeros(D_SAE), weights.T.contiguous(), torch.zeros(lm.d_model), k=K)
    letters = "".join(np.random.default_rng(0).choice(list("ACGT"), 2 * lm.max_length))
    path = folder / f"{model}.fa"
    path.write_text(f">r\n{letters}\n")
    source = Source(lm, sae, Genome(path))
    start = source.layout.before
    region = GenomicRegion("r", start, start + bases)
    total = sae.encode(lm.activations(source.genome.sequence(region))).sum(0)
    return source, region, total.topk(FEATURES).indices.tolist()


def read_whole(source: Source, region: GenomicRegion, features: list[int]) -> np.ndarray:
    """(k, w, w) the dependency maps, from copies that are read whole."""
    reader, w = FeatureReader(source.sae, features), len(region)
    sequence = source.genome.sequence(GenomicRegion(region.contig, region.start - source.layout.before, region.end))
    place = slice(len(sequence) - w, len(sequence))
    original = reader.values(checked_batch(source.lm, [sequence])[0][0][place])
    found = np.zeros((len(features), w, w), np.float32)
    together = max(MOST_ROWS // (3 * len(sequence)), 1)
    for first in range(0, w, together):
        bases = range(first, min(first + together, w))
        copies = [_change(sequence, place.start + i, step) for i in bases for step in (1, 2, 3)]
        rows = torch.cat([rows[place] for rows, _ in checked_batch(source.lm, copies)])
        moved = np.abs(reader.values(rows).reshape(len(bases), 3, w, -1) - original).max(axis=1)
        found[:, first : bases.stop] = moved.transpose(2, 0, 1)
    return found


def _change(sequence: bytes, at: int, step: int) -> bytes:
    letter = b"ACGT"[(b"ACGT".index(sequence[at]) + step) % 4]
    return sequence[:at] + bytes([letter]) + sequence[at + 1 :]


def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float, float]:
    """What the work returns, and its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, time.perf_counter() - wall, time.process_time() - cpu


def measure(model: str, bases: int, rounds: int, folder: Path) -> dict:
    """Time both ways on one model."""
    source, region, features = open_source(model, bases, folder)
    ways = {
        "ours": lambda: saturate(source, region, features).dependency[0],
        "whole": lambda: read_whole(source, region, features),
    }
    maps, seconds = {name: work() for name, work in ways.items()}, {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            maps[name], *spent = timed(work)
            seconds[name].append(spent)
    middle = {name: np.median(spent, axis=0) for name, spent in seconds.items()}
    ratios = np.array(seconds["whole"]) / np.array(seconds["ours"])
    highest = saturate(source, region, features).activations.max()
    return {
        "model": model,
        "bases": bases,
        "read": bases + source.layout.before,
        **{
            f"{name}_{unit}": round(float(value), 3)
            for name in ways
            for unit, value in zip(("wall_s", "cpu_s"), middle[name])
        },
        **{
            f"{unit}_ratio{end}": round(float(pick(ratios[:, i])), 2)
            for i, unit in enumerate(("wall", "cpu"))
            for end, pick in (("", np.median), ("_least", np.min))
        },
        "apart": float(np.abs(maps["ours"] - maps["whole"]).max() / highest),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["yeast", "demo"])
    parser.add_argument("--bases", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps([measure(model, given.bases, given.rounds, Path(folder)) for model in given.models], indent=1))


if __name__ == "__main__":
    main()
