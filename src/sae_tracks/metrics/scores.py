"""From counts to precision, recall and F1: the pairs that get rows, the rows, and the files that hold them."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from sae_tracks.arrays import ratio
from sae_tracks.bounded import DAMAGED, opened, read_text
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, atomic, values_differ, without_quotes, write_tsv
from sae_tracks.metrics.counts import Counts, at_thresholds, load_counts
from sae_tracks.names import feature_number
from sae_tracks.records import by_content, check_parts, read_made
from sae_tracks.regions import one_run

BEST = 10  # features per concept, and concepts per feature
PAIRS = 1 << 17  # scored at once
KeptPairs = tuple[NDArray[np.int64], NDArray[np.int64]]  # concepts and columns, ascending


def scores(counts: Counts, *, all_pairs: bool = False) -> pd.DataFrame:
    """Scores of the best pairs at every threshold, one row per (concept, site_strand, feature, read_strand, threshold).

    The columns are those of `SCHEMA`, explained in docs/formats.md. They describe the report half, except for
    ``select_f1``, on the other half, and ``chosen``, which marks the pair's best threshold by ``select_f1`` (the lowest
    if several are). A quotient is NaN if its divisor is 0 or instances were not followed. The pairs kept are the best
    10 features of a concept and the best 10 concepts of a feature by ``select_f1``, per read strand; if pairs tie, the
    first concept or feature comes first. A pair without a true positive in the select half is never among the best.
    With `all_pairs`, every pair with a true positive at any threshold, in either half, is kept. Open instances are
    closed.
    """
    return pd.concat(score_tables(counts, kept_pairs(counts, all_pairs=all_pairs)), ignore_index=True)


def kept_pairs(counts: Counts, *, all_pairs: bool = False) -> list[KeptPairs]:
    """The pairs that `scores` has rows of, for each read strand."""
    kept = []
    for strand in range(len(counts.read_strands)):
        if all_pairs:
            chosen = counts.tp[strand].any(axis=(0, 2))
        else:
            f1 = _select_f1(counts, strand)
            chosen = _best_of_rows(f1) | _best_of_rows(np.ascontiguousarray(f1.T)).T
        concept, column = np.nonzero(chosen)
        kept.append((concept, column))
    return kept


def score_tables(counts: Counts, kept: Sequence[KeptPairs]) -> Iterator[pd.DataFrame]:
    """The rows of `scores` for the pairs of `kept_pairs`, in tables that fit in memory; one or more, perhaps empty."""
    counts.close()
    for strand, (concept, column) in enumerate(kept):
        for start in range(0, max(len(concept), 1), PAIRS):
            some = slice(start, start + PAIRS)
            yield _rows(counts, strand, concept[some], column[some])


def best_features(table: pd.DataFrame) -> pd.DataFrame:
    """The best feature of every concept and site strand by select_f1, at its chosen threshold.

    A, C, G and T come first, then the highest F1 on the report half.
    """
    key = ["concept", "site_strand"]
    chosen = cast(pd.DataFrame, table[table["chosen"]])
    best = chosen.sort_values("select_f1", ascending=False, kind="stable").drop_duplicates(key)
    nucleotide = best["concept"].isin(list(NUCLEOTIDES)) & (best["site_strand"] == "+")
    order = best.assign(other=~nucleotide, worst=-best["f1"]).sort_values(["other", "worst", *key], kind="stable")
    return order.drop(columns=["other", "worst"]).reset_index(drop=True)


def _select_f1(counts: Counts, strand: int) -> NDArray[np.float64]:
    """(C, K) float64: the best F1 of each pair over the thresholds, on the select half; 0 if nothing is active."""
    labelled, active = counts.labelled[strand, 0], at_thresholds(counts.active[strand, 0], 0)
    tp = np.zeros((len(labelled), len(counts.features)), np.uint32)
    best = np.zeros(tp.shape)
    for t in reversed(range(len(counts.thresholds))):
        tp += counts.tp[strand, 0, :, t]
        np.maximum(best, 2.0 * tp / np.maximum(labelled[:, None] + active[t], 1), out=best)
    return best


def _best_of_rows(f1: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the 10 highest scores of every row that are not 0; the first ones if they tie."""
    if f1.shape[1] <= BEST:
        return f1 > 0
    tenth = np.partition(f1, -BEST, axis=1)[:, -BEST, None]
    above, tied = f1 > tenth, f1 == tenth
    room = BEST - above.sum(axis=1, keepdims=True)
    return (above | (tied & (np.cumsum(tied, axis=1, dtype=np.int32) <= room))) & (f1 > 0)


def _rows(counts: Counts, strand: int, concept: NDArray[np.int64], column: NDArray[np.int64]) -> pd.DataFrame:
    """All thresholds of m pairs, ascending within a pair."""
    thresholds = len(counts.thresholds)
    tp = at_thresholds(counts.tp[strand][:, concept, :, column], 2).transpose(1, 0, 2)
    active = at_thresholds(counts.active[strand], 1)[:, :, column].transpose(0, 2, 1)
    labelled = counts.labelled[strand][:, concept, None]
    f1 = ratio(2 * tp, active + labelled)
    chosen = np.nan_to_num(f1[0]).argmax(axis=1)
    each = np.repeat(np.arange(len(concept)), thresholds)
    names = counts.concepts.iloc[concept[each]]
    report = _report_half(counts, strand, concept, column, tp[-1], active[-1])
    return pd.DataFrame(
        {
            **{name: names[name].to_numpy() for name in ("concept", "tf", "site_strand")},
            "feature": counts.features.astype(object)[column[each]],
            "read_strand": counts.read_strands[strand],
            "threshold": np.tile(counts.thresholds, len(concept)),
            **{name: values.ravel() for name, values in report.items()},
            "select_f1": f1[0].ravel(),
            "chosen": (chosen[:, None] == np.arange(thresholds)).ravel(),
            "verdict": "not-tested",
        }
    )


def _report_half(counts: Counts, strand: int, concept, column, tp, active) -> dict[str, NDArray]:
    """Columns from ``instances`` to ``enrichment``, (m, T) each, like the bases `tp` and `active` of the pairs."""
    instances = np.broadcast_to(counts.instances[strand, -1, concept][:, None], tp.shape)
    labelled = np.broadcast_to(counts.labelled[strand, -1, concept][:, None], tp.shape)
    hit = np.full(tp.shape, np.nan)
    if counts.hits is not None:
        hit = at_thresholds(counts.hits[strand, -1][concept, :, column], 1)
    precision = ratio(tp, active)
    # 2 P R / (P + R) with P = tp / active and R = hit / instances; 0, like F1, if nothing is hit
    domain_f1 = np.where((hit == 0) & (instances > 0), 0, ratio(2 * tp * hit, tp * instances + hit * active))
    return {
        "instances": instances,
        "instances_hit": hit,
        "tp": tp,
        "fp": active - tp,
        "fn": labelled - tp,
        "precision": precision,
        "recall": ratio(tp, labelled),
        "f1": ratio(2 * tp, active + labelled),
        "domain_recall": ratio(hit, instances),
        "domain_f1": domain_f1,
        "enrichment": ratio(precision, labelled / max(int(counts.bases[strand, -1]), 1)),
    }


SCORES, BEST_SCORES, COUNTS = "metrics.parquet", "metrics.tsv", "counts.npz"

OFFSETS = "offsets.parquet"  # of the controls
PAIR = ["concept", "site_strand", "feature", "read_strand"]
Judge = Callable[[pd.DataFrame], pd.DataFrame]
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("concept", "tf", "site_strand", "feature", "read_strand")),
        ("threshold", pa.float64()),
        *((name, pa.int64()) for name in ("instances", "instances_hit", "tp", "fp", "fn")),
        *((name, pa.float64()) for name in ("precision", "recall", "f1", "domain_recall", "domain_f1", "enrichment")),
        ("select_f1", pa.float64()),
        ("chosen", pa.bool_()),
        ("verdict", pa.string()),
    ]
)


def refuse_beside(table: Path) -> None:
    """Refuse a folder that holds a table of another run, which this run would not replace."""
    if table.exists():
        raise SaeTracksError(
            f"{table} is of another run, and would look like part of this one: name another folder for -o, or score "
            "intervals and signals in one run"
        )


def write_tables(counts: Counts, folder: Path, *, all_pairs: bool = False, judge: Judge | None = None) -> pd.DataFrame:
    """Write ``counts.npz``, ``metrics.parquet`` and ``metrics.tsv``, and return the rows of the last.

    These are `best_features`. `judge` adds columns to them and gives each its verdict, which is also written for all
    thresholds of the pair. `all_pairs` is that of `scores`; the table of all pairs is never held whole.
    """
    kept = kept_pairs(counts, all_pairs=all_pairs)
    tables = [best_features(table) for table in score_tables(counts, kept)]
    counts.save(folder / COUNTS)
    best = best_features(pd.concat(tables, ignore_index=True))
    if judge and len(best):
        best = judge(best)
    verdict = best.set_index(PAIR)["verdict"]
    with atomic(folder / SCORES) as temporary, parquet.ParquetWriter(temporary, SCHEMA) as writer:
        for table in score_tables(counts, kept):
            pairs = pd.MultiIndex.from_frame(cast(pd.DataFrame, table[PAIR]))
            known = verdict.reindex(pairs).to_numpy(object)
            table["verdict"] = np.where(pd.isna(known), table["verdict"], known)
            writer.write_table(pa.Table.from_pandas(table, SCHEMA, preserve_index=False))
    write_tsv(best, folder / BEST_SCORES)
    return best


def read_table(path: Path, texts: Iterable[str] = ()) -> pd.DataFrame:
    """Read ``metrics.tsv`` or ``metrics.parquet``; an empty number is NaN, an empty or "NA" text stays text.

    `texts` names columns of text besides those of `SCHEMA`. Other columns of a TSV are numbers if all their values are.
    A TSV that ends within a row is an error; a line break after the last row may be missing.
    """
    path = Path(path)
    if not path.exists():
        raise SaeTracksError(f"no table {path}")
    try:
        if path.suffix == ".parquet":
            with opened(path) as file:
                return parquet.read_table(file).to_pandas()
        data = read_text(path)
        rows = csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8", newline=""), delimiter="\t")
        if len({len(row) for row in rows if row}) > 1:
            raise SaeTracksError(f"{path} is cut short or damaged: a row has not as many columns as the first line")
        texts = {*texts, *(field.name for field in SCHEMA if field.type == pa.string())}
        names = pd.read_csv(io.BytesIO(data), sep="\t", nrows=0).columns
        numbers = {name: [""] for name in names if name not in texts}
        text: Any = dict.fromkeys(texts, str)
        table = pd.read_csv(io.BytesIO(data), sep="\t", dtype=text, na_values=numbers, keep_default_na=False)
    except SaeTracksError:
        raise
    except (*DAMAGED, csv.Error) as error:
        raise SaeTracksError(f"cannot read {path} as a table of scores: {error}") from error
    table = without_quotes(table)
    for field in SCHEMA:
        is_read = len(table) > 0 and field.name in table  # columns of no rows have no type
        if is_read and pa.types.is_floating(field.type) and table[field.name].dtype.kind not in "fiu":
            texts = cast(pd.Series, table[field.name].dropna())
            read = cast(pd.Series, pd.to_numeric(texts, errors="coerce"))
            wrong = cast(pd.Series, texts[read.isna()]).iloc[0]
            raise SaeTracksError(f"{path}: expected numbers in the column {field.name!r}; one is {wrong!r}")
    return table


def is_true(value: object) -> bool:
    """Whether a value of a column of truth values is true; a column that has blanks is text or numbers."""
    return str(value) in ("True", "1", "1.0")


def top_features(table: str | Path, count: int) -> list[int]:
    """Return the features of the `count` best matches by F1 in ``metrics.parquet`` or ``metrics.tsv``, best first.

    A match is a pair of a concept on one site strand and a feature in one read strand, at its best threshold; A, C, G
    and T are concepts too. A feature of several matches is listed once, so there may be fewer features than matches.
    """
    columns = ("concept", "site_strand", "feature", "read_strand", "f1")
    matches = read_table(Path(table))
    if missing := [name for name in columns if name not in matches]:
        raise SaeTracksError(
            f"{table} has no column {missing[0]!r}: name the metrics.parquet or metrics.tsv of sae-tracks metrics"
        )
    matches = matches.dropna(subset="f1").sort_values("f1", ascending=False, kind="stable")
    best = matches.drop_duplicates([name for name in columns if name != "f1"]).head(count)
    return features_of(best, table)


def features_of(matches: pd.DataFrame, table: str | Path) -> list[int]:
    """Return the features of matches from a file, each once, in their order.

    Raises
    ------
    SaeTracksError
        A feature is not of an SAE, such as a dimension.
    """
    names = list(dict.fromkeys(matches["feature"].astype(str)))
    if other := [name for name in names if not re.fullmatch(r"f\d{1,9}", name)]:
        raise SaeTracksError(f"{table} is not of an SAE: its feature {other[0]!r} has no name like f357")
    return [feature_number(name) for name in names]


SHARD_FACTS = {
    "shard": str,
    "annotations?": {str: (str, None)},
    "alias_sha256?": (str, None),
    "controls?": {"not_run?": str},
}
OWN = ("shard", "command", "parts")  # facts that differ between the shards of one run
SPELLED = ("select_on", "report_on")  # files or regions; halves_sha256 says what they are


def add_shards(folders: Iterable[Path], *beside: str) -> tuple[Counts, dict]:
    """Add the counts that the shards of one run have written, one at a time.

    The folders, in any order, each hold the ``counts.npz`` and ``provenance.json`` of ``metrics --shard i/n``. What
    lies `beside` the counts is compared with its checksums too.

    Returns
    -------
    Counts, dict
        The numbers of the run without shards, and what its provenance says.

    Raises
    ------
    SaeTracksError
        A folder holds no shard, shards are of different runs, or one is missing or there twice.
    """
    folders, facts = shard_facts(list(folders), COUNTS, *beside)
    total = load_counts(folders[0] / COUNTS)
    for folder in folders[1:]:
        total.merge(load_counts(folder / COUNTS))
    return total, facts


def shard_facts(folders: Sequence[Path], *names: str) -> tuple[list[Path], dict]:
    """The folders by number, and what the provenance of a run without shards says; see `add_shards`.

    `names` are compared with their checksums.
    """
    facts = [_facts(folder, names) for folder in folders]
    ordered = one_run(folders, facts, "metrics", _differ)
    return ordered, {key: value for key, value in facts[0].items() if key not in (*OWN, "sae_tracks")}


def _facts(folder: Path, names: Sequence[str]) -> dict:
    facts = read_made(Path(folder) / PROVENANCE)
    if "shard" not in facts:
        raise SaeTracksError(f"{folder} is not of metrics --shard i/n: there is nothing to add")
    return check_parts(Path(folder), *names, shape=SHARD_FACTS)


def _differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The first thing by which two shards are of different runs; None if they are of one."""
    files = [by_content(facts, ["annotations"]) for facts in (one, other)]
    for facts in files:
        facts["alias"] = "a file" if facts.get("alias_sha256") else facts.get("alias")  # known by its checksum
    return values_differ(*files, ignore=(*OWN, *SPELLED))
