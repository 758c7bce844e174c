"""Quality of trained autoencoders: compared with SAELens' trainer, on known directions, between seeds, by preset.

    python benchmarks/sae_quality.py frontier shuffled/ > frontier.jsonl
    python benchmarks/sae_quality.py frontier shuffled/ ours-topk:k=16,seed=1 saelens-topk:k=16,lr=6e-3,decay=0.2
    python benchmarks/sae_quality.py known-answer
    python benchmarks/sae_quality.py stability shuffled/
    python benchmarks/sae_quality.py presets shuffled/ > presets.jsonl
    python benchmarks/sae_quality.py plot frontier.jsonl -o frontier.png
    python benchmarks/sae_quality.py plot presets.jsonl -o presets.png

The output is JSON lines, one per run, printed when the run ends. shuffled/ is a folder that `sae-tracks shuffle` wrote;
`sae_runs.py` says which of its rows are for training and which for reporting. Without SAELens
(pip install 'sae-tracks[saelens]'), name the runs of `frontier`.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import known_answer
import torch
from sae_plots import plot, table
from sae_runs import BATCH, CPU, Run, Split, make, score, split, train_ours
from scipy.optimize import linear_sum_assignment

from sae_tracks.evaluate.compare import matched_cosine
from sae_tracks.sae import SAE
from sae_tracks.train.plan import plan_training
from sae_tracks.train.settings import PAPER, TrainSettings
from sae_tracks.train.train import initial_weights, learning_rate

STEPS, KNOWN_STEPS = 500, 256  # of 2,048 rows
SHAPE = "warmup=0.05,decay=0.2"  # of the learning rate, as ours
FRONTIER = (
    *(f"pca:k={k}" for k in (4, 8, 16, 32)),
    *(f"ours-{arch}:k={k}" for arch in ("topk", "batchtopk") for k in (4, 8, 16, 32)),
    *(f"ours-jumprelu:l0_coefficient={c}" for c in (1.2, 0.5, 0.2)),
    *(f"ours-standard:l1={l1}" for l1 in (12, 6, 3, 1.5)),
    *(f"saelens-topk:k=16,lr={lr},{SHAPE},window=15" for lr in (3e-3, 6e-3, 1e-2)),
    *(f"saelens-topk:k={k},lr=6e-3,{SHAPE},window=15" for k in (4, 8, 32)),
    *(f"saelens-topk:k={k},lr=6e-3,{SHAPE}" for k in (4, 8, 16, 32)),
    "saelens-topk:k=16,lr=6e-3",
    *(f"saelens-standard:l1_coefficient={l1},lr=6e-3,{SHAPE}" for l1 in (10, 5, 2.5)),
    f"saelens-standard:l1_coefficient=5,lr=6e-3,{SHAPE},steps=1500",
)
DENSITIES = (0.0, 1e-4, 1e-3, 1e-2, 1.0)


def frontier(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Error against sparsity of many runs."""
    data = split(options.shards)
    for text in options.runs or FRONTIER:
        yield make(data, text, options.steps)


def known(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Share of known directions found by the default settings, before training and after."""
    settings = TrainSettings(k=known_answer.ACTIVE)
    with TemporaryDirectory() as folder:
        data = known_answer.write_shards(Path(folder) / "shards", options.steps * BATCH)
        plan = plan_training(data, settings, d_sae=known_answer.D_SAE, seed=options.seed, device="cpu")
        before = known_answer.share_found(initial_weights(plan, CPU).decoder)
        sae, seconds = train_ours(data, settings, plan.steps, options.seed, d_sae=plan.d_sae)
    found = known_answer.share_found(sae.W_dec)
    yield {"d_sae": plan.d_sae, "found_before": before, "found": found, "rows": plan.rows, "seconds": seconds}


def stability(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Matched cosines of the default between seeds, of all features and by how often they fire."""
    data = split(options.shards)
    for d_sae in options.d_sae:
        saes = [train_ours(data.train, TrainSettings(), options.steps, seed, d_sae=d_sae)[0] for seed in range(3)]
        densities = [_densities(sae, data.test) for sae in saes]
        saes = [replace(sae, stats=None) for sae in saes]
        for one, other in itertools.combinations(range(3), 2):
            whole = matched_cosine(saes[one], saes[other])
            facts = {"d_sae": d_sae, "seeds": [one, other], "matched_cosine": whole.matched_cosine}
            facts |= {"nearest": whole.max_cosine, "shared": whole.shared, "same": whole.same}
            yield facts | {"by_density": _by_density(saes[one], saes[other], densities[one])}


@torch.inference_mode()
def _densities(sae: SAE, x: torch.Tensor) -> torch.Tensor:
    """(d_sae,) share of the rows on which each feature fires."""
    return sum((sae.encode(part) > 0).sum(0) for part in x.split(BATCH)) / len(x)


def _by_density(one: SAE, other: SAE, densities: torch.Tensor) -> list[dict[str, float]]:
    """Mean cosine of the matching, and the share above 0.7, of the features between two densities."""
    cosines = one.W_dec @ other.W_dec.T
    rows, columns = linear_sum_assignment(-cosines.numpy())
    matched, found = cosines[rows, columns], []
    for low, high in itertools.pairwise(DENSITIES):
        of = matched[(densities > low) & (densities <= high)]
        values = {"matched_cosine": of.mean().item(), "shared": (of > 0.7).double().mean().item()} if len(of) else {}
        found.append({"above": low, "to": high, "features": len(of)} | values)
    return found


def presets(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The paper's settings, at its rate and at higher ones, and the default on the same rows."""
    data = split(options.shards)
    runs = {f"paper, lr {lr:g}": replace(PAPER, lr=lr) for lr in (1e-6, 1e-5, 1e-4, 1e-3)}
    for name, settings in ({"default": TrainSettings()} | runs).items():
        yield {"preset": name} | _watched(data, settings, options.steps)


def _watched(data: Split, settings: TrainSettings, steps: int) -> dict[str, Any]:
    """A run with its log, and how far its weights have moved."""
    plan = plan_training(data.train, settings, rows=steps * BATCH, device="cpu")
    start = initial_weights(plan, CPU)
    with TemporaryDirectory() as folder:
        sae, seconds = train_ours(data.train, settings, steps, 0, Path(folder))
        log = [json.loads(line) for line in (Path(folder) / "train_log.jsonl").read_text().splitlines()]
    curve = [{key: line[key] for key in ("rows", "loss", "l0", "fvu")} for line in log]
    moved = {"encoder": _moved(sae.W_enc.T, start.encoder), "decoder": _moved(sae.W_dec, start.decoder)}
    rates = sum(learning_rate(step, steps, settings) for step in range(1, steps + 1))
    return {"seconds": seconds, "moved": moved, "sum_of_rates": rates, **_tested(sae, data), "curve": curve}


def _moved(now: torch.Tensor, before: torch.Tensor) -> dict[str, float]:
    """Median over features of how far a row went, relative to its length at the start; the most of any number."""
    away = now - before
    relative = away.norm(dim=1) / before.norm(dim=1)
    return {"median_relative": relative.median().item(), "largest": away.abs().max().item()}


def _tested(sae: SAE, data: Split) -> dict[str, float]:
    return score(Run(sae.encode, sae.decode, 0.0), data.test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    for verb, rows in ((frontier, True), (known, False), (stability, True), (presets, True)):
        verb_parser = verbs.add_parser("known-answer" if verb is known else verb.__name__, help=verb.__doc__)
        verb_parser.set_defaults(verb=verb)
        if rows:
            verb_parser.add_argument("shards", type=Path, metavar="SHARDS", help="shuffled activations")
        steps = KNOWN_STEPS if verb is known else STEPS
        verb_parser.add_argument("--steps", type=int, default=steps, help="of 2,048 rows")
        verb_parser.add_argument("--threads", "-p", type=int, default=torch.get_num_threads())
        if verb is frontier:
            verb_parser.add_argument("runs", nargs="*", metavar="RUN", help="NAME:key=value,... (default: all)")
        if verb is known:
            verb_parser.add_argument("--seed", type=int, default=0, help="of the first weights")
        if verb is stability:
            verb_parser.add_argument("--d-sae", type=int, nargs="+", default=[4096, 1024], help="dictionary sizes")
    for drawn in (plot, table):
        drawn_parser = verbs.add_parser(drawn.__name__, help=drawn.__doc__)
        drawn_parser.set_defaults(verb=drawn, threads=1)
        drawn_parser.add_argument(
            "records", type=Path, nargs="+", metavar="JSONL", help="what frontier or presets wrote"
        )
        if drawn is plot:
            drawn_parser.add_argument("--out", "-o", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for record in options.verb(options):
        sys.stdout.write((record if isinstance(record, str) else json.dumps(record)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
