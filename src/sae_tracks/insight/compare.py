"""Features of two SAEs, matched by their activations on the same bases.

The SAEs may be of two seeds, two layers or two models. Two features are alike if their activations correlate over
bases, whatever their decoders say. Both models read in the same direction, and a base is compared with itself: a
feature that says the same some bases later is another feature here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

from sae_tracks.errors import SaeTracksError
from sae_tracks.evaluate.compare import decoder_directions
from sae_tracks.features import FeatureBlock, encode_reading, side_by_side
from sae_tracks.files import atomic, digest, make_folder, sha256, values_differ, write_provenance, write_tsv
from sae_tracks.insight.joint import BATCH, NONE, SHIFT, JointSums, height, stacked
from sae_tracks.insight.meaning import CARRIED, COMPARED, COMPARED_TSV, Meanings, beside, carried, read_meanings
from sae_tracks.insight.partners import jaccard_index
from sae_tracks.insight.shards import Arrays, Run, Shards
from sae_tracks.metrics.scores import BEST_SCORES, SCORES
from sae_tracks.names import feature_name, feature_number
from sae_tracks.progress import track
from sae_tracks.reading import Reading, Window, plan_windows, read_windows
from sae_tracks.regions import WHOLE, ReadStrand, Shard
from sae_tracks.sae.encoder import SparseEncoder
from sae_tracks.source import Source

LEAST = 0.5  # correlation: a quarter of the variance in common
QUANTILE = 0.99  # of the highest correlations that the shifted stream gives
OF_SAE = ("sae_sha256", "sae_architecture", "sae_k")
Rows = tuple[csr_array, csr_array]
Directions = tuple[NDArray[np.float32], ...] | None  # decoder rows of both SAEs, of length 1


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
    facts: dict[str, Any] = field(repr=False)

    def write(self, out: Path) -> None:
        """Write compare.parquet, compare.tsv, provenance.json and, with scores, carried.tsv into a folder."""
        make_folder(out)
        with atomic(out / COMPARED) as temporary:
            self.table.to_parquet(temporary, index=False)
        tables = {COMPARED_TSV: self.table} | ({} if self.carried is None else {CARRIED: self.carried})
        for name, table in tables.items():
            write_tsv(table, out / name)
        write_provenance(out, **self.facts)

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
    run = CompareRun(a, b, from_a, from_b)
    if out is not None:
        make_folder(out)
    found = run.whole()
    if out is not None:
        found.write(out)
    return found


class CompareRun(Run):
    """A run of `compare_saes`; `run_shard` reads it in parts."""

    verb = "compare"

    def __init__(self, a: Source, b: Source, from_a: Path | None = None, from_b: Path | None = None) -> None:
        _check_same_bases(a, b)
        if (from_a is None) != (from_b is None):
            raise SaeTracksError(
                "scores of one SAE say nothing of the other: give both --from-a and --from-b, or neither"
            )
        self._a, self._b = a, b
        self._scores = [Path(path) for path in (from_a, from_b) if path is not None]
        _read_meanings(self._scores, self.sources())

    def whole(self) -> SAEComparison:
        """Read all windows."""
        sums, directions = self._read(WHOLE), decoder_directions(self._a.sae, self._b.sae)
        return _compared(sums, directions, self._scores, self.sources(), self.provenance())

    def sources(self) -> list[dict[str, Any]]:
        return [self._a.provenance(), self._b.provenance()]

    def facts(self) -> dict[str, Any]:
        names = zip(("from_a", "from_b"), self._scores)
        return {name: {str(path): _checksum(path)} for name, path in names}

    def inputs(self) -> dict[str, Any]:
        scores = [str(path.absolute()) for path in self._scores]
        return {"features": [self._a.sae.d_sae, self._b.sae.d_sae], "shift": self._shift(), "scores": scores}

    def read(self, shard: Shard) -> Arrays:
        directions = decoder_directions(self._a.sae, self._b.sae)
        named = {} if directions is None else dict(zip(DIRECTIONS, directions))
        return self._read(shard).arrays() | named

    def _shift(self) -> int:
        planned = sum(len(window.kept) for strand in self._a.read_strands for window in self._a.windows(strand))
        return min(SHIFT, planned // 2)

    def _read(self, shard: Shard) -> JointSums:
        sums = JointSums((self._a.sae.d_sae, self._b.sae.d_sae), self._shift())
        for number, strand in enumerate(self._a.read_strands):
            for ours, theirs in _batches(_rows(self._a, self._b, strand, shard)):
                sums.add(ours, theirs, number)
        return sums


DIRECTIONS = ("directions_a", "directions_b")


def merge_compare(shards: Shards) -> SAEComparison:
    """Add the sums of all shards, and match the features; of the scores, what features mean is read."""
    scores = list(map(Path, shards.inputs["scores"]))
    names = zip(("from_a", "from_b"), scores)
    shards.check(shards.facts | {name: {str(path): _checksum(path)} for name, path in names})
    a, b = shards.inputs["features"]
    sums, directions = JointSums((a, b), shards.inputs["shift"]), None
    for arrays in shards.arrays():
        sums.merge(arrays)
        directions = tuple(arrays[name] for name in DIRECTIONS) if DIRECTIONS[0] in arrays else None
    return _compared(sums, directions, scores, shards.sources, shards.provenance())


def _check_same_bases(a: Source, b: Source) -> None:
    regions, strands = (a.regions, b.regions), (list(a.read_strands), list(b.read_strands))
    if a.genome is not b.genome and a.genome.identity(a.contigs) != _identity(b, a.contigs):
        raise SaeTracksError(f"{a.genome.path.name} and {b.genome.path.name} differ: compare SAEs on one genome")
    if regions[0] != regions[1] or strands[0] != strands[1]:
        raise SaeTracksError("the two sources have other regions or read strands: give both the same")


def _identity(source: Source, contigs: list[str]) -> dict[str, Any]:
    return source.genome.identity(name for name in contigs if name in source.genome.lengths)


def _checksum(scores: Path) -> str:
    """Of both tables of a folder of scores."""
    if not scores.exists():
        raise SaeTracksError(f"{scores} is gone, and merge-shards reads its scores again")
    folder = scores if scores.is_dir() else scores.parent
    return digest([sha256(folder / SCORES), sha256(folder / BEST_SCORES)])


def _read_meanings(scores: Sequence[Path], sources: Sequence[dict[str, Any]]) -> list[Meanings]:
    """What the features of each SAE mean; empty without scores."""
    return [read_meanings(path, one["sae_sha256"], one["read_strands"]) for path, one in zip(scores, sources)]


def _rows(a: Source, b: Source, strand: ReadStrand, shard: Shard) -> Iterator[Rows]:
    """Yield the rows of bases that both can read, from both streams; a shard is of the windows of the first."""
    encoders = a.encoder(), b.encoder()
    windows = a.windows(strand, shard)
    if not windows:
        return
    readings = track(_readings(a, windows), f"reading {strand}", len(windows))
    if values_differ(a.identity(), b.identity(), ignore=OF_SAE) is None:
        for reading in readings:
            yield from aligned(*(encode_reading(encoder, reading) for encoder in encoders))
    else:
        same_bases = [window.kept for window in windows]
        others = plan_windows(b.genome, same_bases, layout=b.layout, read_strand=strand)
        yield from aligned(*map(_encode, encoders, (readings, _readings(b, others))))


def _readings(source: Source, windows: Sequence[Window]) -> Iterator[Reading]:
    return read_windows(source.lm, source.genome, windows, source.black_list, source.min_context)


def _encode(encoder: SparseEncoder, readings: Iterator[Reading]) -> Iterator[FeatureBlock]:
    return chain.from_iterable(encode_reading(encoder, reading) for reading in readings)


def aligned(ours: Iterator[FeatureBlock], theirs: Iterator[FeatureBlock]) -> Iterator[Rows]:
    """Yield the activations of two streams of the same bases on those that are readable in both.

    Yields
    ------
    (k, Fa) and (k, Fb) sparse float32
        Rows of the same bases.
    """
    for a, b in side_by_side(ours, theirs):
        readable = a.readable & b.readable
        yield a.to_scipy()[readable], b.to_scipy()[readable]


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


def _compared(
    sums: JointSums,
    directions: Directions,
    scores: Sequence[Path],
    sources: Sequence[dict[str, Any]],
    facts: dict[str, Any],
) -> SAEComparison:
    if sums.bases == 0:
        raise SaeTracksError("no base of the regions is readable for both: name other regions")
    chance = _chance(sums)
    bound = float(np.nanmax([chance, LEAST]))
    correlations = sums.correlations()
    table, found = _table(sums, correlations, bound, directions), None
    if meanings := _read_meanings(scores, sources):
        table, found = beside(table, *meanings), carried(table, *meanings)
        found = found.assign(best_b_correlation=_of_pairs(correlations, found["feature"], found["best_b"]))
    measured = {
        "bases": sums.bases,
        "shift": sums.shift,
        "bound": bound,
        "chance": None if np.isnan(chance) else chance,
    }
    return SAEComparison(table, found, sums.bases, sums.shift, chance, bound, facts | measured)


def _chance(sums: JointSums) -> float:
    """The quantile of the best partners' correlations on the shifted stream; NaN if it cannot be measured."""
    if not sums.close_circle():
        return np.nan
    best = sums.shifted_correlations().max(axis=1)
    best = best[best > NONE]
    return float(np.quantile(best, QUANTILE)) if len(best) else np.nan


def _table(sums: JointSums, correlations: NDArray[np.float64], bound: float, directions: Directions) -> pd.DataFrame:
    features = np.arange(len(correlations))
    best = correlations.argmax(axis=1)
    highest = correlations[features, best]
    reciprocal = (correlations.argmax(axis=0)[best] == features) & (highest > NONE)
    matched, matched_correlation = _one_to_one(correlations)
    joint = sums.joint[features, best].astype(np.int64)
    jaccard = jaccard_index(joint, sums.ours.active, sums.theirs.active[best])
    known, cosine = highest > NONE, np.full(len(best), np.nan)
    if directions:
        cosine = (directions[0] * directions[1][best]).sum(axis=1, dtype=np.float64)
    columns = {
        "feature": [feature_name(i) for i in features.tolist()],
        "density": sums.ours.active / sums.bases,
        "partner": _names(best, known),
        "partner_density": np.where(known, sums.theirs.active[best] / sums.bases, np.nan),
        "correlation": np.where(known, highest, np.nan),
        "jaccard": np.where(known, jaccard, np.nan),
        "cosine": np.where(known, cosine, np.nan),
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
