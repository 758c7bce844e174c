"""Matches of `metrics` whose motifs are inserted, and their verdicts after that."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from sae_tracks.controls.verdict import TEXTS, is_motif, verdicts
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, atomic, write_json, write_tsv
from sae_tracks.insight.meaning import check_scored
from sae_tracks.metrics.scores import BEST_SCORES, PAIR, SCORES, read_table
from sae_tracks.names import feature_number
from sae_tracks.records import read_made
from sae_tracks.source import Source

JUDGED = ("insertion_auroc", "insertion_low", "insertion_high")


def matches_of(scores: Path, source: Source, verdict: Sequence[str]) -> set[tuple[str, int]]:
    """The motifs and features of the matches with one of these verdicts, in a folder of ``sae-tracks metrics``.

    Raises
    ------
    SaeTracksError
        The scores are of another SAE, or there is no such match.
    """
    check_scored(scores, source.sae.checksum)
    best = read_judged(scores)
    wanted = best[is_motif(best) & best["verdict"].isin(verdict)]
    if not len(wanted):
        raise SaeTracksError(
            f"{scores / BEST_SCORES} has no motif with the verdict {' or '.join(verdict)}: --verdict names others"
        )
    return {(concept, feature_number(name)) for concept, name in zip(wanted["concept"], wanted["feature"])}


def judge_again(scores: Path, found: pd.DataFrame) -> pd.DataFrame:
    """Add the AUROC of insertion to ``metrics.tsv`` of a folder of ``sae-tracks metrics``, and judge its matches again.

    Matches that were not measured keep what they have. Verdicts change in ``metrics.parquet`` too, and the folder's
    provenance says that matches were judged again. Returns the rows of ``metrics.tsv``.
    """
    best = read_judged(scores)
    pairs = pd.MultiIndex.from_frame(cast(pd.DataFrame, best[PAIR]))
    measured = found.set_index(PAIR)[list(JUDGED)].reindex(pairs).reset_index(drop=True)
    kept = best.reindex(columns=list(JUDGED)).astype(np.float64)
    known = measured.combine_first(kept)
    best = best.assign(**{name: known[name] for name in JUDGED})
    judged = verdicts(best)
    best = best.assign(**{str(name): judged[name] for name in judged})
    verdict = cast(pd.Series, best.set_index(PAIR)["verdict"])
    with atomic(scores / SCORES) as temporary:
        _rewrite(scores / SCORES, temporary, verdict)
        write_tsv(best, scores / BEST_SCORES)
    record = read_made(scores / PROVENANCE)
    write_json(
        scores / PROVENANCE,
        record | {"judged_again": {"insertion": int(np.isfinite(found["insertion_auroc"].to_numpy()).sum())}},
    )
    return best


def read_judged(scores: Path) -> pd.DataFrame:
    """Read ``metrics.tsv`` of a folder whose matches have verdicts; an error if no control tests were run."""
    best = read_table(scores / BEST_SCORES, TEXTS)
    if "untested" not in best:
        raise SaeTracksError(f"{scores} has scores without control tests: run metrics with --controls first")
    return best


def _rewrite(table: Path, out: Path, verdict: pd.Series) -> None:
    """Copy a table of pairs, part by part, with the verdicts of the best ones."""
    file = parquet.ParquetFile(table)
    with parquet.ParquetWriter(out, file.schema_arrow) as writer:
        for batch in file.iter_batches():
            rows = batch.to_pandas()
            known = verdict.reindex(pd.MultiIndex.from_frame(cast(pd.DataFrame, rows[PAIR]))).to_numpy(object)
            rows["verdict"] = np.where(pd.isna(known), rows["verdict"], known)
            writer.write_table(pa.Table.from_pandas(rows, file.schema_arrow, preserve_index=False))
