"""Genome tracks: the feature stream as bigWig and BED."""

from sae_tracks.tracks.bed import write_bed
from sae_tracks.tracks.bigwig import write_bigwigs
from sae_tracks.tracks.spool import TrackSpool

__all__ = ["TrackSpool", "write_bed", "write_bigwigs"]
