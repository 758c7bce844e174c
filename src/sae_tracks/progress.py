"""Progress bars on stderr, drawn only if stderr is a terminal."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def counter(description: str, total: int) -> Iterator[Callable[..., None]]:
    """Draw a bar of `total` steps and yield the function that advances it.

    Call the function once per step with a few words on the state. A run that goes on from an earlier one also passes
    the number of the step.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, TextColumn("{task.fields[state]}"), console=console, transient=True) as bar:
        bar.disable = not console.is_terminal
        task = bar.add_task(description, total=total, state="")
        yield lambda state="", step=None: bar.update(task, advance=None if step else 1, completed=step, state=state)


@contextmanager
def byte_counter(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Draw a bar of `total` bytes (0: unknown) and yield the function that takes the number of bytes done so far."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        bar.disable = not console.is_terminal
        task = bar.add_task(description, total=total or None)
        yield lambda done: bar.update(task, completed=done)


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield the items while a bar of `total` steps advances by one each."""
    with counter(description, total) as advance:
        for item in items:
            yield item
            advance("")
