"""One training step of a sparse autoencoder: ours, autograd, SAELens, and the bare matrix products.

    python benchmarks/sae_step.py --json                   # as initialised: half of the features fire
    python benchmarks/sae_step.py --json --l0 64
    python benchmarks/sae_step.py --json --l0 64 --load 2  # beside two busy processes
    python benchmarks/sae_step.py --sweep                  # sparse and dense backward pass against density
    python benchmarks/sae_step.py --sweep --plot step.png

Every round times all of them, one after the other, so that other programs on the machine affect all. The figures
are medians of the rounds, in wall time. With --cpu they are CPU time divided by the number of threads, for a machine on
which other programs run. All are float32, with Adam.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from torch.nn import functional as F

from sae_tracks.train.parallel import Processes
from sae_tracks.train.settings import ARCHS, TrainSettings
from sae_tracks.train.step import PlainStep, Weights, make_step

L1, LR = 0.1, 1e-6
POOL = 8  # batches of activations
NEAR = 1e-5  # pre-activations this close to 0 may be on either side of it
WAYS = {"sparse": "#0072B2", "dense": "#E69F00"}  # Okabe and Ito: safe for the colour-blind
Step = Callable[[torch.Tensor], object]


def activations(rows: int, d: int) -> torch.Tensor:
    """(rows, d): non-negative combinations of 16 of 8,192 directions, some far more frequent, and a little noise."""
    draw = torch.Generator().manual_seed(0)
    directions = F.normalize(torch.randn(8192, d, generator=draw), dim=1)
    chosen = torch.multinomial(torch.arange(1, 8193).double().rsqrt(), rows * 16, replacement=True, generator=draw)
    sizes = 0.5 - 0.5 * torch.log1p(-torch.rand(rows, 16, generator=draw))
    x = F.embedding_bag(chosen.view(rows, 16), directions, per_sample_weights=sizes, mode="sum")
    x += 0.02 * torch.randn(rows, d, generator=draw)
    return x * (d**0.5 / x.norm(dim=1).mean())


def start(d: int, d_sae: int, bias: float, dtype: torch.dtype = torch.float32) -> Weights:
    """Random unit rows, the same in encoder and decoder."""
    weights = Weights.zeros(d, d_sae, dtype)
    weights.decoder.copy_(F.normalize(torch.randn(d_sae, d, generator=torch.Generator().manual_seed(1)), dim=1))
    weights.encoder.copy_(weights.decoder)
    weights.b_enc.fill_(bias)
    return weights


def bias_for(l0: float, x: torch.Tensor, weights: Weights) -> float:
    """The bias at which a row has l0 features, on average over some rows."""
    h = (x[:256] @ weights.encoder.T).flatten()
    return -h.kthvalue(len(h) - round(l0 * len(x[:256])) + 1).values.item() if l0 else 0.0


def ours(weights: Weights, settings: TrainSettings, plain: bool = False) -> Step:
    """Our step, or its plain form."""
    alone = Processes(0, 1, weights.flat.device)
    make = PlainStep if plain else make_step
    step = make(weights, Weights.like(weights), Weights.like(weights), settings, settings.batch_size, alone)
    number = count(1)
    return lambda x: step(x, LR, next(number))


def autograd(weights: Weights) -> Step:
    """The usual loop: torch differentiates, torch.optim.Adam learns."""
    parts = (weights.encoder, weights.b_enc, weights.decoder, weights.b_dec)
    encoder, b_enc, decoder, b_dec = parameters = [torch.nn.Parameter(part.clone()) for part in parts]
    adam = torch.optim.Adam(parameters, lr=LR)

    def step(x: torch.Tensor) -> None:
        adam.zero_grad()
        f = F.relu(F.linear(x - b_dec, encoder, b_enc))
        error = f @ decoder + b_dec - x
        (error.square().sum(1).mean() + L1 * (f * decoder.norm(dim=1)).sum(1).mean()).backward()
        adam.step()

    return step


def saelens(d: int, d_sae: int, batch: int, bias: float) -> Step | None:
    """SAELens' own trainer, its Standard architecture; None where it is not installed."""
    try:
        from sae_lens import StandardTrainingSAE, StandardTrainingSAEConfig
        from sae_lens.config import SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer
    except ImportError:
        return None
    sae = StandardTrainingSAE(StandardTrainingSAEConfig(d_in=d, d_sae=d_sae, l1_coefficient=L1))
    sae.b_enc.data.fill_(bias)
    config = SAETrainerConfig(total_training_samples=10**9, train_batch_size_samples=batch, lr=LR, lr_end=LR)
    trainer = SAETrainer(config, sae, iter(()))

    def step(x: torch.Tensor) -> None:
        trainer.step(x)
        trainer.n_training_steps += 1

    return step


def products(d: int, d_sae: int, batch: int) -> dict[str, Step]:
    """The five matrix products of a dense step, results allocated beforehand; and the encoder's alone."""
    x, w, f = torch.randn(batch, d), torch.randn(d_sae, d), torch.randn(batch, d_sae)
    wide, narrow, weight = torch.empty(batch, d_sae), torch.empty(batch, d), torch.empty(d_sae, d)

    def five(_: torch.Tensor) -> None:
        torch.mm(x, w.T, out=wide)
        torch.mm(f, w, out=narrow)
        torch.mm(f.T, x, out=weight)
        torch.mm(x, w.T, out=wide)
        torch.mm(f.T, x, out=weight)

    return {"matmul5": five, "encoder": lambda _: torch.mm(x, w.T, out=wide)}


def deviation(weights: Weights, settings: TrainSettings, x: torch.Tensor) -> float:
    """Of our gradients from float64 ones, relative to the largest; on rows where rounding decides nothing."""
    alone = Processes(0, 1, weights.flat.device)
    exact = Weights(weights.flat.double(), weights.d_in, weights.d_sae)
    h = (x.double() - exact.b_dec) @ exact.encoder.T + exact.b_enc
    x = x[h.abs().amin(1) > NEAR]
    settings = replace(settings, batch_size=len(x))
    _, got = make_step(weights, weights, weights, settings, len(x), alone).gradients(x)
    _, expected = PlainStep(exact, exact, exact, settings, len(x), alone).gradients(x.double())
    return ((got.flat - expected.flat).abs().max() / expected.flat.abs().max()).item()


def measure(steps: dict[str, Step], batches: torch.Tensor, options: argparse.Namespace) -> dict[str, float]:
    """Median milliseconds a step over interleaved rounds, of which the first is not counted."""
    clock, share = (time.process_time, options.threads) if options.cpu else (time.perf_counter, 1)
    times: dict[str, list[float]] = {name: [] for name in steps}
    turn = count()
    for _ in range(options.rounds + 1):
        for name, step in steps.items():
            started = clock()
            for _ in range(options.steps):
                step(batches[next(turn) % len(batches)])
            times[name].append((clock() - started) / share / options.steps * 1e3)
    return {name: round(statistics.median(t[1:]), 2) for name, t in times.items()}


@contextmanager
def load(processes: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    busy = [multiprocessing.get_context("spawn").Process(target=_busy, daemon=True) for _ in range(processes)]
    for process in busy:
        process.start()
    try:
        yield
    finally:
        for process in busy:
            process.kill()


def _busy() -> None:
    while True:
        sum(range(10**6))


def compare(options: argparse.Namespace) -> dict[str, float | int | str | None]:
    """All of them, and their ratios."""
    d, d_sae, batch = options.d_in, options.d_sae, options.batch
    x = activations(POOL * batch, d).view(POOL, batch, d)
    bias = bias_for(options.l0, x[0], start(d, d_sae, 0.0))
    settings = TrainSettings(arch=options.arch, l1=L1, k=options.l0 or 64, batch_size=batch)
    steps = {"ours": ours(start(d, d_sae, bias), settings), "plain": ours(start(d, d_sae, bias), settings, plain=True)}
    steps |= products(d, d_sae, batch) | {"autograd": autograd(start(d, d_sae, bias))}
    if theirs := saelens(d, d_sae, batch, bias):
        steps["saelens"] = theirs
    with load(options.load):
        times = measure(steps, x, options)
    l0 = steps["ours"](x[0]).l0
    result = {f"{name}_ms": times.get(name) for name in (*steps, "saelens")}
    return {
        **result,
        "l0": round(l0, 1),
        "arch": options.arch,
        "threads": torch.get_num_threads(),
        "saelens_over_ours": round(times["saelens"] / times["ours"], 2) if theirs else None,
        "matmul5_over_ours": round(times["matmul5"] / times["ours"], 3),
        "ours_over_encoder": round(times["ours"] / times["encoder"], 3),
        "deviation_from_fp64": deviation(start(d, d_sae, bias), settings, x[0]),
    }


def sweep(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Sparse and dense backward passes of the same batch, and SAELens' step, at one density after another."""
    d, d_sae, batch = options.d_in, options.d_sae, options.batch
    x = activations(batch, d)[None]
    for density in (0.001, 0.002, 0.004, 0.008, 0.016, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5):
        bias = bias_for(density * d_sae, x[0], start(d, d_sae, 0.0))
        shares = {"sparse": 1.0, "dense": 0.0}
        kinds = {n: TrainSettings(arch="standard", l1=L1, batch_size=batch, sparse_below=s) for n, s in shares.items()}
        steps = {name: ours(start(d, d_sae, bias), settings) for name, settings in kinds.items()}
        if theirs := saelens(d, d_sae, batch, bias):
            steps["saelens"] = theirs
        yield {"density": density} | measure(steps, x, options)


def draw(records: list[dict[str, float]]) -> Figure:
    """What `sweep` measured: time against density."""
    figure = Figure((7, 4), layout="constrained")
    axes = figure.subplots()
    for way, colour in WAYS.items():
        axes.plot([100 * r["density"] for r in records], [r[way] for r in records], "o-", color=colour, ms=4, label=way)
    if theirs := [r["saelens"] for r in records if "saelens" in r]:
        axes.axhline(statistics.median(theirs), color="#999999", ls="--", label="SAELens, Standard")
    axes.set(xscale="log", yscale="log", xlabel="active features, %", ylabel="ms per step")
    for axis, ticks in ((axes.xaxis, (0.1, 0.3, 1, 3, 10, 30)), (axes.yaxis, (25, 50, 100, 200, 400, 800))):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="a JSON object instead of lines to read")
    parser.add_argument("--sweep", action="store_true", help="a JSON object a density")
    parser.add_argument("--plot", type=Path, help="a figure of the sweep")
    parser.add_argument("--l0", type=int, default=0, help="features a row at the start; 0: half of all")
    parser.add_argument("--arch", choices=ARCHS, default="standard")
    parser.add_argument("--d-in", type=int, default=256)
    parser.add_argument("--d-sae", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="of each in a round")
    parser.add_argument("--cpu", action="store_true", help="time of the processors, not wall time")
    parser.add_argument("--load", type=int, default=0, help="busy processes beside it")
    parser.add_argument("--threads", "-p", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.sweep:
        records = []
        for record in sweep(options):
            records.append(record)
            sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()
        if options.plot:
            draw(records).savefig(options.plot, dpi=150, metadata={"Software": None})
        return
    result = compare(options)
    text = json.dumps(result) if options.json else "\n".join(f"{k:20} {v}" for k, v in result.items())
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
