"""The tables that verbs print."""

from collections.abc import Collection, Iterable, Sequence

LOG_COLUMNS = 10_000  # more than any table has


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: Collection[str], wrap: bool = True
) -> None:
    """Print rows of text; the columns of `left` are names, the others numbers.

    They fit a terminal of 80 columns. A pipe or a log gets whole lines.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=not wrap)
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = LOG_COLUMNS
    console.print(table)
