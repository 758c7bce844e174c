"""SAEs of other programs: read into an SAE directory, and written for them."""

from sae_tracks.sae.interop.exporting import export_sae
from sae_tracks.sae.interop.importing import Imported, import_sae

__all__ = ["Imported", "export_sae", "import_sae"]
