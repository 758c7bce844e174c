"""How much of a track depends on where the windows began; what is compared stands in `sae_tracks.seams.measure`."""

from sae_tracks.seams.found import AGREEMENT, Seams, bin_text, write_seams
from sae_tracks.seams.measure import measure_seams

__all__ = ["AGREEMENT", "Seams", "bin_text", "measure_seams", "write_seams"]
