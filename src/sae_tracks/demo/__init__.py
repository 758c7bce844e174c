"""The demos: the whole path on chromosomes of yeast, and on a small genome with known truth."""

from sae_tracks.demo.genome import DemoGenome, make_genome
from sae_tracks.demo.planted import run_planted
from sae_tracks.demo.yeast import run_yeast

__all__ = ["DemoGenome", "make_genome", "run_planted", "run_yeast"]
