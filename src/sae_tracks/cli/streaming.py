"""Scores of the features of an SAE: counted in one pass over the genome."""

from time import perf_counter
from typing import TYPE_CHECKING

import typer

from sae_tracks.cli.inputs import parse_features
from sae_tracks.cli.options import Scale

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sae_tracks.cli.metrics import Evaluate
    from sae_tracks.controls.holder import Holder
    from sae_tracks.features import FeatureBlock
    from sae_tracks.metrics import Counter, Counts, Evaluation
    from sae_tracks.source import Source


def score_stream(
    source: "Source",
    evaluate: "Evaluate",
    features: str | None,
    thresholds: list[float],
    scale: Scale,
    shard: str | None,
    dry_run: bool,
    hold: "Holder | None",
) -> "tuple[Counts, dict] | None":
    """Counts of features, and the facts of their provenance; None where they are only estimated. `hold` watches."""
    from dataclasses import asdict

    from sae_tracks.features import run
    from sae_tracks.files import digest
    from sae_tracks.metrics import cutoffs_of

    evaluation = evaluate(source.genome, source.regions, source.black_list)
    sinks = hold.watch(evaluation) if hold else []
    counter, blocks = _stream(evaluation, source, features, thresholds, scale, shard, hold)
    if dry_run:
        return typer.echo(f"{size_of(evaluation)}; {_cost(evaluation, counter, blocks)}")
    run(blocks, counter, *sinks)
    counts = counter.counts()
    removed = [asdict(removal) for removal in evaluation.labels.annotation.removed]
    return counts, source.provenance() | {"removed": removed} | {
        "scale": scale.value,
        "thresholds": counts.thresholds.tolist(),
        "cutoffs_sha256": digest(map(str, cutoffs_of(source.sae, thresholds, scale.value).ravel())),
        "halves_sha256": digest([str(evaluation.halves)]),
    }


def _stream(
    evaluation: "Evaluation",
    source: "Source",
    features: str | None,
    thresholds: list[float],
    scale: Scale,
    shard: str | None,
    hold: "Holder | None",
) -> "tuple[Counter, Iterator[FeatureBlock]]":
    """The counter of the features asked for, and the blocks that it is to take in."""
    from sae_tracks.metrics import Counter, cutoffs_of
    from sae_tracks.regions import parse_shard

    ids = source.sae.check_features(parse_features(features)).tolist() if features else None
    cutoffs = cutoffs_of(source.sae, thresholds, scale.value)
    counter = Counter(evaluation, thresholds, cutoffs, features=ids, read_strands=source.read_strands)
    return counter, source.blocks(ids, shard=parse_shard(shard), on_reading=hold.look if hold else None)


def size_of(evaluation: "Evaluation") -> str:
    return f"{evaluation.bases:,} bases, {len(evaluation.labels.concepts):,} concepts"


def _cost(evaluation: "Evaluation", counter: "Counter", blocks: "Iterator[FeatureBlock]") -> str:
    """Memory of the counts, and the time that all bases take if they go as fast as the second window."""
    counts = counter.counts()
    next(blocks, None)  # lays out the windows and warms up
    started = perf_counter()
    block = next(blocks, None)
    if block is None:
        return f"{counts.nbytes / 1e9:.2f} GB of counts; one window, seconds"
    counter.add(block)
    counter.counts()
    seconds = (perf_counter() - started) * evaluation.bases * len(counts.read_strands) / len(block.region)
    return f"{counts.nbytes / 1e9:.2f} GB of counts; about {seconds / 60:,.1f} min"
