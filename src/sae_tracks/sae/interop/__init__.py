"""SAEs of other programs: read into an SAE directory, and written for them."""

from sae_tracks.sae.interop.convert import Imported, export_sae, import_sae

__all__ = ["Imported", "export_sae", "import_sae"]
