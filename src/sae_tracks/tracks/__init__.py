"""Genome tracks: the feature stream as bigWig and BED."""

from sae_tracks.tracks.bed import write_bed
from sae_tracks.tracks.bigwig import Values, write_bigwigs
from sae_tracks.tracks.parts import merge_bigwigs, write_part
from sae_tracks.tracks.spool import TrackSpool
from sae_tracks.tracks.stored import StoredRuns

__all__ = ["StoredRuns", "TrackSpool", "Values", "merge_bigwigs", "write_bed", "write_bigwigs", "write_part"]
