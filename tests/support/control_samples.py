"""Small drawn samples for the tests of controls: bases, features and sites whose every entry a dense array can hold."""

from collections.abc import Sequence

import numpy as np

from sae_tracks.controls.sample import Columns, Sample, Sites
from sae_tracks.regions import GenomicRegion

GAP = 500  # bases between two bins


def columns(dense: np.ndarray) -> Columns:
    """The non-zeros of (n, k), by column."""
    column, base = np.nonzero(dense.T)
    indptr = np.searchsorted(column, np.arange(dense.shape[1] + 1)).astype(np.int64)
    return Columns(indptr, base.astype(np.int32), dense[base, column].astype(np.float32))


def make_sample(
    features: np.ndarray,
    *,
    bins: Sequence[int] | None = None,
    half: Sequence[int] | None = None,
    unreadable: Sequence[int] = (),
    letters: bytes | None = None,
    d_model: int = 3,
    read_strand: str = "+",
    seed: int = 0,
) -> Sample:
    """A sample of (n, d_sae) features, dense, values >= 0.

    Without `bins` (their lengths) it is one bin; without `half` they alternate, and one bin reports. Features on
    unreadable bases are kept as given: whoever counts must leave them out.
    """
    n, rng = len(features), np.random.default_rng(seed)
    lengths = [n] if bins is None else list(bins)
    assert sum(lengths) == n
    offset = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    if half is None:
        half = [1] if len(lengths) == 1 else [i % 2 for i in range(len(lengths))]
    readable = np.ones(n, bool)
    readable[list(unreadable)] = False
    text = rng.choice(np.frombuffer(b"ACGT", np.uint8), n)
    if letters is not None:
        text = np.frombuffer(letters, np.uint8).copy()
    text[~readable] = ord("N")
    activations = rng.normal(size=(n, d_model)).astype(np.float16)
    activations[~readable] = 0
    edges = offset.tolist()
    regions = [GenomicRegion("chr1", s + GAP * i, e + GAP * i) for i, (s, e) in enumerate(zip(edges, edges[1:]))]
    return Sample(
        read_strand,
        regions,
        np.array(half, np.int8),
        offset,
        readable,
        text,
        activations,
        columns(np.asarray(features)),
    )


def make_sites(
    sample: Sample, intervals: Sequence[Sequence[tuple[int, int]]], scores: Sequence[Sequence[float]] | None = None
) -> Sites:
    """Sites of concepts given as lists of (start, end) in base numbers, each inside one bin; NaN without scores."""
    order = [sorted(range(len(of)), key=of.__getitem__) for of in intervals]
    indptr = np.concatenate(([0], np.cumsum([len(of) for of in intervals]))).astype(np.int64)
    flat = [of[i] for of, rows in zip(intervals, order) for i in rows]
    score = [np.nan if scores is None else scores[c][i] for c, rows in enumerate(order) for i in rows]
    labels = np.zeros((len(sample), len(intervals)), bool)
    for c, of in enumerate(intervals):
        for start, end in of:
            labels[start:end, c] = True
    labels &= sample.readable[:, None]
    start, end = np.array(flat, np.int64).reshape(-1, 2).T
    return Sites(indptr, start, end, np.array(score, float), columns(labels))


def draw_sample(
    seed: int,
    *,
    n: int = 600,
    bins: int = 6,
    d_sae: int = 5,
    concepts: int = 4,
    density: float = 0.2,
    width: int = 9,
    instances: int = 15,
    half: Sequence[int] | None = None,
    read_strand: str = "+",
) -> tuple[Sample, Sites]:
    """Features with ties (values are multiples of 0.25), unreadable bases, and overlapping sites of every concept.

    The first feature is never active, the last concept has no site; others have half to twice `instances`.
    """
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice(np.arange(1, n), bins - 1, replace=False))
    lengths = np.diff(np.concatenate(([0], edges, [n]))).tolist()
    features = rng.integers(1, 9, (n, d_sae)) / 4 * (rng.random((n, d_sae)) < density)
    features[:, 0] = 0
    unreadable = rng.choice(n, n // 20, replace=False).tolist()
    sample = make_sample(features, bins=lengths, half=half, unreadable=unreadable, read_strand=read_strand, seed=seed)
    intervals: list[list[tuple[int, int]]] = []
    for _ in range(concepts - 1):
        of = []
        for _ in range(int(rng.integers(instances // 2, 2 * instances))):
            b = int(rng.integers(bins))
            low, high = int(sample.offset[b]), int(sample.offset[b + 1])
            start = int(rng.integers(low, high))
            of.append((start, min(start + int(rng.integers(1, width + 1)), high)))
        intervals.append(of)
    intervals.append([])
    scores = [(rng.integers(400, 410, len(of))).astype(float).tolist() for of in intervals]
    return sample, make_sites(sample, intervals, scores)
