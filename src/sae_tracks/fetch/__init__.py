"""Downloads of what users need: models, genomes, motif matrices and sites; checked, cached, resumable."""

from sae_tracks.fetch.cache import cache_folder
from sae_tracks.fetch.genome import fetch_genome
from sae_tracks.fetch.jaspar import fetch_matrices, fetch_sites
from sae_tracks.fetch.model import fetch_model

__all__ = ["cache_folder", "fetch_genome", "fetch_matrices", "fetch_model", "fetch_sites"]
