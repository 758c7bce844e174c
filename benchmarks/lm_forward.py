"""One window through the first blocks of a HyenaDNA: ours, the plain forward, and the bare matrix products.

    python benchmarks/lm_forward.py --json
    python benchmarks/lm_forward.py --lengths 1024 4096 16384 32768
    python benchmarks/lm_forward.py --alone --lengths 1048576      # peak memory of ours, without that of the process

Every round times the three, one after the other, so that other programs on the machine affect all of them. The figures
are medians of the rounds. CPU seconds are those of all threads.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, HyenaDNAReader, base_tokens

SIZES = {"small-32k": (256, 4, 32768), "tiny-1k": (128, 2, 1024), "nano": (128, 4, 2048)}


def cpu_seconds() -> float:
    """CPU time of this process and its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def random_model(d_model: int, blocks: int, bases: int) -> HyenaDNAForCausalLM:
    """A HyenaDNA whose every parameter is random, biases too, so that no term is zero by chance."""
    torch.manual_seed(0)
    model = HyenaDNAForCausalLM(HyenaDNAConfig(d_model=d_model, n_layer=blocks, max_seq_len=bases + 2)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return model.requires_grad_(False)


def matrix_products(length: int, d: int, layers: int) -> Callable[[], None]:
    """The matrix products of the blocks, operands and results allocated beforehand."""
    shapes = [(d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)]
    work = [(torch.randn(length, k), torch.randn(k, n), torch.empty(length, n)) for k, n in shapes]

    def run() -> None:
        for _ in range(layers):
            for x, weight, out in work:
                torch.mm(x, weight, out=out)

    return run


def measure(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median (CPU, wall) seconds of each function over interleaved rounds, of which the first is not counted."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for _ in range(rounds + 1):
        for name, function in functions.items():
            cpu, wall = cpu_seconds(), time.perf_counter()
            function()
            times[name].append((cpu_seconds() - cpu, time.perf_counter() - wall))
    return {name: tuple(statistics.median(column) for column in zip(*t[1:])) for name, t in times.items()}


def compare(length: int, size: str, layer: int, rounds: int) -> dict[str, float | int | str]:
    """Time one window of `length` bases three ways, and compare the two results."""
    d, blocks, longest = SIZES[size]
    model = random_model(d, blocks, max(longest, length))
    reader = HyenaDNAReader(model, layer)
    sequence = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), length).tobytes()
    ids = torch.from_numpy(base_tokens(sequence))[None]

    @torch.no_grad()
    def plain() -> torch.Tensor:
        return model.hyena(ids, output_hidden_states=True).hidden_states[layer][0]

    ours, expected = reader.activations(sequence), plain()
    names = {"ours": lambda: reader.activations(sequence), "plain": plain, "matmul": matrix_products(length, d, layer)}
    times = measure(names, rounds)
    flop = 2 * length * 12 * d * d * layer
    return {
        "length": length,
        "threads": torch.get_num_threads(),
        **{f"{name}_cpu_s": round(cpu, 4) for name, (cpu, _) in times.items()},
        **{f"{name}_wall_s": round(wall, 4) for name, (_, wall) in times.items()},
        "ours_over_matmul": round(times["ours"][0] / times["matmul"][0], 3),
        "plain_over_ours": round(times["plain"][0] / times["ours"][0], 2),
        "matmul_gflop": round(flop / 1e9, 1),
        "bases_per_s": round(length / times["ours"][1]),
        "cpu_s_per_mb": round(times["ours"][0] / length * 1e6, 2),
        "rel_l2": float((ours - expected).norm() / expected.norm()),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def alone(length: int, size: str, layer: int) -> dict[str, float | int]:
    """Memory that one window of ours needs at most, beyond what the process held before, and its time."""
    d, blocks, longest = SIZES[size]
    reader = HyenaDNAReader(random_model(d, blocks, max(longest, length)), layer)
    reader.activations(b"ACGT")  # the kernels are loaded
    sequence = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), length).tobytes()
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    reader.activations(sequence)
    first, started = time.perf_counter() - started, time.perf_counter()
    reader.activations(sequence)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    again = time.perf_counter() - started
    return {"length": length, "first_s": round(first, 2), "again_s": round(again, 2), "memory_mb": peak // 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a length instead of lines to read")
    parser.add_argument("--alone", action="store_true", help="only ours: memory and time; give one length")
    parser.add_argument("--lengths", type=int, nargs="+", default=[32768], help="bases of the window")
    parser.add_argument("--size", choices=SIZES, default="small-32k")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", "-p", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for length in options.lengths:
        if options.alone:
            result = alone(length, options.size, options.layer)
        else:
            result = compare(length, options.size, options.layer, options.rounds)
        text = json.dumps(result) if options.json else "\n".join(f"{k:18} {v}" for k, v in result.items()) + "\n"
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
