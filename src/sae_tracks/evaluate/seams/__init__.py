"""How much of a track depends on where the windows began; `measure` says what is compared."""

from sae_tracks.evaluate.seams.found import AGREEMENT, Seams, bin_text, write_seams
from sae_tracks.evaluate.seams.measure import measure_seams

__all__ = ["AGREEMENT", "Seams", "bin_text", "measure_seams", "write_seams"]
