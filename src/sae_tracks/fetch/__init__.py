"""Downloads of what users need: models, genomes, annotations, motif matrices and sites; checked, cached, resumable."""

from sae_tracks.fetch.annotations import fetch_annotation
from sae_tracks.fetch.cache import cache_folder
from sae_tracks.fetch.genomes import fetch_genome, fetch_matrices, fetch_sites
from sae_tracks.fetch.model import fetch_model

__all__ = ["cache_folder", "fetch_annotation", "fetch_genome", "fetch_matrices", "fetch_model", "fetch_sites"]
