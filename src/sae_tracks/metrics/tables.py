"""The files of the metrics: every score as Parquet, the best ones as TSV, the counts as they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic
from sae_tracks.metrics.counts import Counts
from sae_tracks.metrics.scores import best_features, kept_pairs, score_tables

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
TEXTS = [field.name for field in SCHEMA if field.type == pa.string()]
TEXTS += [
    "tf_class",
    "tf_family",
    "untested",
    "kmer",
    "neuron",
    "repeat_class",
    "next_concept",
    "memorised",
]  # controls


def write_tables(counts: Counts, folder: Path, *, all_pairs: bool = False, judge: Judge | None = None) -> pd.DataFrame:
    """Write ``counts.npz``, ``metrics.parquet`` and ``metrics.tsv``.

    Parameters
    ----------
    counts : Counts
        What to score.
    folder : Path
        Made where it is missing.
    all_pairs : bool
        See `scores`; the table is written in parts and never held whole.
    judge : function, optional
        Adds columns to the rows of ``metrics.tsv`` and gives each its verdict, which all thresholds of the pair get.

    Returns
    -------
    DataFrame
        The rows of ``metrics.tsv``: see `best_features`.
    """
    kept = kept_pairs(counts, all_pairs=all_pairs)
    parts = [best_features(table) for table in score_tables(counts, kept)]
    counts.save(folder / COUNTS)
    best = best_features(pd.concat(parts, ignore_index=True))
    if judge and len(best):
        best = judge(best)
    verdict = best.set_index(PAIR)["verdict"]
    with atomic(folder / SCORES) as temporary, parquet.ParquetWriter(temporary, SCHEMA) as writer:
        for table in score_tables(counts, kept):
            known = verdict.reindex(pd.MultiIndex.from_frame(table[PAIR])).to_numpy(object)
            table["verdict"] = np.where(pd.isna(known), table["verdict"], known)
            writer.write_table(pa.Table.from_pandas(table, SCHEMA, preserve_index=False))
    with atomic(folder / BEST_SCORES) as temporary:
        best.to_csv(temporary, sep="\t", index=False, float_format="%.6g")
    return best


def read_table(path: Path) -> pd.DataFrame:
    """Read ``metrics.tsv`` or ``metrics.parquet``; an empty number is NaN, an empty or "NA" text stays text."""
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        names = pd.read_csv(path, sep="\t", nrows=0).columns
        numbers = {name: [""] for name in names if name not in TEXTS}
        return pd.read_csv(path, sep="\t", dtype=dict.fromkeys(TEXTS, str), na_values=numbers, keep_default_na=False)
    except FileNotFoundError as error:
        raise SaeTracksError(f"no table {path}") from error
    except (OSError, ValueError) as error:
        raise SaeTracksError(f"cannot read {path} as a table of scores: {error}") from error
