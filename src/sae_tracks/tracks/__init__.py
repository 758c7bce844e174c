"""Genome tracks: the feature stream as bigWig and BED."""

from sae_tracks.tracks.bed import write_bed, write_beds
from sae_tracks.tracks.bigwig import BigWigValues, merge_bigwigs, write_bigwig_shard, write_bigwigs
from sae_tracks.tracks.examples import top_examples
from sae_tracks.tracks.spool import StoredRuns, TrackSpool

__all__ = [
    "BigWigValues",
    "StoredRuns",
    "TrackSpool",
    "merge_bigwigs",
    "top_examples",
    "write_bed",
    "write_beds",
    "write_bigwig_shard",
    "write_bigwigs",
]
