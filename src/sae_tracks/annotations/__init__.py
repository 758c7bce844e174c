"""Readers and filters of annotations: motif sites, exons, peaks, repeats, any BED."""

from sae_tracks.annotations.filters import filter_sites
from sae_tracks.annotations.read import Annotation, read_annotation, read_annotations, read_regions

__all__ = ["Annotation", "filter_sites", "read_annotation", "read_annotations", "read_regions"]
