"""What verbs that score features write and show at their end."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from sae_tracks.controls.holder import Holder
    from sae_tracks.metrics import Counts

SHOWN = 15  # concepts on the screen
log = logging.getLogger(__name__)


def write_scores(
    counts: "Counts", out: Path, facts: dict, *, all_pairs: bool, hold: "Holder | None" = None, untested: str = ""
) -> None:
    """The tables, how they were made, and the best of them on the screen.

    `hold` adds controls and verdicts; without it `untested` says why there are none.
    """
    from sae_tracks.files import write_provenance
    from sae_tracks.metrics import write_tables

    best = write_tables(counts, out, all_pairs=all_pairs, judge=hold)
    write_provenance(out, **facts, controls=hold.facts() if hold else {"not_run": untested})
    _show(best)
    log.info("scores of %d concepts in %s", len(best), out)
    if not hold:
        log.info("%s: every verdict is not-tested", untested)


def _show(best: "pd.DataFrame") -> None:
    """The head of the best features as a table on the screen."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    title = f"Best feature of {min(SHOWN, len(best))} of {len(best)} concepts, on the report half"
    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))  # fits a terminal of 80 columns
    for name in ("concept", "TF", "site", "feature", "cut", "sites", "prec.", "rec.", "F1", "verdict"):
        table.add_column(name, justify="left" if name in ("concept", "TF", "feature", "verdict") else "right")
    for row in best.head(SHOWN).itertuples():
        scores = (f"{score:.3f}" for score in (row.precision, row.recall, row.f1))
        feature = row.feature if (best["read_strand"] == "+").all() else f"{row.feature}{row.read_strand}"
        names = (row.concept, row.tf, row.site_strand, feature)
        table.add_row(*names, f"{row.threshold:g}", f"{row.instances:,}", *scores, row.verdict)
    Console().print(table)
