"""The demo: a small genome with known truth, and the whole path on it."""

from sae_tracks.demo.genome import DemoGenome, make_genome
from sae_tracks.demo.job import run_demo

__all__ = ["DemoGenome", "make_genome", "run_demo"]
