"""A benchmark of SAEs: each is measured once, its row is kept as a file, and all rows become one table and page."""

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from sae_tracks.errors import UsageError
from sae_tracks.files import atomic, check_folder, make_folder, sha256, write_json, write_provenance, write_tsv
from sae_tracks.sae import SAE, load_sae
from sae_tracks.sharing.definition import BENCHMARKS, Benchmark, named_benchmark
from sae_tracks.sharing.measure import measure
from sae_tracks.sharing.page import board
from sae_tracks.sharing.rows import Row, join_rows, read_row, write_row

__all__ = ["BENCHMARKS", "Benchmark", "benchmark"]
ROWS, WORK, PAGE, TABLE, DEFINITION = "rows", "work", "index.html", "benchmark", "definition.json"
log = logging.getLogger(__name__)


def benchmark(
    saes: Sequence[str | Path],
    out: str | Path,
    *,
    on: str | Benchmark = "yeast",
    rows: Iterable[str | Path] = (),
    device: str = "auto",
    trust_remote_code: bool = False,
) -> pd.DataFrame:
    """Measure SAEs on the same public sequence and annotations, and write one table with one row per SAE.

    An SAE whose row is in the folder already is not measured again. A row is a file that can be sent to others, who
    join it with theirs.

    Parameters
    ----------
    saes : sequence of path or str
        As for `load_sae`. Each must name its language model.
    out : path
        A folder, made if it is missing, for ``index.html``, ``benchmark.tsv``, ``benchmark.parquet``, ``rows/``,
        ``definition.json`` and ``provenance.json``; see docs/formats.md. Scores and the SAEs of untrained models stay
        in ``work/``, which may be deleted.
    on : str or Benchmark
        Name of the benchmark.
    rows : iterable of path
        Rows that were made elsewhere. They are copied into ``rows/``.
    device : str
        As for `load_lm`.
    trust_remote_code : bool
        As for `load_lm`.

    Returns
    -------
    DataFrame
        One row per SAE, the highest ``site_ap`` first. The columns are those of docs/formats.md.

    Raises
    ------
    UsageError
        There is neither an SAE nor a row.
    SaeTracksError
        A contig or an annotation is not that of the benchmark; a row is of another benchmark or version, or malformed;
        an SAE cannot be measured.
    """
    definition = named_benchmark(on) if isinstance(on, str) else on
    out = Path(out)
    check_folder(out)
    known = {row["sae_sha256"]: row for row in _kept_rows(out, definition)}
    for path in map(Path, rows):
        row = read_row(path, definition)
        if row["sae_sha256"] in known:
            log.info("%s: a row of this SAE is there already", path)
        else:
            known[row["sae_sha256"]] = row
            write_row(row, _row_file(out, row), definition)
    opened = [(_name(path, sae), sae) for path in saes for sae in [load_sae(path)]]
    if not opened and not known:
        raise UsageError(f"name SAEs to measure, or rows to join: {out} has none")
    wanted = {sae.checksum: (name, sae) for name, sae in opened if sae.checksum not in known}
    if wanted:
        genome = definition.open(make_folder(out / WORK / "inputs"))
        for checksum, (name, sae) in wanted.items():
            log.info("%s is measured on benchmark %s %d", name, definition.name, definition.version)
            work = out / WORK / checksum[:12]
            row = measure(name, sae, definition, genome, work, device=device, trust_remote_code=trust_remote_code)
            write_row(row, path := _row_file(out, row), definition)
            known[checksum] = read_row(path, definition)
    return _write(out, definition, list(known.values()))


def _kept_rows(out: Path, definition: Benchmark) -> list[Row]:
    return [read_row(path, definition) for path in sorted((out / ROWS).glob("*.json"))]


def _row_file(out: Path, row: Row) -> Path:
    words = re.sub(r"[^\w.-]+", "-", row["name"]).strip("-.")[-60:]
    return make_folder(out / ROWS) / f"{words}-{row['sae_sha256'][:12]}.json"


def _name(path: str | Path, sae: SAE) -> str:
    """The name of an SAE in the table: its id on the hub with the commit, or the last two parts of its folder."""
    return sae.origin or "/".join(Path(path).absolute().parts[-2:])


def _write(out: Path, definition: Benchmark, rows: list[Row]) -> pd.DataFrame:
    table = join_rows(rows)
    make_folder(out)
    write_json(out / DEFINITION, {"about": definition.about, "sha256": definition.checksum, **definition.record()})
    write_tsv(table, out / f"{TABLE}.tsv")
    with atomic(out / f"{TABLE}.parquet") as temporary:
        table.to_parquet(temporary, index=False)
    with atomic(out / PAGE) as temporary:
        temporary.write_text(board(table, definition))
    sums = {path.name: sha256(path) for path in sorted((out / ROWS).glob("*.json"))}
    write_provenance(out, public=True, benchmark=definition.record(), rows=sums)
    return table
