"""What a genome costs: what ``--dry-run`` estimates on one region, scaled to all bases of the genome.

    python benchmarks/cost.py SHUFFLED SAE GENOME ANNOTATION [-r REGION] [--bases 2.94e9] [--windows 500]

SHUFFLED and SAE come from a small run of the same language model, dictionary size and k; the region has at least three
windows. An extraction of `windows` windows is trained on once. Prints one row per step. CPU hours are those of all
threads. Measure on an idle machine: where programs compete for the cores, CPU hours grow several times as well. Control
tests are not timed, and neither is the shuffle.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sae_tracks import Genome, Source, load_sae, open_shards, plan_extraction, plan_training
from sae_tracks.activations.extract import estimate as estimate_extraction
from sae_tracks.controls.opened import STANDARD
from sae_tracks.controls.score import ScoreTask
from sae_tracks.metrics import THRESHOLDS
from sae_tracks.source import sae_language_model
from sae_tracks.threads import Took
from sae_tracks.tracks.export import estimate as estimate_tracks
from sae_tracks.train.settings import RECIPES
from sae_tracks.train.train import time_step

GB = 1e9


class Step(NamedTuple):
    """A row of the table."""

    name: str
    took: Took | None  # None: not timed
    memory: int  # bytes
    disk: int  # bytes


def steps(words: argparse.Namespace, scratch: Path) -> Iterator[Step]:
    """Estimate one step after the other."""
    sae, genome, data = load_sae(words.sae), Genome(words.genome), open_shards(words.shuffled)
    lm = sae_language_model(sae, words.model, "cpu", False)
    regions = [genome.region(name) for name in words.region] or None
    source = Source(lm, sae, genome, regions, context=words.context)
    bases = sum(len(window.kept) for window in source.windows("+"))
    scale = words.bases / bases if words.bases else 1

    read = plan_extraction(
        lm, genome, regions, sample=min(words.windows, len(source.windows("+"))), context=words.context
    )
    expected = estimate_extraction(read)
    more = words.windows / len(read.windows)
    yield Step("extract", expected.took.times(more), expected.memory, round(expected.disk * more))
    yield Step("shuffle", None, 4 << 30, round(2 * expected.disk * more))
    settings = replace(RECIPES["topk"], k=sae.k or 0)
    plan = plan_training(data, settings, d_sae=sae.d_sae, rows=data.rows, device="cpu")
    rows = expected.bases * more / settings.batch_size
    yield Step("train", time_step(plan).times(rows), plan.memory, 0)
    scoring = ScoreTask(source, words.annotations, scratch, None, THRESHOLDS, "max", None, STANDARD).estimate()
    assert scoring.took, "the region has too few windows"
    yield Step("metrics", scoring.took.times(scale), scoring.memory, round(scoring.disk * scale))
    tracks = estimate_tracks(source, range(words.tracks))
    yield Step("export-bigwig", tracks.took.times(scale), tracks.memory, round(tracks.disk * scale))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("shuffled", "sae", "genome"):
        parser.add_argument(name)
    parser.add_argument("annotations", nargs="+")
    parser.add_argument("-r", "--region", action="append", default=[])
    parser.add_argument("--bases", type=float, help="of the genome, without N (default: those of the region)")
    parser.add_argument("--windows", type=int, default=500)
    parser.add_argument("--context", type=int)
    parser.add_argument("--tracks", type=int, default=50)
    parser.add_argument("--model")
    words = parser.parse_args()
    print("step\tCPU hours\tclock hours\tmemory GB\tdisk GB")
    with tempfile.TemporaryDirectory() as scratch:
        for step in steps(words, Path(scratch)):
            hours = [f"{value / 3600:.4g}" for value in step.took] if step.took else ["", ""]
            print(
                step.name, hours[1], hours[0], f"{step.memory / GB:.3g}", f"{step.disk / GB:.3g}", sep="\t", flush=True
            )


if __name__ == "__main__":
    main()
