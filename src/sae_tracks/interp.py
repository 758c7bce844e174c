"""What features do, for notebooks: ``from sae_tracks.interp import *`` or ``import sae_tracks.interp as interp``.

- `load_lm`, `load_sae`, `Genome`, `Source`: a model, its SAE and a genome, as in `sae_tracks`.
- `top_examples`: the places at which a feature is most active.
- `spliced`: the model with the SAE inside it; `Spliced.ablate`, `Spliced.steer`, `Spliced.next_base`.
- `effects`: how much worse the model predicts without a feature, everywhere and in the sites of an annotation
  (`read_annotation`).
- `logit_attribution`: what a feature says of the next base by the direct path to the head.
- `coactivation`, `reverse_complement_partner`: which features go together on one read strand, and on the two.

>>> from sae_tracks.interp import *
>>> genome = Genome("yeast.fa.gz")
>>> source = Source(load_lm("yeast", 3), load_sae("sae/"), genome, [genome.region("chrXVI:1-100,000")])
>>> top_examples(source, 268, n=5)
>>> effects(source, [268], read_annotation("genes.gtf.gz", genome))
"""

from sae_tracks.annotations import read_annotation
from sae_tracks.genome import Genome
from sae_tracks.insight.effects import effects
from sae_tracks.insight.partners import Coactivation, coactivation, reverse_complement_partner
from sae_tracks.insight.spliced import Spliced, logit_attribution, spliced
from sae_tracks.lm import load_lm
from sae_tracks.sae import load_sae
from sae_tracks.source import Source
from sae_tracks.tracks.examples import top_examples

__all__ = [
    "Coactivation",
    "Genome",
    "Source",
    "Spliced",
    "coactivation",
    "effects",
    "load_lm",
    "load_sae",
    "logit_attribution",
    "read_annotation",
    "reverse_complement_partner",
    "spliced",
    "top_examples",
]
