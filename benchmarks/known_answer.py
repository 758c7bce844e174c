"""Activations whose features are known: combinations of unit directions, as a folder that our trainer reads."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn import functional as F

from sae_tracks.activations.shards import ActivationShards, open_shards, write_manifest, write_shard

DIRECTIONS, D_IN, ACTIVE, NOISE = 1024, 256, 16, 0.02
D_SAE = 2 * DIRECTIONS  # features to find them with
FOUND = 0.95  # cosine
SEED = 1000  # not the trainer's: from its seed it draws the first decoder, and one seed would draw the directions again
SHARD_ROWS = 1 << 16


def directions(seed: int = SEED) -> torch.Tensor:
    """(DIRECTIONS, D_IN) unit rows."""
    return F.normalize(torch.randn(DIRECTIONS, D_IN, generator=torch.Generator().manual_seed(seed)), dim=1)


def activations(rows: int, seed: int = SEED) -> Iterator[torch.Tensor]:
    """`rows` rows in parts, (<= SHARD_ROWS, D_IN) float32.

    A row is the sum of `ACTIVE` different directions, each 0.5 and an exponential variable of mean 0.5 long, and
    normal noise of standard deviation `NOISE` in every channel.
    """
    draw, known = torch.Generator().manual_seed(seed + 1), directions(seed)
    for start in range(0, rows, SHARD_ROWS):
        n = min(SHARD_ROWS, rows - start)
        chosen = torch.cat([torch.rand(256, DIRECTIONS, generator=draw).topk(ACTIVE).indices for _ in range(0, n, 256)])
        sizes = 0.5 - 0.5 * torch.log1p(-torch.rand(n, ACTIVE, generator=draw))
        x = F.embedding_bag(chosen[:n], known, per_sample_weights=sizes, mode="sum")
        yield x + NOISE * torch.randn(n, D_IN, generator=draw)


def write_shards(folder: Path, rows: int) -> ActivationShards:
    """Write activations as shuffled shards; their loci mean nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for part in activations(rows):
        loci = torch.zeros(len(part), 2, dtype=torch.int32).numpy()
        written.append(write_shard(folder, f"shard-{len(written):05d}", part.half().numpy(), loci))
    lm = {"model": "known-answer", "hook_name": "none", "d_model": D_IN}
    facts = {"format_version": 1, "shuffled": True, "lm": lm, "read_strands": ["+"], "genome": {}}
    write_manifest(folder, facts, written)
    return open_shards(folder)


def share_found(decoder: torch.Tensor) -> float:
    """Share of the directions that have a row of a decoder, (n, D_IN), at a cosine greater than `FOUND`."""
    cosines = directions() @ F.normalize(decoder, dim=1).T
    return (cosines.amax(1) > FOUND).double().mean().item()
