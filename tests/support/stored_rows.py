"""Folders of activation shards of random rows, whole and damaged."""

import numpy as np

from sae_tracks.activations.shards import WINDOWS, open_shards, shard_name, write_manifest, write_shard

D = 3


def store(folder, sizes, d=D, seed=0, shuffled=False, windows=1):
    """A complete folder of random shards of these sizes; row i is the offset i // windows of window i % windows."""
    folder.mkdir(parents=True)
    rng, done, shards = np.random.default_rng(seed), 0, []
    for i, n in enumerate(sizes):
        ids = np.arange(done, done + n, dtype=np.int32)
        rows = rng.normal(size=(n, d)).astype(np.float16)
        loci = np.stack([ids % windows, ids // windows], 1)
        shards.append(write_shard(folder, shard_name(i), rows, loci))
        done += n
    bed = "".join(f"chr1\t{w * 10**6}\t{w * 10**6 + 10**5}\t{w}\t0\t+\n" for w in range(windows))
    (folder / WINDOWS).write_text(bed)
    lm = {"model": "toy", "revision": None, "weights_sha256": "toy", "layer": 3, "hook_name": "toy", "d_model": d}
    facts = {"format_version": 1, "shuffled": shuffled, "lm": lm, "read_strands": ["+"], "genome": {}}
    write_manifest(folder, facts, shards)
    return open_shards(folder)


def whole(shards):
    """All rows and all loci."""
    rows, loci = zip(*shards)
    return np.concatenate(rows), np.concatenate(loci)


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def damage_empty(path):
    path.write_bytes(b"")


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
