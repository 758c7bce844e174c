"""In-silico insertion: is a motif alone, put into other sequence, enough to raise a feature?

A feature that fires at the sites of a motif may read the motif, or what usually stands beside it. Here the motif's
words are put into sequence that has nothing else of it, and words of its decoys into the same sequence. If the feature
reads the motif, it tells the two apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.bootstrap import INTERVAL, draws_of, interval
from sae_tracks.controls.items import auroc
from sae_tracks.files import PROVENANCE, atomic, digest, make_folder, write_provenance, write_tsv
from sae_tracks.insight.contexts import KINDS, LEAST, draw_contexts, kinds_of
from sae_tracks.insight.responses import DECOY, REACH, SITE, Plan, Responses, measure, plan_copies
from sae_tracks.insight.shards import Arrays, Run, Shards
from sae_tracks.metrics import annotation_checksums
from sae_tracks.motifs import Motif
from sae_tracks.names import counted
from sae_tracks.regions import WHOLE, ReadStrand, Shard
from sae_tracks.source import Source

CONTEXTS = 100  # of each kind
INSERTION, PROFILE = "insertion", "insertion_profile"
PROFILE_COLUMNS = ("concept", "tf", "site_strand", "feature", "read_strand", "offset", "change", "low", "high")


@dataclass(frozen=True, slots=True)
class Insertion:
    """What insertions did.

    Attributes
    ----------
    table : DataFrame
        One row per motif, site strand, feature and read strand; see docs/formats.md.
    profile : DataFrame
        The mean change of the feature at each base around the word, with its interval.
    """

    table: pd.DataFrame
    profile: pd.DataFrame


def insert_motifs(
    source: Source,
    motifs: Sequence[Motif],
    features: Sequence[int],
    *,
    pairs: set[tuple[str, int]] | None = None,
    contexts: int = CONTEXTS,
    repeats: str | None = None,
    seed: int = 0,
) -> Insertion:
    """Put motifs into sequence without them, and measure what features do.

    Contexts are real sequence of the source's regions and the same sequence after a shuffle that keeps dinucleotides;
    see `draw_contexts`. Into each, one word of the motif and one of a decoy are put at the same place, in both
    orientations. A context with a site of the motif near the place is left out for this motif. The response to a word
    is the change of the feature's maximum over the word and `REACH` bases behind it (with a model that is not causal,
    also before it), in the direction of reading, against the context as it was.

    Parameters
    ----------
    source : Source
        Model, SAE, genome, regions, read strands and the number of bases of context.
    motifs : sequence of Motif
        From `sae_tracks.motifs.read_motifs`. Those without words or decoys have rows without numbers.
    features : sequence of int
        Feature ids.
    pairs : set of (matrix ID, feature id), optional
        Only these; default all.
    contexts : int
        Number of contexts of each kind, at least 20.
    repeats : str, optional
        A file, ``softmask`` or ``alu``: real contexts lie outside of repeats, and a third kind inside.
    seed : int
        Of words, shuffles and the bootstrap.

    Returns
    -------
    Insertion
        Its rows are in the order of the read strands, then of the motifs, features and site strands.

    Raises
    ------
    SaeTracksError
        The regions have too few contexts, a feature is not in the SAE, or the context is longer than the model reads.
    """
    run = InsertRun(source, motifs, features, pairs=pairs, contexts=contexts, repeats=repeats, seed=seed)
    return run.whole()


class InsertRun(Run):
    """A run of `insert_motifs`, which has the parameters; `run_shard` reads it in parts: a shard is some of the motifs.

    `scores` is a folder whose matches are judged again when shards are merged. `named` are more facts for the
    provenance, such as the file of the motifs.
    """

    verb = "insert"

    def __init__(
        self,
        source: Source,
        motifs: Sequence[Motif],
        features: Sequence[int],
        *,
        pairs: set[tuple[str, int]] | None = None,
        contexts: int = CONTEXTS,
        repeats: str | None = None,
        seed: int = 0,
        scores: Path | None = None,
        named: Mapping[str, Any] | None = None,
    ) -> None:
        features = list(dict.fromkeys(features))
        source.sae.check_features(features)
        self._source, self._scores = source, scores
        self._plan = plan_copies(source, motifs, features, pairs, contexts, 3 if repeats else 2, seed)
        self._contexts, self._repeats, self._seed, self._named = contexts, repeats, seed, dict(named or {})

    def whole(self) -> Insertion:
        """Read all motifs."""
        return self._read(WHOLE)

    def size(self) -> str:
        """Say what is read, and how much memory the responses take. No context is drawn."""
        plan, strands = self._plan, len(self._source.read_strands)
        groups, words = plan.groups(WHOLE), 4 * len(plan.motifs)
        bases, times = plan.shape.before + plan.shape.behind, "once" if len(groups) == 1 else f"{len(groups):,} times"
        motifs = counted(len(plan.motifs), "motif and its", "motifs and their")
        return (
            f"{counted(plan.contexts, 'context')} of {bases:,} bases per read strand, each read {times}; {words:,} "
            f"words of {motifs} decoys in each: {words * plan.contexts * strands:,} copies; "
            f"{len(plan.motif) * strands:,} rows; responses of {max(map(plan.bytes, groups)) / 1e6:,.1f} MB"
        )

    def sources(self) -> list[dict[str, Any]]:
        return [self._source.provenance()]

    def facts(self) -> dict[str, Any]:
        plan = self._plan
        matrices = digest(f"{motif.matrix_id} {motif.counts.tolist()}" for motif in plan.motifs)
        rows = digest(str(plan.names(row, "+")) for row in range(len(plan.motif)))
        repeats = self._repeats and annotation_checksums([self._repeats])
        more = {"contexts": self._contexts, "repeats": repeats, "seed": self._seed}
        return {**self._named, **more, "matrices_sha256": matrices, "rows_sha256": rows}

    def inputs(self) -> dict[str, Any]:
        return {"scores": self._scores and str(self._scores.absolute()), "read_strands": [*self._source.read_strands]}

    def read(self, shard: Shard) -> Arrays:
        found = self._read(shard)
        tables = (("table", found.table), ("profile", found.profile))
        columns = {f"{kind}.{name}": table[name].to_numpy() for kind, table in tables for name in table}
        return {name: array.astype(np.str_) if array.dtype.kind == "O" else array for name, array in columns.items()}

    def _read(self, shard: Shard) -> Insertion:
        tables, profiles, source, seed = [], [], self._source, self._seed
        for strand in source.read_strands:
            drawn = draw_contexts(source, self._plan.shape, self._contexts, strand, repeats=self._repeats, seed=seed)
            kinds = kinds_of(drawn)
            for group in self._plan.groups(shard):
                plan = self._plan.part(group)
                found = measure(source, plan, drawn, strand)
                tables.append(_table(plan, found, kinds, strand, seed))
                profiles += _profile(plan, found, kinds, strand, seed)
        return Insertion(_joined(tables), _joined(profiles, PROFILE_COLUMNS))


def merge_insert(shards: Shards) -> Insertion:
    """Join the rows of all shards, in the order of one run; nothing is read again."""
    parts: dict[str, list[pd.DataFrame]] = {"table": [], "profile": []}
    for arrays in shards.arrays():
        for kind, tables in parts.items():
            named = {
                name.removeprefix(f"{kind}."): array for name, array in arrays.items() if name.startswith(f"{kind}.")
            }
            columns = {
                name: array.astype(object) if array.dtype.kind == "U" else array for name, array in named.items()
            }
            tables.append(pd.DataFrame(columns))
    order = {strand: number for number, strand in enumerate(shards.inputs["read_strands"])}
    joined = (_joined(parts["table"]), _joined(parts["profile"], PROFILE_COLUMNS))
    by_strand = (table.sort_values("read_strand", key=lambda one: one.map(order), kind="stable") for table in joined)
    return Insertion(*(table.reset_index(drop=True) for table in by_strand))


def _joined(tables: Sequence[pd.DataFrame], columns: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of all tables that have some; no rows but these columns if none has."""
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(columns))


def _table(plan: Plan, found: Responses, kinds: NDArray[np.int64], read_strand: ReadStrand, seed: int) -> pd.DataFrame:
    rows, plain = [], kinds < KINDS.index("repeat")
    for row, used in enumerate(found.used):
        both = used & plain
        values = {**plan.names(row, read_strand), "contexts": int(both.sum())}
        values |= _scores(found.change[row, both], seed, "insertion")
        for number, kind in enumerate(KINDS):
            values |= _scores(found.change[row, used & (kinds == number)], seed, kind)
        last = plan.back + plan.motifs[plan.motif[row]].width + REACH
        highest = found.profile[row, both, :last].mean(axis=0).argmax() - plan.back if both.any() else np.nan
        rows.append(values | {"offset": float(highest)})
    return pd.DataFrame(rows)


def _scores(change: NDArray[np.float32], seed: int, name: str) -> dict[str, float]:
    """AUROC of motifs against decoys and the mean changes, from (n, 2) changes; NaN with fewer than 20 contexts.

    Intervals are over contexts.
    """
    columns = [
        f"{name}{end}" for end in ("_auroc", "_low", "_high", "_change", "_change_low", "_change_high", "_decoy")
    ]
    if len(change) < LEAST:
        return dict.fromkeys(columns, np.nan)
    n = len(change)
    levels, level = np.unique(change, return_inverse=True)
    counts = np.zeros((2, n, len(levels)))
    for word in (SITE, DECOY):
        counts[word, np.arange(n), level.reshape(n, 2)[:, word]] = 1
    draws, mean = draws_of(n, seed), change.mean(axis=0, dtype=np.float64)
    value = float(auroc(counts[SITE].sum(axis=0), counts[DECOY].sum(axis=0)))
    ends = interval(auroc(draws @ counts[SITE], draws @ counts[DECOY]))
    return dict(zip(columns, (value, *ends, mean[SITE], *interval(draws @ change[:, SITE] / n), mean[DECOY])))


def _profile(
    plan: Plan, found: Responses, kinds: NDArray[np.int64], read_strand: ReadStrand, seed: int
) -> list[pd.DataFrame]:
    """A table per row, with a line per base; `offset` counts from the word's first base in the direction of reading."""
    tables = []
    for row, used in enumerate(found.used & (kinds < KINDS.index("repeat"))):
        if used.any():
            last = plan.back + plan.motifs[plan.motif[row]].width + REACH
            change = found.profile[row, used, :last].astype(np.float64)
            low, high = np.percentile(draws_of(len(change), seed) @ change / len(change), INTERVAL, axis=0)
            columns = {"offset": np.arange(last) - plan.back, "change": change.mean(axis=0), "low": low, "high": high}
            tables.append(pd.DataFrame({**plan.names(row, read_strand), **columns}))
    return tables


def write_insertion(found: Insertion, out: Path, **facts: Any) -> None:
    """Write ``insertion.tsv``, ``insertion.parquet`` and ``insertion_profile.parquet``, and how they were made."""
    make_folder(out)
    for name, table in ((INSERTION, found.table), (PROFILE, found.profile)):
        with atomic(out / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    write_tsv(found.table, out / f"{INSERTION}.tsv")
    write_provenance(out, file_name=f"{INSERTION}.{PROVENANCE}", **facts)
