"""Speed, memory and exactness on one GPU, as one JSON object; with `--device cpu` the same on a CPU, for comparison.

    bash benchmarks/gpu.sh                         # on a machine with a GPU: less than ten minutes, no network
    python benchmarks/gpu.py --device cpu --small  # seconds, sizes of a test

All inputs are drawn: a HyenaDNA of the size of small-32k, an SAE of 8,192 features of its third block, sequence,
annotations and variants. Each part has a key of the result. A part that fails says why and stops no other.

| part | measured |
|---|---|
| `lm` | bases per second of the blocks, beside their matrix products alone and a copy of 20 rows per base and block |
| `lm_parity` | relative difference of the activations from float64, in float32, TF32 and bfloat16 |
| `sae` | training steps per second at 64 active features, beside the five matrix products of a dense step |
| `sae_parity` | largest difference of a step's gradients from float64, relative to the largest gradient |
| `encoder` | bases per second from activations to features, beside the matrix product; what differs from the CPU's |
| `table` | seconds from sequence to the table of all pairs, and those that the length of chr14 would take |
| `variants` | variants per second |

`memory_gb` is the most that torch had allocated on the GPU.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lm_forward import random_model
from sae_step import activations, bias_for, deviation, ours, products, start
from scipy.sparse import csr_array

from sae_tracks import Genome, Source, score, variant_effects
from sae_tracks.insight.vcf import Variant
from sae_tracks.lm import HyenaDNAReader
from sae_tracks.lm.tokens import base_tokens
from sae_tracks.sae import SAE
from sae_tracks.sae.encoder import DeviceEncoder, Sparse, SparseEncoder
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.step import Weights

CHR14 = 107_043_718  # bases of chr14 of hg38
L0 = 64
SIZES = {"small": (64, 512, 4_096, 128), "whole": (256, 8192, 32_768, 2048)}  # d_model, d_sae, window, batch


class Benchmark:
    """The parts, on one device and of one size."""

    def __init__(self, device: str, small: bool, bases: int) -> None:
        self.device, self.bases = torch.device(device), bases
        self.d, self.d_sae, self.window, self.batch = SIZES["small" if small else "whole"]
        self.rounds = 2 if small else 9
        self.model = random_model(self.d, 4, self.window)
        draw = np.random.default_rng(0)
        self.sequence = draw.choice(np.frombuffer(b"ACGT", np.uint8), bases).tobytes()
        self.letters = self.sequence[: self.window].ljust(self.window, b"A")

    def seconds(self, call: Callable[[], object]) -> float:
        """Median wall time of a call over the rounds, of which the first is not counted."""
        times = []
        for _ in range(self.rounds + 1):
            self.wait()
            started = time.perf_counter()
            call()
            self.wait()
            times.append(time.perf_counter() - started)
        return statistics.median(times[1:])

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def lm(self) -> dict[str, float]:
        """Bases per second, and the floors."""
        reader, d, n = HyenaDNAReader(self.model.to(self.device), 3), self.d, self.window
        took = self.seconds(lambda: reader.activations(self.letters))
        shapes = [(d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)]
        pairs = [(torch.randn(n, k, device=self.device), torch.randn(k, m, device=self.device)) for k, m in shapes]
        floor = self.seconds(lambda: [x @ weight for _ in range(3) for x, weight in pairs])
        moved = torch.empty(3 * 40 * n * d, dtype=torch.uint8, device=self.device)  # 20 reads or writes of n x d floats
        copied = self.seconds(moved.clone)
        return {
            "bases_per_s": n / took,
            "times_matrix_products": took / floor,
            "times_copy": took / copied,
            "tflops": 2 * n * 12 * d * d * 3 / took / 1e12,
        }

    def lm_parity(self) -> dict[str, float]:
        """Differences from float64 on the CPU."""
        exact = random_model(self.d, 4, self.window).double()
        ids = torch.from_numpy(base_tokens(self.letters))[None]
        with torch.no_grad():
            expected = exact.hyena(ids, output_hidden_states=True).hidden_states[3][0]
        reader, found = HyenaDNAReader(self.model.to(self.device), 3), {}

        def difference() -> float:
            return ((reader.activations(self.letters).double() - expected).norm() / expected.norm()).item()

        found["float32"] = difference()
        if self.device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = True
            found["tf32"] = difference()
            torch.backends.cuda.matmul.allow_tf32 = False
            with torch.autocast("cuda", torch.bfloat16):
                found["bfloat16"] = difference()
        return found

    def sae(self) -> dict[str, float]:
        """Steps per second of our step and of its plain form."""
        x = activations(self.batch, self.d)
        bias = bias_for(L0, x, start(self.d, self.d_sae, 0.0))
        settings, x = TrainSettings(arch="standard", batch_size=self.batch), x.to(self.device)
        found = {}
        for name, plain in (("", False), ("plain_", True)):
            step: Any = ours(self._weights(bias), settings, plain=plain)
            found[f"{name}steps_per_s"] = 1 / self.seconds(partial(step, x))
            found[f"{name}l0"] = float(step(x).l0)
        with self.device:
            five = products(self.d, self.d_sae, self.batch)["matmul5"]
            found["times_matrix_products"] = 1 / found["steps_per_s"] / self.seconds(lambda: five(x))
        return found

    def sae_parity(self) -> dict[str, float]:
        """Differences of gradients from float64."""
        x = activations(self.batch, self.d)
        bias = bias_for(L0, x, start(self.d, self.d_sae, 0.0))
        found = {}
        for arch in ("standard", "topk"):
            settings = TrainSettings(arch=arch, k=L0, batch_size=self.batch)
            found[arch] = deviation(self._weights(bias), settings, x.to(self.device))
        return found

    def encoder(self) -> dict[str, float]:
        """Bases per second, activations and features both in the CPU's memory, and differences from its kernel."""
        x, n = activations(self.window, self.d), self.window
        weights = start(self.d, self.d_sae, bias_for(L0, x, start(self.d, self.d_sae, 0.0)))
        sae = SAE(weights.encoder.T, weights.b_enc, weights.decoder, weights.b_dec)
        on_device, on_cpu = DeviceEncoder.of(sae, device=self.device), SparseEncoder.of(sae)
        took = self.seconds(lambda: on_device.encode(x))
        rows, weight = x.to(self.device), sae.W_enc.to(self.device)
        floor = self.seconds(lambda: rows @ weight)
        found, expected = (self._as_matrix(encoder.encode(x)) for encoder in (on_device, on_cpu))
        return {
            "bases_per_s": n / took,
            "times_matrix_product": took / floor,
            "l0": found.nnz / n,
            "active_on_one_only": ((found > 0) != (expected > 0)).nnz / expected.nnz,
            "difference": abs(found - expected).max() / expected.max(),
        }

    def table(self) -> dict[str, float]:
        """Seconds from sequence to scores of all pairs, without controls."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            source = self._source(folder)
            sites = np.random.default_rng(1).integers(0, self.bases - 20, self.bases // 10)
            rows = [f"c\t{at}\t{at + 12}\tM{i % 879:04}\t0\t{'+-'[i % 2]}\n" for i, at in enumerate(np.sort(sites))]
            (folder / "sites.bed").write_text("".join(rows))
            started = time.perf_counter()
            found = score(source, [folder / "sites.bed"], folder / "out", all_pairs=True, controls=None)
            took = time.perf_counter() - started
            if found.table.empty:
                raise RuntimeError("the table is empty")
        return {"bases": self.bases, "seconds": took, "chr14_seconds": took * CHR14 / self.bases}

    def variants(self) -> dict[str, float]:
        """Variants per second, of 500 across the sequence."""
        with tempfile.TemporaryDirectory() as name:
            source = self._source(Path(name))
            at = range(100, self.bases - 100, max((self.bases - 200) // 500, 1))
            other = {b"A": b"G", b"C": b"T", b"G": b"A", b"T": b"C"}
            some = [Variant("c", i, one, other[one]) for i in at if (one := self.sequence[i : i + 1])]
            started = time.perf_counter()
            for _ in variant_effects(source, some):
                pass
            return {"variants": len(some), "variants_per_s": len(some) / (time.perf_counter() - started)}

    def _as_matrix(self, encoded: Sparse) -> csr_array:
        indptr, feature, value = encoded
        return csr_array((value, feature, indptr), shape=(len(indptr) - 1, self.d_sae))

    def _weights(self, bias: float) -> Weights:
        weights = start(self.d, self.d_sae, bias)
        return Weights(weights.flat.to(self.device), self.d, self.d_sae)

    def _source(self, folder: Path) -> Source:
        """The sequence, and an SAE of which about 64 features are active."""
        (folder / "g.fa").write_text(f">c\n{self.sequence.decode()}\n")
        reader = HyenaDNAReader(self.model.to(self.device), 3)
        weights = start(self.d, self.d_sae, 0.0)
        rows = reader.activations(self.letters)
        weights.b_enc.fill_(bias_for(L0, rows, weights))
        highest, share = np.float32(rows.norm(dim=1).max()), np.float32(L0 / self.d_sae)
        numbers = {"max": highest, "mean": np.float32(1), "density": share}
        stats = pd.DataFrame({"feature": np.arange(self.d_sae, dtype=np.int32), **numbers, "dead": False})
        sae = SAE(weights.encoder.T, weights.b_enc, weights.decoder, weights.b_dec, stats=stats)
        return Source(reader, sae, Genome(folder / "g.fa"))


PARTS = ("lm", "lm_parity", "sae", "sae_parity", "encoder", "table", "variants")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes of a test")
    parser.add_argument("--bases", type=int, help="of the table and the variants (default: 2 Mb, with --small 220 kb)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    asked = parser.parse_args()
    benchmark = Benchmark(asked.device, asked.small, asked.bases or (220_000 if asked.small else 2_000_000))
    cuda = asked.device.startswith("cuda")
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "triton": os.environ.get("SAE_TRACKS_TRITON", "0") not in ("", "0"),
    }
    for part in asked.only:
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        try:
            result = {key: float(f"{value:.4g}") for key, value in getattr(benchmark, part)().items()}
        except Exception as error:
            result = {"failed": f"{type(error).__name__}: {error}"}
        if cuda:
            result["memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
        found[part] = result
        print(part, result, file=sys.stderr, flush=True)
    print(json.dumps(found))
    sys.exit(any("failed" in part for part in found.values() if isinstance(part, dict)))


if __name__ == "__main__":
    main()
