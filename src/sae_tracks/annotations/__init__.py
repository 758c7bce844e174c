"""Readers and filters of annotations: motif sites, genes, peaks, repeats, any BED."""

from sae_tracks.annotations.read import (
    read_annotation,
    read_annotations,
    read_genes,
    read_regions,
    read_rows,
    read_transcripts,
)
from sae_tracks.annotations.sites import Annotation, Removal, filter_sites

__all__ = [
    "Annotation",
    "Removal",
    "filter_sites",
    "read_annotation",
    "read_annotations",
    "read_genes",
    "read_regions",
    "read_rows",
    "read_transcripts",
]
