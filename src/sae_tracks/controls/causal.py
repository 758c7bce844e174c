"""The F1 of a reader that goes from left to right and cannot guess the coming bases, as a causal model does."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sae_tracks.controls.best import best_cut, halves_of
from sae_tracks.controls.sample import SELECT, Sample, Sites
from sae_tracks.dna import reverse_complement
from sae_tracks.motifs import Motif, causal_scores, loss_limit, markov2
from sae_tracks.threads import pieces

BREAK = b"N"  # no motif and no context runs over it


def causal_reference(
    sample: Sample, sites: Sites, motifs: Mapping[int, Motif], *, p: float = 1e-4, relative: float = 0.8
) -> NDArray[np.float64]:
    """F1 of an ideal causal reader of some motifs, base by base in the direction in which the model read.

    The score of a base is the probability that it lies in a site, when the coming bases follow an order-2 Markov model
    of the select half (`causal_scores`); its cut has the best F1 on that half.

    Parameters
    ----------
    sample : Sample
    sites : Sites
    motifs : mapping of int to Motif
        By concept, as it lies along the forward strand: for sites on - the reverse complement of the database's matrix.
    p, relative : float
        What makes a word a site of the annotation, as for `loss_limit`.

    Returns
    -------
    (C,) float64
        On the report half; NaN for other concepts, and where no base of the select half is labelled.
    """
    half, f1 = halves_of(sample), np.full(len(sites.labels), np.nan)
    chooses = np.repeat(sample.half == SELECT, np.diff(sample.offset))
    text = _as_read(sample, sample.letters)
    background = markov2(_as_read(sample, np.where(chooses, sample.letters, BREAK[0])))
    place = np.arange(len(sample)) + sample.bin_of_base()
    concepts = sorted(motifs)

    def refer(part: slice) -> None:
        for concept in concepts[part]:
            motif = motifs[concept]
            along = motif if sample.read_strand == "+" else motif.reverse_complement()
            score = causal_scores(along, loss_limit(motif, p, relative), text, background)
            score = score if sample.read_strand == "+" else score[::-1]
            f1[concept] = best_cut(score[place], sites.labels.dense(concept, len(sample)) > 0, half)[2]

    with pieces() as each:
        each(refer, len(concepts), 1)
    return f1


def _as_read(sample: Sample, letters: NDArray[np.uint8]) -> bytes:
    """The bins in the order in which their bases were read, apart by a letter that breaks."""
    forward = BREAK.join(letters[start:end].tobytes() for start, end in zip(sample.offset, sample.offset[1:]))
    return forward if sample.read_strand == "+" else reverse_complement(forward)
