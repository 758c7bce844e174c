"""The tables that verbs print."""

from collections.abc import Collection, Iterable, Sequence


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: Collection[str], wrap: bool = True
) -> None:
    """Print rows of text that fit a terminal of 80 columns; the columns of `left` are names, the others numbers."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=not wrap)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
