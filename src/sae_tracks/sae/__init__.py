"""The sparse autoencoder and its directory."""

from sae_tracks.sae.directory import load_sae, save_sae
from sae_tracks.sae.model import SAE

__all__ = ["SAE", "load_sae", "save_sae"]
