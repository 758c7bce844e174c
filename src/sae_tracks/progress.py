"""Progress on stderr: bars if it is a terminal, else, of long trainings, a line from time to time."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

T = TypeVar("T")
log = logging.getLogger(__name__)


@contextmanager
def counter(description: str, total: int, *, lines_every: int = 0) -> Iterator[Callable[..., None]]:
    """Draw a bar of `total` steps and yield the function that advances it.

    Call the function once per step with a few words on the state. A run that goes on from an earlier one also passes
    the number of the step. Where no bar can be drawn, the log gets a line every `lines_every` steps (0: none) and at
    the last of those that are passed.
    """
    from rich.progress import MofNCompleteColumn, TextColumn, TimeRemainingColumn

    def write_line(state: str = "", step: int = 0) -> None:
        if lines_every and (step % lines_every == 0 or step == total):
            log.info("%s %s of %s: %s", description, f"{step:,}", f"{total:,}", state)

    if not _is_terminal():
        yield write_line
        return
    with _progress(MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[state]}")) as bar:
        task = bar.add_task(description, total=total, state="")
        yield lambda state="", step=None: bar.update(task, advance=None if step else 1, completed=step, state=state)


@contextmanager
def byte_counter(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Draw a bar of `total` bytes (0: unknown) and yield the function that takes the number of bytes done so far."""
    from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    with _progress(DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(description, total=total or None)
        yield lambda done: bar.update(task, completed=done)


def _progress(*columns: "ProgressColumn") -> "Progress":
    """A bar with a description and some columns.

    It must be disabled when it is made: a bar that is disabled later never stops the thread that draws it.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    first = TextColumn("{task.description}"), BarColumn()
    return Progress(*first, *columns, console=Console(stderr=True), transient=True, disable=not _is_terminal())


def _is_terminal() -> bool:
    from rich.console import Console

    return Console(stderr=True).is_terminal


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield the items while a bar of `total` steps advances by one each."""
    with counter(description, total) as advance:
        for item in items:
            yield item
            advance("")
