"""How well features match annotations: exact counts of bases and instances, precision, recall and F1."""

from sae_tracks.metrics.beds import count_bed
from sae_tracks.metrics.counter import THRESHOLDS, Counter, cutoffs_of
from sae_tracks.metrics.counts import Counts, load_counts
from sae_tracks.metrics.evaluation import Evaluation, Labels, annotation_checksums, evaluate_on, halves_on
from sae_tracks.metrics.halves import Halves, split_halves
from sae_tracks.metrics.scores import (
    COUNTS,
    OFFSETS,
    Judge,
    best_features,
    kept_pairs,
    merge_shards,
    read_table,
    score_tables,
    scores,
    shard_facts,
    top_features,
    write_tables,
)

__all__ = [
    "COUNTS",
    "OFFSETS",
    "THRESHOLDS",
    "Counter",
    "Counts",
    "Evaluation",
    "Halves",
    "Judge",
    "Labels",
    "annotation_checksums",
    "best_features",
    "count_bed",
    "cutoffs_of",
    "evaluate_on",
    "halves_on",
    "kept_pairs",
    "load_counts",
    "merge_shards",
    "read_table",
    "score_tables",
    "scores",
    "shard_facts",
    "split_halves",
    "top_features",
    "write_tables",
]
