"""How well features match annotations: exact counts of bases and instances, precision, recall and F1."""

from sae_tracks.metrics.beds import count_bed
from sae_tracks.metrics.counter import THRESHOLDS, Counter, cutoffs_of
from sae_tracks.metrics.counts import Counts, load_counts
from sae_tracks.metrics.evaluation import Evaluation, Labels, annotation_checksums, evaluate_on, halves_on
from sae_tracks.metrics.halves import Halves, split_halves
from sae_tracks.metrics.scores import (
    BEST_SCORES,
    COUNTS,
    OFFSETS,
    Judge,
    add_shards,
    best_features,
    kept_pairs,
    read_table,
    refuse_beside,
    score_tables,
    scores,
    shard_facts,
    top_features,
    write_tables,
)

__all__ = [
    "BEST_SCORES",
    "COUNTS",
    "OFFSETS",
    "THRESHOLDS",
    "Counter",
    "Counts",
    "Evaluation",
    "Halves",
    "Judge",
    "Labels",
    "add_shards",
    "annotation_checksums",
    "best_features",
    "count_bed",
    "cutoffs_of",
    "evaluate_on",
    "halves_on",
    "kept_pairs",
    "load_counts",
    "read_table",
    "refuse_beside",
    "score_tables",
    "scores",
    "shard_facts",
    "split_halves",
    "top_features",
    "write_tables",
]
