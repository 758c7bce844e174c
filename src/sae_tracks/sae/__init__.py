"""The sparse autoencoder: model, directory, encoder, and the formats of other programs."""

from sae_tracks.sae.directory import load_sae, save_sae
from sae_tracks.sae.interop import export_sae, import_sae
from sae_tracks.sae.model import SAE

__all__ = ["SAE", "export_sae", "import_sae", "load_sae", "save_sae"]
