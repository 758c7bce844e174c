"""Baselines: what explains a concept without the trained autoencoder, or without the language model.

Every result is chosen on the select half of a sample and measured on the report half.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import torch
from numba import njit
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sae_tracks.controls.best import Best, Cells, best, best_cut, cells_above
from sae_tracks.controls.linear import Design, probe
from sae_tracks.controls.sample import SELECT, Columns, Sample, Sites
from sae_tracks.dna import codes, kmer_letters, kmers, reverse_complement
from sae_tracks.jit import FAST
from sae_tracks.metrics.counter import THRESHOLDS
from sae_tracks.motifs import Motif, causal_scores, loss_limit, markov2
from sae_tracks.sae.encoder import SparseEncoder
from sae_tracks.threads import ForEachSlice, in_threads

LONGEST = 6
FIRST = [(4**k - 4) // 3 for k in range(LONGEST + 2)]  # the column of the first k-mer of each length, and their number


def best_kmers(sample: Sample, sites: Sites) -> pd.DataFrame:
    """Of all k-mers of length 1 to 6, read forward, the one whose occurrences cover each concept best.

    Returns
    -------
    DataFrame
        One row per concept: ``kmer`` ("" if none has a base in common with it), ``kmer_f1``, and ``kmer_select_f1`` on
        the select half.
    """
    found = best(kmer_cells(sample), sites.labels, sample.half_of_base())
    names = np.array([kmer_name(column) for column in found.column.tolist()], object)
    return pd.DataFrame({"kmer": names, "kmer_f1": found.f1, "kmer_select_f1": found.select_f1})


def kmer_cells(sample: Sample) -> Cells:
    """The k-mers that cover every base, in columns by length, then by alphabet; none crosses N or a bin's border."""
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
    """(C,) float64: F1 of a linear probe on the 31 bases around each base; see `probe`."""
    return probe(flanks(sample), INPUTS, sites.labels, sample.half_of_base())


def flanks(sample: Sample) -> Design:
    """One-hot letters from 15 bases before to 15 after, A, C, G, T each; zeros beyond the bin and on other letters."""
    place = np.arange(len(sample)) + FLANK * (sample.bin_of_base() + 1)
    apart = np.full(len(sample) + FLANK * (len(sample.bins) + 1), 4, np.uint8)
    apart[place] = codes(sample.letters.tobytes())
    windows = sliding_window_view(apart, 2 * FLANK + 1)
    return lambda tile: ONE_HOT[windows[place[tile] - FLANK]].reshape(-1, INPUTS)


def probe_neurons(sample: Sample, sites: Sites) -> NDArray[np.float64]:
    """(C,) float64: F1 of a linear probe on all dimensions of the language model; see `probe`."""
    h = sample.activations
    return probe(lambda tile: h[tile].astype(np.float32), h.shape[1], sites.labels, sample.half_of_base())


QUANTILES = np.array([0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999])  # of the select half, of x and of -x
CHANNELS = 16  # handled together
BASES = 1 << 16  # by one thread at a time


def best_neurons(sample: Sample, sites: Sites) -> pd.DataFrame:
    """The dimension of the language model, sign and quantile that fit each concept best.

    Returns
    -------
    DataFrame
        One row per concept: ``neuron``, as ``+17`` or ``-17`` ("" if none has a base in common with it), and
        ``neuron_f1``.
    """
    half, found = sample.half_of_base(), Best.none(len(sites.labels))
    for first in range(0, sample.activations.shape[1], CHANNELS):
        cells = neuron_cells(sample.activations[:, first : first + CHANNELS], half)
        found = found.or_better(best(cells, sites.labels, half), 2 * first)
    names = ["" if c < 0 else f"{'+-'[c % 2]}{c // 2}" for c in found.column.tolist()]
    return pd.DataFrame({"neuron": np.array(names, object), "neuron_f1": found.f1})


def neuron_cells(activations: NDArray[np.float16], half: NDArray[np.int8]) -> Cells:
    """Two columns per channel, x and -x, each with a threshold at every quantile."""
    n, width = activations.shape
    cell = np.empty((n, width), np.int32)
    with in_threads() as each:
        upper, lower = _quantiles(activations, half == SELECT, each)

        def fill(some: slice) -> None:
            _fill_cells(activations[some].astype(np.float32), upper, lower, cell[some])

        each(fill, n, BASES)
    return Cells(np.arange(n + 1) * width, cell.reshape(-1), 2 * width, len(QUANTILES))


def _quantiles(activations: NDArray[np.float16], chooses: NDArray[np.bool_], each: ForEachSlice):
    """(channels, T) float32 twice: x is active above the first, -x if x is below the second."""
    width, m = activations.shape[1], np.count_nonzero(chooses)
    upper = np.full((width, len(QUANTILES)), np.inf, np.float32)
    lower = -upper
    rank = (QUANTILES * m).astype(np.int64)  # so no base lies above the one median and below the other

    def sort(some: slice) -> None:
        for channel in range(some.start, some.stop):
            ordered = np.sort(activations[chooses, channel].astype(np.float32))
            upper[channel], lower[channel] = ordered[rank], ordered[m - 1 - rank]

    if m:
        each(sort, width, 1)
    return upper, lower


@njit(**FAST)
def _fill_cells(x, upper, lower, cell):
    """Write the cells of (b, channels) values."""
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


FEATURES = 512  # encoded together at most
ENTRIES = 8  # about so many per base, of the features that are encoded together
FEW = 1 << 15  # bases from which a first guess at the cuts is made
SURPLUS, MARGIN = 1.5, 32  # the guess lets through 1.5 times the bases wanted, and 32 of the few more


def best_random_features(sample: Sample, sites: Sites, seed: int) -> NDArray[np.float64]:
    """(C,) float64: F1 of the feature with a random direction that fits each concept best.

    Feature i has a random unit direction and, on the select half, the number of active bases that feature i of the
    sample has there (more only if values tie); one that never fires has no counterpart. Its thresholds are those of the
    trained features, as fractions of its own maximum on the select half. So this is an encoder that has learned only
    how often to fire. NaN if no random feature is active on the concept in the select half.
    """
    half, found = sample.half_of_base(), Best.none(len(sites.labels))
    firing = firing_bases(sample.features, half)
    encoder = np.random.default_rng(seed).standard_normal((len(firing), sample.activations.shape[1]), np.float32)
    encoder /= np.linalg.norm(encoder, axis=1, keepdims=True)
    for ids in _batches(firing, half):
        found = found.or_better(best(random_cells(sample, half, encoder[ids], firing[ids]), sites.labels, half), 0)
    return found.f1


def firing_bases(features: Columns, half: NDArray[np.int8]) -> NDArray[np.int64]:
    """(d_sae,) int64: bases of the select half at which each feature is active."""
    chooses = half == SELECT
    return np.array([np.count_nonzero(chooses[features[i][0]]) for i in range(len(features))], np.int64)


def random_cells(
    sample: Sample, half: NDArray[np.int8], encoder: NDArray[np.float32], firing: NDArray[np.int64]
) -> Cells:
    """Encode a sample with k directions, (k, d_model), each active on `firing` >= 1 bases of the select half."""
    directions = torch.from_numpy(np.ascontiguousarray(encoder.T))
    low = _guess(sample.activations, half, directions, firing)
    sparse = SparseEncoder(directions, torch.zeros(len(low)), torch.from_numpy(low))
    indptr, column, value = sparse.encode(torch.from_numpy(sample.activations), half >= 0)
    cuts = _cuts(csr_array((value, column, indptr), shape=(len(half), len(low))), half, firing)
    return Cells(indptr, cells_above(column, value, cuts), len(low), cuts.shape[1])


def _batches(firing: NDArray[np.int64], half: NDArray[np.int8]) -> Iterator[NDArray[np.int64]]:
    """Ids of features that fire, as many together as memory allows to encode."""
    alive, few = np.flatnonzero(firing), MARGIN / FEW
    share = np.cumsum(np.minimum(SURPLUS * firing[alive] / max(np.count_nonzero(half == SELECT), 1) + few, 1))
    start = 0
    while start < len(alive):
        before = share[start - 1] if start else 0
        end = min(max(int(np.searchsorted(share, before + ENTRIES)), start + 1), start + FEATURES)
        yield alive[start:end]
        start = end


def _guess(
    activations: NDArray[np.float16], half: NDArray[np.int8], directions: torch.Tensor, firing: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(k,) float32: values that hardly fewer bases of the select half exceed than are wanted, and not many more."""
    chooses = np.flatnonzero(half == SELECT)
    few = chooses[:: -(-len(chooses) // FEW)]
    h = np.sort((directions.T @ torch.from_numpy(activations[few]).float().T).numpy(), axis=1)
    rank = np.ceil(SURPLUS * firing * len(few) / len(chooses)).astype(np.int64) + MARGIN
    low = np.take_along_axis(h, np.maximum(len(few) - rank, 0)[:, None], axis=1)[:, 0]
    return np.where(rank < len(few), np.nextafter(low, np.float32(-np.inf)), np.float32(-np.inf))  # ties pass too


def _cuts(values: csr_array, half: NDArray[np.int8], firing: NDArray[np.int64]) -> NDArray[np.float32]:
    """(k, T) float32: what the values must exceed, so that each feature fires as often as wanted at threshold 0."""
    columns = values[half == SELECT].tocsc()
    cuts = np.empty((len(firing), len(THRESHOLDS)), np.float32)
    for i, wanted in enumerate(firing.tolist()):
        chooses = columns.data[columns.indptr[i] : columns.indptr[i + 1]]
        k = max(len(chooses) - wanted, 0)
        least, largest = np.partition(chooses, k)[k], chooses.max()
        zero = np.nextafter(least, np.float32(-np.inf))
        cuts[i] = zero + np.array(THRESHOLDS, np.float32) * (largest - zero)
    return cuts


BREAK = b"N"  # no motif and no context crosses it


def causal_reference(
    sample: Sample, sites: Sites, motifs: Mapping[int, Motif], *, p: float = 1e-4, relative: float = 0.8
) -> NDArray[np.float64]:
    """(C,) float64: F1 of an ideal causal reader of motifs, base by base in the direction in which the model read.

    The score of a base is the probability that it lies in a site, if the coming bases follow an order-2 Markov model
    of the select half (`causal_scores`). NaN for concepts without a motif or without a labelled base of that half.

    Parameters
    ----------
    motifs : mapping of int to Motif
        By concept, as its sites lie along the forward strand: for sites on - the reverse complement of the matrix.
    p, relative : float
        What makes a word a site of the annotation, as for `loss_limit`.
    """
    half, f1 = sample.half_of_base(), np.full(len(sites.labels), np.nan)
    forward = sample.read_strand == "+"
    chooses = np.repeat(sample.half == SELECT, np.diff(sample.offset))
    text = _as_read(sample, sample.letters)
    background = markov2(_as_read(sample, np.where(chooses, sample.letters, BREAK[0])))
    place = np.arange(len(sample)) + sample.bin_of_base()
    concepts = sorted(motifs)

    def refer(some: slice) -> None:
        for concept in concepts[some]:
            motif = motifs[concept]
            along = motif if forward else motif.reverse_complement()
            score = causal_scores(along, loss_limit(motif, p, relative), text, background)
            score = score if forward else score[::-1]
            f1[concept] = best_cut(score[place], sites.labels.dense(concept, len(sample)) > 0, half)[2]

    with in_threads() as each:
        each(refer, len(concepts), 1)
    return f1


def _as_read(sample: Sample, letters: NDArray[np.uint8]) -> bytes:
    """The bins in the order in which their bases were read, apart by a letter that breaks."""
    forward = BREAK.join(letters[start:end].tobytes() for start, end in zip(sample.offset, sample.offset[1:]))
    return forward if sample.read_strand == "+" else reverse_complement(forward)
