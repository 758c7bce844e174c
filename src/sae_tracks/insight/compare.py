"""Features of two SAEs, matched by their activations on the same bases.

The SAEs may be of two seeds, two layers or two models. Two features are alike if their activations correlate over
bases, whatever their decoders say. Both models read in the same direction, and a base is compared with itself: a
feature that says the same some bases later is another feature here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

from sae_tracks.errors import SaeTracksError
from sae_tracks.evaluate.compare import pair_cosines
from sae_tracks.features import FeatureBlock, encode_reading
from sae_tracks.files import atomic, make_folder, values_differ, write_provenance, write_tsv
from sae_tracks.insight.joint import BATCH, NONE, SHIFT, JointSums, height, stacked
from sae_tracks.insight.meaning import CARRIED, COMPARED, COMPARED_TSV, Meanings, beside, carried, read_meanings
from sae_tracks.names import feature_name, feature_number
from sae_tracks.progress import track
from sae_tracks.reading import Reading, read_windows
from sae_tracks.regions import ReadStrand
from sae_tracks.sae.encoder import SparseEncoder
from sae_tracks.source import Source

LEAST = 0.5  # correlation: a quarter of the variance in common
QUANTILE = 0.99  # of the highest correlations that the shifted stream gives
OF_SAE = ("sae_sha256", "sae_architecture", "sae_k")
Rows = tuple[csr_array, csr_array]


@dataclass(frozen=True, slots=True)
class SAEComparison:
    """How the features of one SAE pair with those of another.

    Attributes
    ----------
    table : DataFrame
        ``compare.parquet``: one row per feature of the first SAE; see docs/formats.md.
    carried : DataFrame, optional
        ``carried.tsv``: one row per supported match of the first SAE, if scores were given.
    bases : int
        Bases that both streams can read, counted once per read strand.
    shift : int
        Bases by which the second stream was shifted for the null.
    chance : float
        Correlation with the best partner that 99 % of the features stay below on the shifted stream; NaN if there are
        too few bases to shift.
    bound : float
        A feature replicates if it and its best partner are each other's best, and correlate above this.
    """

    table: pd.DataFrame
    carried: pd.DataFrame | None
    bases: int
    shift: int
    chance: float
    bound: float

    def lines(self) -> list[str]:
        """A summary for people."""
        live = cast(pd.DataFrame, self.table[self.table["partner"].notna()])
        best, one = (cast(pd.Series, live[name]).median() for name in ("correlation", "matched_correlation"))
        held = live.loc[live["replicates"], "density"].sum() / max(live["density"].sum(), 1e-300)
        shifted = f"99 % stay below {self.chance:.3f} if the other stream is shifted by {self.shift:,} bases"
        found = [
            f"{self.bases:,} bases; {len(live):,} of {len(self.table):,} features are active and have a partner",
            f"correlation with the best partner: median {best:.3f}; one to one {one:.3f}",
            f"chance: {'not measured, too few bases' if np.isnan(self.chance) else shifted}",
            f"{_share(live['replicates'])} features replicate: each other's best, correlation above {self.bound:.3f}; "
            f"they make up {held:.0%} of all activity",
        ]
        if self.carried is None:
            return found
        same = self.carried["partner_verdict"] == "supported"
        return [
            *found,
            f"{_share(self.carried['replicates'])} supported matches are of a feature that replicates",
            f"{_share(same)} supported matches have a partner that is supported for the same concept and strand",
        ]


def _share(values: Any) -> str:
    true = np.asarray(values, bool)
    return f"{int(true.sum()):,} of {len(true):,} ({true.mean() if len(true) else 0:.0%})"


def compare_saes(
    a: Source, b: Source, out: Path | None = None, *, from_a: Path | None = None, from_b: Path | None = None
) -> SAEComparison:
    """Match the features of two SAEs by their activations on the same bases.

    Each source is read once, in step with the other; if both are of one model and layer, the model reads once for both.
    The windows may differ: bases are compared, not windows. A base counts if both sources can read it. Memory: 12 bytes
    per pair of features, 0.8 GB for 8,192 by 8,192, and 8 more while they are matched one to one.

    Parameters
    ----------
    a, b : Source
        Of one genome, with the same regions and read strands.
    out : path, optional
        A folder, made if it is missing, for `compare.parquet`, `compare.tsv`, `provenance.json` and, with scores,
        `carried.tsv`; see docs/formats.md.
    from_a, from_b : path, optional
        What `metrics` wrote for each SAE: a folder, or a table in it. Adds what a feature and its partner mean.

    Returns
    -------
    SAEComparison
        The table of features, the correlation that chance reaches, and a summary (`lines`).

    Raises
    ------
    SaeTracksError
        The sources differ in genome, regions or read strands, no base is readable in both, scores are given for one SAE
        only or are of another SAE, or there are too many pairs of features.

    Examples
    --------
    >>> found = compare_saes(a, b, "compared/")
    >>> found.table.query("replicates")[["feature", "partner", "correlation"]]
    """
    _check_same_bases(a, b)
    meanings = _read_both(a, b, from_a, from_b)
    if out is not None:
        make_folder(out)
    sums = JointSums((a.sae.d_sae, b.sae.d_sae), min(SHIFT, _planned(a) // 2))
    for ours, theirs in _batches(_rows(a, b)):
        sums.add(ours, theirs)
    if sums.bases == 0:
        raise SaeTracksError("no base of the regions is readable for both: name other regions")
    found = _compared(sums, a, b, meanings)
    if out is not None:
        _write(found, out, _facts(found, a, b, from_a, from_b))
    return found


def _check_same_bases(a: Source, b: Source) -> None:
    regions, strands = (a.regions, b.regions), (list(a.read_strands), list(b.read_strands))
    if a.genome is not b.genome and a.genome.identity(a.contigs) != _identity(b, a.contigs):
        raise SaeTracksError(f"{a.genome.path.name} and {b.genome.path.name} differ: compare SAEs on one genome")
    if regions[0] != regions[1] or strands[0] != strands[1]:
        raise SaeTracksError("the two sources have other regions or read strands: give both the same")


def _identity(source: Source, contigs: list[str]) -> dict[str, Any]:
    return source.genome.identity(name for name in contigs if name in source.genome.lengths)


def _read_both(a: Source, b: Source, from_a: Path | None, from_b: Path | None) -> tuple[Meanings, Meanings] | None:
    if from_a is None and from_b is None:
        return None
    if from_a is None or from_b is None:
        raise SaeTracksError("scores of one SAE say nothing of the other: give both --from-a and --from-b, or neither")
    ours, theirs = ((Path(path), source) for path, source in ((from_a, a), (from_b, b)))
    return tuple(read_meanings(path, one.sae.checksum, one.read_strands) for path, one in (ours, theirs))  # pyright: ignore[reportReturnType]


def _planned(source: Source) -> int:
    return sum(len(window.kept) for strand in source.read_strands for window in source.windows(strand))


def _rows(a: Source, b: Source) -> Iterator[Rows]:
    """Yield the rows of bases that both can read, from both streams."""
    encoders = SparseEncoder.of(a.sae), SparseEncoder.of(b.sae)
    one = values_differ(a.identity(), b.identity(), ignore=OF_SAE) is None
    for strand in a.read_strands:
        windows = a.windows(strand)
        readings = track(_readings(a, strand), f"reading {strand}", len(windows))
        if one:
            for reading in readings:
                yield from aligned(*(encode_reading(encoder, reading) for encoder in encoders))
        else:
            yield from aligned(*map(_encode, encoders, (readings, _readings(b, strand))))


def _readings(source: Source, strand: ReadStrand) -> Iterator[Reading]:
    return read_windows(source.lm, source.genome, source.windows(strand), source.black_list, source.min_context)


def _encode(encoder: SparseEncoder, readings: Iterator[Reading]) -> Iterator[FeatureBlock]:
    return chain.from_iterable(encode_reading(encoder, reading) for reading in readings)


def aligned(ours: Iterator[FeatureBlock], theirs: Iterator[FeatureBlock]) -> Iterator[Rows]:
    """Yield the activations of two streams on the bases that are readable in both.

    The streams cover the same bases in the same order. Their blocks may end at different bases.

    Yields
    ------
    (k, Fa) and (k, Fb) sparse float32
        Rows of the same bases.
    """
    a, b = next(ours, None), next(theirs, None)
    while a and b:
        both = a.region.overlap(b.region)
        assert both, f"{a.region} and {b.region} are not of the same bases"
        parts = [slice(both.start - block.region.start, both.end - block.region.start) for block in (a, b)]
        readable = a.readable[parts[0]] & b.readable[parts[1]]
        yield a.to_scipy()[parts[0]][readable], b.to_scipy()[parts[1]][readable]
        a = next(ours, None) if a.region.end == both.end else a
        b = next(theirs, None) if b.region.end == both.end else b


def _batches(rows: Iterator[Rows]) -> Iterator[Rows]:
    """Join rows until there are `BATCH` bases: short windows alone would be costly to add."""
    held, bases = list[Rows](), 0
    for pair in rows:
        held.append(pair)
        bases += height(pair[0])
        if bases >= BATCH:
            yield _joined(held)
            held, bases = [], 0
    if bases:
        yield _joined(held)


def _joined(held: list[Rows]) -> Rows:
    ours, theirs = zip(*held)
    return stacked(ours), stacked(theirs)


def _compared(sums: JointSums, a: Source, b: Source, meanings: tuple[Meanings, Meanings] | None) -> SAEComparison:
    chance = _chance(sums)
    bound = float(np.nanmax([chance, LEAST]))
    correlations = sums.correlations()
    table = _table(sums, correlations, bound, a, b)
    found = None
    if meanings:
        table, found = beside(table, *meanings), carried(table, *meanings)
        found = found.assign(best_b_correlation=_of_pairs(correlations, found["feature"], found["best_b"]))
    return SAEComparison(table, found, sums.bases, sums.shift, chance, bound)


def _chance(sums: JointSums) -> float:
    """The quantile of the best partners' correlations on the shifted stream; NaN if it cannot be measured."""
    if not sums.close_circle():
        return np.nan
    best = sums.shifted_correlations().max(axis=1)
    best = best[best > NONE]
    return float(np.quantile(best, QUANTILE)) if len(best) else np.nan


def _table(sums: JointSums, correlations: NDArray[np.float64], bound: float, a: Source, b: Source) -> pd.DataFrame:
    features = np.arange(len(correlations))
    best = correlations.argmax(axis=1)
    highest = correlations[features, best]
    reciprocal = (correlations.argmax(axis=0)[best] == features) & (highest > NONE)
    matched, matched_correlation = _one_to_one(correlations)
    joint = sums.joint[features, best].astype(np.int64)
    either = sums.ours.active + sums.theirs.active[best] - joint
    known = highest > NONE
    columns = {
        "feature": [feature_name(i) for i in features.tolist()],
        "density": sums.ours.active / sums.bases,
        "partner": _names(best, known),
        "partner_density": np.where(known, sums.theirs.active[best] / sums.bases, np.nan),
        "correlation": np.where(known, highest, np.nan),
        "jaccard": np.where(known, joint / np.maximum(either, 1), np.nan),
        "cosine": np.where(known, pair_cosines(a.sae, b.sae, features, best), np.nan),
        "reciprocal": reciprocal,
        "replicates": reciprocal & (highest > bound),
        "matched": _names(matched, ~np.isnan(matched_correlation)),
        "matched_correlation": matched_correlation,
    }
    return pd.DataFrame(columns)


def _names(features: NDArray[np.int64], known: NDArray[np.bool_]) -> list[str | None]:
    return [feature_name(i) if there else None for i, there in zip(features.tolist(), known.tolist())]


def _one_to_one(correlations: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(Fa,) partners of the matching with the largest sum of correlations, and these; NaN without a partner."""
    np.negative(correlations, out=correlations)  # in place: a copy would take as much memory again
    rows, columns = linear_sum_assignment(correlations)
    np.negative(correlations, out=correlations)
    partners, values = np.full(len(correlations), -1), np.full(len(correlations), np.nan)
    found = correlations[rows, columns]
    partners[rows], values[rows] = columns, np.where(found > NONE, found, np.nan)
    return partners, values


def _of_pairs(correlations: NDArray[np.float64], ours: Iterable[str], theirs: Iterable[Any]) -> list[float]:
    """Correlations of named pairs; NaN if a feature never changes or the second name is missing."""
    found = [
        correlations[feature_number(f), feature_number(g)] if isinstance(g, str) else NONE for f, g in zip(ours, theirs)
    ]
    return [float(value) if value > NONE else np.nan for value in found]


def _facts(found: SAEComparison, a: Source, b: Source, from_a: Path | None, from_b: Path | None) -> dict[str, Any]:
    scores = {"from_a": str(from_a), "from_b": str(from_b)} if from_a else {}
    measured = {name: getattr(found, name) for name in ("bases", "shift", "bound")}
    chance = None if np.isnan(found.chance) else found.chance
    return {"a": a.provenance(), "b": b.provenance(), **scores, **measured, "chance": chance}


def _write(found: SAEComparison, out: Path, facts: dict[str, Any]) -> None:
    with atomic(out / COMPARED) as temporary:
        found.table.to_parquet(temporary, index=False)
    tables = {COMPARED_TSV: found.table} | ({} if found.carried is None else {CARRIED: found.carried})
    for name, table in tables.items():
        write_tsv(table, out / name)
    write_provenance(out, **facts)
