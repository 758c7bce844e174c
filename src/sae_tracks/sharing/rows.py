"""A row of a benchmark: what was measured of one SAE, as a file that can be sent to others."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import pandas as pd

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import read_json, write_json
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
PLACE = ("lm_sha256", "layer")  # SAEs that can replicate each other share both


def write_row(row: Row, path: Path, definition: Benchmark) -> None:
    """Write a row with the benchmark that it is of."""
    of = {"name": definition.name, "version": definition.version, "sha256": definition.checksum}
    write_json(path, {"format_version": ROW_VERSION, "benchmark": of, **row})


def read_row(path: Path, definition: Benchmark) -> Row:
    """Read a row and check it; the file may come from anywhere.

    Raises
    ------
    SaeTracksError
        It is of another benchmark or version, a value is missing or of another kind, or a number is not finite.
    """
    record = read_json(path)
    if not isinstance(record, dict) or record.get("format_version") != ROW_VERSION:
        raise SaeTracksError(f"{path} is no row of a benchmark of format_version {ROW_VERSION}")
    of = record.get("benchmark")
    of = of if isinstance(of, dict) else {}
    for key, ours in {"name": definition.name, "version": definition.version, "sha256": definition.checksum}.items():
        if (theirs := of.get(key)) != ours:
            raise SaeTracksError(
                f"{path}: its benchmark has the {key} {str(theirs)[:40]!r}; this is {definition.name} version "
                f"{definition.version} ({ours}): measure the SAE again with this version of sae-tracks"
            )
    row = {column.name: _value(path, record, column.name, column.kind) for column in MEASURED}
    row["lm_sha256"] = _value(path, record, "lm_sha256", str)
    named = record.get("supported_concepts")
    if named is not None and not (isinstance(named, list) and all(isinstance(one, str) for one in named)):
        raise SaeTracksError(f"{path}: supported_concepts is no list of names")
    if row["supported"] != (None if named is None else len(named)):
        raise SaeTracksError(f"{path}: supported is {row['supported']}, but supported_concepts has other names")
    inputs = record.get("inputs")
    if not isinstance(inputs, dict):
        raise SaeTracksError(f"{path} has no inputs")
    return row | {"supported_concepts": named, "inputs": inputs}


def _value(path: Path, record: Mapping[str, Any], name: str, kind: type) -> Any:
    value = record.get(name)
    if kind is str:
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST:
            raise SaeTracksError(f"{path}: {name} is no text of 1 to {LONGEST} letters")
        return value
    if value is None:
        return None
    wanted = int if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted) or not math.isfinite(value):
        raise SaeTracksError(f"{path}: {name} is {str(value)[:40]!r}, no {'whole ' if kind is int else ''}number")
    return value


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
