"""Motifs: their matrices, their sites in a genome, decoys, and what a left-to-right reader can know of a site."""

from sae_tracks.motifs.causal import causal_scores, markov2
from sae_tracks.motifs.decoys import Competitors, decoys, match_decoys
from sae_tracks.motifs.matrix import Motif, loss_limit
from sae_tracks.motifs.read import chosen_motifs, jaspar_motifs, named_motifs, read_motifs
from sae_tracks.motifs.scanner import Hits, Scanner
from sae_tracks.motifs.sites import scan_genome, write_sites

__all__ = [
    "Competitors",
    "Hits",
    "Motif",
    "Scanner",
    "causal_scores",
    "chosen_motifs",
    "decoys",
    "jaspar_motifs",
    "loss_limit",
    "markov2",
    "match_decoys",
    "named_motifs",
    "read_motifs",
    "scan_genome",
    "write_sites",
]
