"""Baselines: what explains a concept without the autoencoder, or without the language model."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numba import njit
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sae_tracks.controls.best import Best, Cells, best, best_cut
from sae_tracks.controls.linear import Design, probe
from sae_tracks.controls.sample import SELECT, Sample, Sites
from sae_tracks.dna import codes, kmer_letters, kmers, reverse_complement
from sae_tracks.jit import HOW
from sae_tracks.motifs import Motif, causal_scores, loss_limit, markov2
from sae_tracks.threads import ForEachSlice, in_threads

LONGEST = 6
FIRST = [(4**k - 4) // 3 for k in range(LONGEST + 2)]  # the column of the first k-mer of each length; and their number


def best_kmers(sample: Sample, sites: Sites) -> pd.DataFrame:
    """Of all k-mers of length 1 to 6, read forward, the one whose occurrences cover each concept best.

    Returns
    -------
    DataFrame
        A row a concept: ``kmer`` ("" where none has a base in common with it), ``kmer_f1`` on the report half and
        ``kmer_select_f1``.
    """
    found = best(kmer_cells(sample), sites.labels, sample.half_of_base())
    return pd.DataFrame(
        {
            "kmer": np.array([kmer_name(column) for column in found.column.tolist()], object),
            "kmer_f1": found.f1,
            "kmer_select_f1": found.select_f1,
        }
    )


def kmer_cells(sample: Sample) -> Cells:
    """The k-mers that cover every base, in columns by length, then by alphabet; none runs over N or a bin's border."""
    n, width = len(sample), LONGEST * (LONGEST + 1) // 2
    code, whole = kmers(sample.letters.tobytes(), LONGEST)
    whole = np.minimum(whole, np.arange(1, n + 1) - np.repeat(sample.offset[:-1], np.diff(sample.offset)))
    cell = np.full((n, width), -1, np.int32)
    place = 0
    for k in range(1, LONGEST + 1):
        column = np.full(n, -1, np.int32)  # of the k-mer that starts at each base
        column[: max(n - k + 1, 0)] = np.where(whole >= k, FIRST[k] + (code & np.uint32(4**k - 1)), -1)[k - 1 :]
        for back in range(min(k, n)):
            here = cell[back:, place + back]
            here[:] = column[: n - back]
            for nearer in range(back):  # AAAA covers its second base twice
                here[here == cell[back:, place + nearer]] = -1
        place += k
    return Cells(np.arange(n + 1) * width, cell.reshape(-1), FIRST[-1])


def kmer_name(column: int) -> str:
    """The k-mer of a column; "" of -1."""
    if column < 0:
        return ""
    k = next(k for k in range(1, LONGEST + 1) if column < FIRST[k + 1])
    return kmer_letters(column - FIRST[k], k)


FLANK = 15  # bases on either side
INPUTS = 4 * (2 * FLANK + 1)
ONE_HOT = np.eye(5, 4, dtype=np.float32)


def probe_sequence(sample: Sample, sites: Sites) -> NDArray[np.float64]:
    """(C,) float64: F1, on the report half, of a linear probe on the 31 bases around each base; see `probe`."""
    return probe(flanks(sample), INPUTS, sites.labels, sample.half_of_base())


def flanks(sample: Sample) -> Design:
    """One-hot letters from 15 bases before to 15 after, A, C, G, T each; zeros beyond the bin and on other letters."""
    place = np.arange(len(sample)) + FLANK * (sample.bin_of_base() + 1)
    apart = np.full(len(sample) + FLANK * (len(sample.bins) + 1), 4, np.uint8)
    apart[place] = codes(sample.letters.tobytes())
    windows = sliding_window_view(apart, 2 * FLANK + 1)

    def inputs(part: slice) -> NDArray[np.float32]:
        return ONE_HOT[windows[place[part] - FLANK]].reshape(-1, INPUTS)

    return inputs


QUANTILES = np.array([0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999])  # of the select half, of x and of -x
CHANNELS = 16  # looked at together
BASES = 1 << 16  # by one thread at a time


def best_neurons(sample: Sample, sites: Sites) -> pd.DataFrame:
    """The dimension, sign and quantile that fit each concept best.

    Returns
    -------
    DataFrame
        A row a concept: ``neuron``, as ``+17`` or ``-17`` ("" where none has a base in common with it), and
        ``neuron_f1`` on the report half.
    """
    half, found = sample.half_of_base(), Best.none(len(sites.labels))
    for first in range(0, sample.activations.shape[1], CHANNELS):
        cells = neuron_cells(sample.activations[:, first : first + CHANNELS], half)
        found = found.or_better(best(cells, sites.labels, half), 2 * first)
    names = ["" if c < 0 else f"{'+-'[c % 2]}{c // 2}" for c in found.column.tolist()]
    return pd.DataFrame({"neuron": np.array(names, object), "neuron_f1": found.f1})


def probe_neurons(sample: Sample, sites: Sites) -> NDArray[np.float64]:
    """(C,) float64: F1, on the report half, of a linear probe on all dimensions; see `probe`."""

    def inputs(part: slice) -> NDArray[np.float32]:
        return sample.activations[part].astype(np.float32)

    return probe(inputs, sample.activations.shape[1], sites.labels, sample.half_of_base())


def neuron_cells(activations: NDArray[np.float16], half: NDArray[np.int8]) -> Cells:
    """Two columns a channel, x and -x, each with a threshold at every quantile."""
    n, width = activations.shape
    cell = np.empty((n, width), np.int32)
    with in_threads() as each:
        upper, lower = _thresholds(activations, half == SELECT, each)

        def lay(part: slice) -> None:
            _lay(activations[part].astype(np.float32), upper, lower, cell[part])

        each(lay, n, BASES)
    return Cells(np.arange(n + 1) * width, cell.reshape(-1), 2 * width, len(QUANTILES))


def _thresholds(activations: NDArray[np.float16], chooses: NDArray[np.bool_], each: ForEachSlice):
    """(channels, T) float32 twice: x is active above the one, -x where x is below the other."""
    width, m = activations.shape[1], np.count_nonzero(chooses)
    upper, lower = (
        np.full((width, len(QUANTILES)), np.inf, np.float32),
        np.full((width, len(QUANTILES)), -np.inf, np.float32),
    )
    rank = (QUANTILES * m).astype(np.int64)  # so no base lies above the one median and below the other

    def sort(part: slice) -> None:
        for channel in range(part.start, part.stop):
            ordered = np.sort(activations[chooses, channel].astype(np.float32))
            upper[channel], lower[channel] = ordered[rank], ordered[m - 1 - rank]

    if m:
        each(sort, width, 1)
    return upper, lower


@njit(**HOW)
def _lay(x, upper, lower, cell):
    """Cells of (b, channels) values."""
    depth = upper.shape[1]
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            value, above = x[i, j], 0
            while above < depth and value > upper[j, above]:
                above += 1
            below = 0
            while below < depth and value < lower[j, below]:
                below += 1
            cell[i, j] = -1
            if above > 0:
                cell[i, j] = 2 * j * depth + above - 1
            elif below > 0:
                cell[i, j] = (2 * j + 1) * depth + below - 1


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
    half, f1 = sample.half_of_base(), np.full(len(sites.labels), np.nan)
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

    with in_threads() as each:
        each(refer, len(concepts), 1)
    return f1


def _as_read(sample: Sample, letters: NDArray[np.uint8]) -> bytes:
    """The bins in the order in which their bases were read, apart by a letter that breaks."""
    forward = BREAK.join(letters[start:end].tobytes() for start, end in zip(sample.offset, sample.offset[1:]))
    return forward if sample.read_strand == "+" else reverse_complement(forward)
