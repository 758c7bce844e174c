"""An ideal reader of motifs, from left to right: how well can bases be told before the rest of a site is read?"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sae_tracks.controls.probe import labels_on
from sae_tracks.dna import codes, reverse_complement
from sae_tracks.metrics import Evaluation
from sae_tracks.motifs import Motif, causal_scores, loss_limit, markov2
from sae_tracks.regions import GenomicRegion, ReadStrand, spread_regions
from sae_tracks.threads import in_threads

SAMPLE = 250_000  # bases of each half, because the reader is slow
BREAK = b"N"  # no motif and no context crosses it


def sample_of(evaluation: Evaluation, half: int, most: int) -> list[GenomicRegion]:
    """Pieces of one half, evenly spread, of at most `most` bases in all."""
    tiles = [tile for region in evaluation.regions for tile, h in evaluation.halves.tiles(region) if h == half]
    return spread_regions(tiles, most)


def causal_reference(
    evaluation: Evaluation,
    motifs: Mapping[int, Motif],
    read_strand: ReadStrand,
    *,
    p: float = 1e-4,
) -> dict[int, float]:
    """F1 of an ideal causal reader of motifs by concept, base by base in the direction in which the model read.

    The score of a base is the probability that it lies in a site, if the coming bases follow an order-2 Markov model
    of the select half (`causal_scores`). NaN without a labelled base of that half. Both halves are sampled.

    Parameters
    ----------
    motifs : mapping of int to Motif
        By concept, as its sites lie along the forward strand: for sites on - the reverse complement of the matrix.
    p : float
        What makes a word a site of the annotation, as for `loss_limit`.
    """
    halves = [sample_of(evaluation, half, SAMPLE) for half in (0, 1)]
    letters = [[_letters(evaluation, piece) for piece in pieces] for pieces in halves]  # files are not read in threads
    texts = [_as_read(pieces, read_strand) for pieces in letters]
    background, concepts, found = markov2(texts[0]), sorted(motifs), dict[int, float]()

    def refer(some: slice) -> None:
        for concept in concepts[some]:
            motif = motifs[concept]
            along = motif if read_strand == "+" else motif.reverse_complement()
            score, label = [], []
            for text, pieces, sequences in zip(texts, halves, letters):
                mine = causal_scores(along, loss_limit(motif, p), text, background)
                known = np.frombuffer(text, np.uint8) != BREAK[0]
                mine = mine if read_strand == "+" else mine[::-1]
                known = known if read_strand == "+" else known[::-1]
                score.append(mine[known])
                label.append(_labels(evaluation, pieces, sequences, concept))
            half = np.repeat(np.arange(2, dtype=np.int8), [len(one) for one in score])
            found[concept] = best_cut(np.concatenate(score), np.concatenate(label), half)[2]

    with in_threads() as each:
        each(refer, len(concepts), 1)
    return found


def _letters(evaluation: Evaluation, piece: GenomicRegion) -> NDArray[np.uint8]:
    return codes(evaluation.genome.sequence(piece))


def _labels(
    evaluation: Evaluation, pieces: Sequence[GenomicRegion], letters: Sequence[NDArray[np.uint8]], concept: int
) -> NDArray[np.bool_]:
    """The labels of the bases of pieces that are A, C, G or T."""
    found = [np.empty(0, np.bool_)]
    for piece, codes_of in zip(pieces, letters):
        found.append(labels_on(evaluation.labels, piece, codes_of, np.array([concept]))[0][codes_of < 4])
    return np.concatenate(found)


def _as_read(pieces: Sequence[NDArray[np.uint8]], read_strand: ReadStrand) -> bytes:
    """The pieces in the order in which their bases were read, apart by a letter that breaks; others than ACGT break."""
    forward = BREAK.join(np.frombuffer(b"ACGTN", np.uint8)[letters].tobytes() for letters in pieces)
    return forward if read_strand == "+" else reverse_complement(forward)


def best_cut(
    score: NDArray[np.float64], labelled: NDArray[np.bool_], half: NDArray[np.int8]
) -> tuple[float, float, float]:
    """Find the cut of one score, active if it is reached, with the best F1 on the select half.

    Only scores of labelled bases can be best, so all of these are tried. `half` is 0 or 1 for select and report.

    Returns
    -------
    cut, select_f1, f1 : float
        All NaN if no base of the select half is labelled.
    """
    chooses, reports = half == 0, half == 1
    cuts, counts = np.unique(score[chooses & labelled], return_counts=True)
    if not len(cuts):
        return np.nan, np.nan, np.nan
    hits = np.cumsum(counts[::-1])[::-1]
    active = np.count_nonzero(chooses) - np.searchsorted(np.sort(score[chooses]), cuts)
    f1 = 2 * hits / (active + hits[0])
    cut = cuts[f1.argmax()]
    reached = reports & (score >= cut)
    both = np.count_nonzero(reached) + np.count_nonzero(reports & labelled)
    return float(cut), float(f1.max()), 2 * np.count_nonzero(reached & labelled) / both if both else np.nan
