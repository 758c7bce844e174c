"""``sae-tracks benchmark``: SAEs beside each other on the same public sequence."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from sae_tracks.cli.inputs import use_threads
from sae_tracks.cli.options import SAE_HELP, DeviceOption, ThreadsOption
from sae_tracks.cli.tables import print_table
from sae_tracks.cli.verb import Given, verb
from sae_tracks.names import counted

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@verb(
    """Join rows: sae-tracks benchmark --rows yours.json --rows theirs.json -o board/

Example: sae-tracks benchmark sae-1/ hf:owner/name@v1 -o board/""",
    resumes=True,
    panel="Share SAEs",
)
def benchmark(
    out: Annotated[Path, Option("--out", "-o", help="Folder of index.html, benchmark.tsv and rows/.")],
    saes: Annotated[list[str] | None, Argument(metavar="SAE", help=f"{SAE_HELP}. A .json file is a row.")] = None,
    on: Annotated[str, Option("--on", help="Benchmark: yeast.")] = "yeast",
    rows: Annotated[
        list[Path] | None, Option("--rows", metavar="FILE", help="Row that was made elsewhere; repeatable.")
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    trust_remote_code: Annotated[
        bool, Option("--trust-remote-code", help="Run Python code of the models' repositories. Read that code first.")
    ] = False,
    *,
    given: Given,
) -> None:
    """Measure SAEs on the same public sequence, with all control tests. One table, one row per SAE.

    The benchmark yeast comes with the package, so no network is needed. An SAE takes some minutes, and is measured
    once: its row is kept in rows/, and others can join it with theirs.
    """
    from sae_tracks import benchmark as measure_all

    named = saes or []
    measured = [name for name in named if not name.endswith(".json")]
    joined = [*(rows or []), *(Path(name) for name in named if name.endswith(".json"))]
    given.refuse_if(not measured, "rows are joined, and no SAE is measured", "device", "trust_remote_code")
    use_threads(threads)
    table = measure_all(measured, out, on=on, rows=joined, device=device, trust_remote_code=trust_remote_code)
    _show(table)
    log.info("%s: %s", counted(len(table), "row"), out / "index.html")


def _show(table: "pd.DataFrame") -> None:
    """Print the numbers that are compared."""
    from pandas import isna

    from sae_tracks.sharing.rows import COLUMNS

    shown = [column for column in COLUMNS if column.name in SHOWN]
    rows = [
        tuple(_text(row[c.name], c.format, missing=bool(isna(row[c.name]))) for c in shown)
        for row in table.to_dict("records")
    ]
    title = "Site AP: mean average precision of the best feature per concept; Replication: share supported elsewhere"
    print_table(title, [c.heading for c in shown], rows, left=("SAE",))


SHOWN = ("name", "d_sae", "site_ap", "supported", "per_thousand", "replication", "ce_recovered", "fvu", "l0")


def _text(value: object, form: str, *, missing: bool) -> str:
    return "" if missing else f"{value:{form}}"
