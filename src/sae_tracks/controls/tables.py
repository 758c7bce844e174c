"""The files of the controls: verdicts in the tables of scores, and the profiles of offsets."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from sae_tracks.files import atomic
from sae_tracks.metrics.tables import BEST_SCORES, SCORES

OFFSETS = "offsets.parquet"
PAIR = ["concept", "site_strand", "feature", "read_strand"]


def write_controlled(folder: Path, controlled: pd.DataFrame, offsets: pd.DataFrame) -> None:
    """Write what controls say into a folder of scores.

    Parameters
    ----------
    folder : Path
        With ``metrics.parquet``, in which every threshold of a controlled pair gets its verdict.
    controlled, offsets : DataFrame
        From `control`: they become ``metrics.tsv`` and ``offsets.parquet``.
    """
    verdict = controlled.set_index(PAIR)["verdict"]
    with (
        parquet.ParquetFile(folder / SCORES) as scores,
        atomic(folder / SCORES) as temporary,
        parquet.ParquetWriter(temporary, scores.schema_arrow) as writer,
    ):
        for group in range(scores.num_row_groups):
            writer.write_table(_with_verdicts(scores.read_row_group(group), verdict))
    with atomic(folder / BEST_SCORES) as temporary:
        controlled.to_csv(temporary, sep="\t", index=False, float_format="%.6g")
    with atomic(folder / OFFSETS) as temporary:
        offsets.to_parquet(temporary, index=False)


def _with_verdicts(rows: pa.Table, verdict: pd.Series) -> pa.Table:
    pairs = pd.MultiIndex.from_frame(rows.select(PAIR).to_pandas())
    known = verdict.reindex(pairs).to_numpy(object)
    column = rows.schema.get_field_index("verdict")
    filled = pd.Series(known).where(pd.notna(known), rows["verdict"].to_pandas())
    return rows.set_column(column, "verdict", pa.array(filled, pa.string()))
