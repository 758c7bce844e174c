"""A row of a benchmark: what was measured of one SAE, as a file that can be sent to others."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import pandas as pd

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import write_json
from sae_tracks.json_file import read_json
from sae_tracks.sharing.definition import Benchmark

ROW_VERSION = 1
LONGEST = 300  # letters of a text in a row
Row = dict[str, Any]


class Column(NamedTuple):
    """A column of the table."""

    name: str
    heading: str
    meaning: str
    kind: type  # str, int or float; a number may be missing
    format: str = ""  # of numbers on the page


# In the order of the table. `replication` is computed when rows are joined; all others are in the file of a row.
COLUMNS = (
    Column("name", "SAE", "Folder or hub id.", str),
    Column("model", "Model", "Gene language model.", str),
    Column("layer", "Layer", "Layer or module whose activations the SAE reads.", str),
    Column("d_sae", "Features", "Number of features.", int, ",d"),
    Column(
        "site_ap",
        "Site AP",
        "Mean over concepts of the average precision with which the best feature of a concept ranks its sites among "
        "windows of the same width. Feature and threshold are chosen on one half of the sequence, and the number is of "
        "the other. A concept on two strands counts twice; A, C, G and T do not count.",
        float,
        ".3f",
    ),
    Column("concepts", "Concepts", "Concepts, by strand, with enough sites for this mean.", int, ",d"),
    Column(
        "supported",
        "Supported",
        "Concepts whose best match passed all control tests. A supported match is more than chance, repeats, letters, "
        "untrained models and single dimensions explain. It is not a detector: many have a low average precision.",
        int,
        ",d",
    ),
    Column("per_thousand", "per 1,000", "The same per 1,000 features.", float, ".2f"),
    Column(
        "replication",
        "Replication",
        "Share of these concepts that another SAE of the table, of the same model and layer, has a supported match "
        "with too. Blank if there is no other, or nothing is supported.",
        float,
        ".2f",
    ),
    Column(
        "ce_recovered",
        "CE recovered",
        "Share of the next-base cross entropy that survives if the activations are replaced by the SAE's "
        "reconstruction; 0 is the mean activation, 1 the model itself. Of a model with outputs of its own, their "
        "divergence takes the place of the cross entropy. Blank for models of which neither is known.",
        float,
        ".3f",
    ),
    Column("fvu", "FVU", "Share of the variance of the activations that the reconstruction leaves.", float, ".4f"),
    Column("l0", "L0", "Mean number of active features per base.", float, ".1f"),
    Column(
        "mflop", "MFLOP/base", "Multiplications and additions of a dense encoder per base, in millions.", float, ".2f"
    ),
    Column(
        "cpu_seconds",
        "CPU s/Mb",
        "CPU seconds of the encoder per million bases, on the machine that made the row. For information: machines "
        "differ.",
        float,
        ".1f",
    ),
    Column(
        "trained_bases",
        "Seen",
        "Scored bases that the SAE was trained on. Blank if that is not known. Other rows can be compared only if this "
        "is 0.",
        int,
        ",d",
    ),
    Column("sae_sha256", "SHA-256", "Of the SAE's weights.", str),
    Column("sae_tracks", "Version", "Version of sae-tracks that made the row.", str),
)
JOINED = "replication"
MEASURED = tuple(column for column in COLUMNS if column.name != JOINED)
KINDS = {**{column.name: column.kind for column in MEASURED}, "lm_sha256": str}
SHAPE = {  # of a row
    **{name if kind is str else f"{name}?": kind if kind is str else (kind, None) for name, kind in KINDS.items()},
    "supported_concepts?": ([str], None),
    "inputs": dict,
}
PLACE = ("lm_sha256", "layer")  # SAEs that can replicate each other share both


def write_row(row: Row, path: Path, definition: Benchmark) -> None:
    """Write a row with the benchmark that it is of."""
    write_json(path, {**_of(definition), **row})


def _of(definition: Benchmark) -> dict[str, Any]:
    """What the rows of a benchmark begin with."""
    of = {"name": definition.name, "version": definition.version, "sha256": definition.checksum}
    return {"format_version": ROW_VERSION, "benchmark": of}


def read_row(path: Path, definition: Benchmark) -> Row:
    """Read a row and check it; the file may come from anywhere.

    Raises
    ------
    SaeTracksError
        It is of another benchmark or version, a text is missing, a value is of another kind, or a number is not finite.
    """
    remedy = f"measure the SAE again on {definition.name} with this version of sae-tracks"
    record = read_json(path, {**_of(definition), **SHAPE}, remedy)
    for name, kind in KINDS.items():
        if kind is str and not 0 < len(record[name]) <= LONGEST:
            raise SaeTracksError(f"{path}: {name} is no text of 1 to {LONGEST} letters")
    row = {name: record.get(name) for name in (*KINDS, "supported_concepts", "inputs")}
    named = row["supported_concepts"]
    if row["supported"] != (None if named is None else len(named)):
        raise SaeTracksError(f"{path}: supported is {row['supported']}, but supported_concepts has other names")
    return row


def join_rows(rows: Iterable[Row]) -> pd.DataFrame:
    """Return the table of rows, the highest `site_ap` first, each SAE once; missing numbers are NaN."""
    unique = {row["sae_sha256"]: row for row in reversed(list(rows))}
    known = list(unique.values())
    table = pd.DataFrame(
        {
            column.name: pd.array([row.get(column.name) for row in known], dtype="Int64")
            if column.kind is int
            else [row.get(column.name) for row in known]
            for column in MEASURED
        }
    )
    table[JOINED] = [replication(row, known) for row in known]
    numbers = [column.name for column in COLUMNS if column.kind is float]
    table = cast(pd.DataFrame, table.astype(dict.fromkeys(numbers, "float64"))[[column.name for column in COLUMNS]])
    return table.sort_values(["site_ap", "name"], ascending=[False, True], na_position="last", ignore_index=True)


def replication(row: Row, rows: Iterable[Row]) -> float:
    """Share of a row's supported concepts that another SAE of the same model and place supports; NaN if undefined."""
    mine = set(row["supported_concepts"] or ())
    others = [
        set(other["supported_concepts"])
        for other in rows
        if other["sae_sha256"] != row["sae_sha256"]
        and other["supported_concepts"] is not None
        and all(other[key] == row[key] for key in PLACE)
    ]
    return len(mine & set().union(*others)) / len(mine) if mine and others else math.nan
