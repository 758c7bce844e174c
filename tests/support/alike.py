"""A source whose features are alike in known ways."""

from toy import OneHotLM, random_dna, random_sae, unit_stats, write_fasta

from sae_tracks.genome import Genome
from sae_tracks.source import Source

FEATURES = 30


def alike_source(folder):
    """Features 0 and 1 have one decoder row and never meet; 2 and 3 are active at the same bases; 4 is silent."""
    sae = random_sae(6, FEATURES, bias=0.2)
    sae.W_dec[1] = 2 * sae.W_dec[0]
    sae.W_enc[:, :5] = 0
    sae.b_enc[:5] = -0.5
    sae.W_enc[0, 0] = sae.W_enc[1, 1] = sae.W_enc[5, 2] = sae.W_enc[5, 3] = 1  # A; C; behind a C, twice
    sae.b_dec[:] = 0
    sae.stats = unit_stats(FEATURES)
    genome = Genome(write_fasta(folder / "g.fa", a=random_dna(900, 1) + "N" * 150 + random_dna(400, 2)))
    return Source(OneHotLM(), sae, genome, read_strands=["+", "-"])
