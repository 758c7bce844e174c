"""bigWigs of ours, pyBigWig and pybigtools, and the time that tracks add to reading a genome.

    python benchmarks/tracks.py --json
    python benchmarks/tracks.py --json --many 1000    # memory and open files instead; takes minutes

CPU seconds are those of all threads. `writers` writes one track over 10 Mb. `sparse` has values on 2 % of the bases, in
runs of 4 on average, and zeros between them. `dense` has a different value on every base. The time of ours includes
reading back with pyBigWig; those of the others do not. pyBigWig writes intervals (sparse) and values at a fixed step
(dense), and pybigtools writes intervals, both with their default zoom levels. The figures are the best of `--rounds`
interleaved rounds. `bytes` is the size of the file.

`added` writes 100 features, each active on 2 % of the bases, over 200 kb of random sequence with the bundled language
model. `stream_cpu_s` is the time of language model and encoder. The tracks add `spool_cpu_s` and `write_cpu_s`.

`--many N` writes N features and two read strands over 10 Mb, from random blocks in which each feature is active on 1 %
of the bases. It prints CPU seconds without the making of the blocks, the largest memory of the process, and the number
of open files.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pybigtools
import pyBigWig
import torch

from sae_tracks.features import FeatureBlock
from sae_tracks.genome import Genome
from sae_tracks.lm import describe, load_lm
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE
from sae_tracks.source import Source
from sae_tracks.tracks import StoredRuns, TrackSpool
from sae_tracks.tracks.bbi.bigwig import finest_zoom, write_bigwig
from sae_tracks.tracks.bbi.runs import make_runs
from sae_tracks.tracks.bigwig import PLAIN, _write_tracks

BASES, DENSITY, BURST = 10_000_000, 0.02, 4
ADDED, ADDED_BASES, D_SAE = 100, 200_000, 512
MANY_DENSITY, WINDOW = 0.01, 16_384
CHUNK = 1 << 18  # intervals given to a writer at once


def sparse_values(rng: np.random.Generator) -> np.ndarray:
    """(BASES,) float32."""
    values = np.zeros(BASES, np.float32)
    starts = rng.choice(BASES // 16, int(BASES * DENSITY / BURST), replace=False) * 16
    lengths = np.minimum(rng.geometric(1 / BURST, len(starts)), 15)
    for offset in range(15):
        at = starts[lengths > offset] + offset
        values[at] = rng.gamma(2, 0.5, len(at))
    return values


def intervals_of(values: np.ndarray) -> np.ndarray:
    """Return the runs of equal values."""
    edges = np.concatenate(([0], np.flatnonzero(np.diff(values)) + 1, [len(values)]))
    return make_runs(edges[:-1], edges[1:], values[edges[:-1]])


def write_ours(path: Path, runs: np.ndarray, density: float) -> None:
    write_bigwig(path, {"c": BASES}, [("c", runs)], finest_zoom(density))


def write_pybigwig(path: Path, runs: np.ndarray, density: float) -> None:
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader([("c", BASES)])
        for first in range(0, len(runs), CHUNK):
            part = runs[first : first + CHUNK]
            values = part["value"].astype(np.float64)
            if density == 1:
                file.addEntries("c", first, values=values, span=1, step=1, validate=False)
            else:
                starts, ends = (part[name].astype(np.uint32) for name in ("start", "end"))
                file.addEntries(["c"] * len(part), starts, ends=ends, values=values, validate=False)


def write_pybigtools(path: Path, runs: np.ndarray, density: float) -> None:
    def items() -> Iterator[tuple[str, int, int, float]]:
        for first in range(0, len(runs), CHUNK):
            part = runs[first : first + CHUNK]
            yield from zip(["c"] * len(part), *(part[name].tolist() for name in ("start", "end", "value")))

    pybigtools.open(str(path), "w").write({"c": BASES}, items())


def cpu_seconds(call: Callable[..., object], *arguments) -> float:
    started = time.process_time()
    call(*arguments)
    return time.process_time() - started


def compare_writers(folder: Path, rounds: int) -> dict:
    """CPU seconds and bytes of every writer in both regimes."""
    rng = np.random.default_rng(0)
    writers = {"ours": write_ours, "pybigwig": write_pybigwig, "pybigtools": write_pybigtools}
    found = {}
    for regime, values in {"sparse": sparse_values(rng), "dense": rng.gamma(2, 0.5, BASES).astype(np.float32)}.items():
        runs, density = intervals_of(values), float(np.mean(values > 0))
        write_ours(folder / "warm.bw", runs[:100], density)
        seconds = {name: [] for name in writers}
        for _ in range(rounds):
            for name, write in writers.items():
                seconds[name].append(cpu_seconds(write, folder / f"{name}.bw", runs, density))
        sizes = {name: (folder / f"{name}.bw").stat().st_size for name in writers}
        found[regime] = {name: {"cpu_s": round(min(seconds[name]), 3), "bytes": sizes[name]} for name in writers}
        found[regime]["intervals"] = len(runs)
    return found


def sae_of_density(lm, genome: Genome, density: float) -> SAE:
    """Return an SAE of random directions, with biases so that every feature is active on this share of the bases."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(lm.d_model, D_SAE, generator=generator)
    sample = genome.sequence(GenomicRegion("c", 0, lm.max_length))
    bias = -(lm.activations(sample) @ directions).quantile(1 - density, dim=0)
    return SAE(directions, bias, directions.T.contiguous(), torch.zeros(lm.d_model), metadata={"lm": describe(lm)})


def added_cost(folder: Path) -> dict:
    """Measure the time that 100 features add to reading."""
    letters = np.random.default_rng(1).choice(np.frombuffer(b"ACGT", np.uint8), ADDED_BASES).tobytes().decode()
    (folder / "g.fa").write_text(f">c\n{letters}\n")
    genome, lm = Genome(folder / "g.fa"), load_lm("demo", device="cpu")
    source = Source(lm, sae_of_density(lm, genome, DENSITY), genome)
    ids = list(range(ADDED))
    list(Source(lm, source.sae, genome, [GenomicRegion("c", 0, 4096)]).blocks(ids))  # compiles
    started = time.process_time()
    blocks = list(source.blocks(ids))
    stream = time.process_time() - started
    spool, write, _ = spool_and_write(folder / "added", iter(blocks), genome.lengths, ids, ["+"])
    return {
        "features": ADDED,
        "bases": ADDED_BASES,
        "density": round(sum(len(block.value) for block in blocks) / ADDED / ADDED_BASES, 4),
        "stream_cpu_s": round(stream, 2),
        "spool_cpu_s": round(spool, 3),
        "write_cpu_s": round(write, 3),
        "share": round((spool + write) / stream, 4),
    }


def spool_and_write(folder: Path, blocks: Iterator[FeatureBlock], lengths: dict, ids: list[int], strands: list[str]):
    """Return the CPU seconds of the spool and of writing the bigWigs, and the number of open files."""
    spooling, opened = 0.0, 0
    facts = {"features": ids, "read_strands": strands, **asdict(PLAIN)}
    folder.mkdir()
    with TrackSpool(lengths, ids, folder / "spool", facts=facts, keep=True) as spool:
        for block in blocks:
            spooling += cpu_seconds(spool.add, block)
        spooling += cpu_seconds(spool.seal)
    with StoredRuns([folder / "spool"]) as runs:
        opened = sum(1 for _ in Path("/proc/self/fd").iterdir())  # Linux
        writing = cpu_seconds(_write_tracks, runs, facts, folder)
    return spooling, writing, opened


def made_up(features: int, strand: str) -> Iterator[FeatureBlock]:
    """Yield random blocks of many features."""
    rng = np.random.default_rng(ord(strand))
    for start in range(0, BASES, WINDOW):
        n = min(WINDOW, BASES - start)
        place = np.unique(rng.integers(0, n * features, int(n * features * MANY_DENSITY)))
        row, feature = np.divmod(place, features)
        indptr = np.searchsorted(row, np.arange(n + 1))
        values = rng.gamma(2, 0.5, len(row)).astype(np.float32)
        region = GenomicRegion("c", start, start + n)
        yield FeatureBlock(region, strand, np.ones(n, bool), indptr, feature.astype(np.int32), values, features)


def many_features(folder: Path, count: int) -> dict:
    """Measure memory and open files in one pass over many features and both read strands."""
    blocks = (block for strand in "+-" for block in made_up(count, strand))
    ids = list(range(count))
    spool, write, opened = spool_and_write(folder / "many", blocks, {"c": BASES}, ids, ["+", "-"])
    return {
        "features": count,
        "tracks": len(list((folder / "many").glob("*.bw"))),
        "spool_cpu_s": round(spool, 1),
        "write_cpu_s": round(write, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "open_files": opened,
        "open_files_allowed": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON (the only format)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--many", type=int, metavar="N", help="the limits of one pass over N features, instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if arguments.many:
            found = {"many": many_features(folder, arguments.many)}
        else:
            found = {"writers": compare_writers(folder, arguments.rounds), "added": added_cost(folder)}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
