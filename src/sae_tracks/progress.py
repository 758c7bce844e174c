"""Progress on stderr: bars if it is a terminal, else a line in the log from time to time."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

T = TypeVar("T")
LINE_EVERY = 60.0  # seconds
log = logging.getLogger(__name__)


@contextmanager
def counter(description: str, total: int, *, lines_every: int = 0) -> Iterator[Callable[..., None]]:
    """Draw a bar of `total` steps and yield the function that advances it.

    Call the function once per step with a few words on the state. A run that goes on from an earlier one also passes
    the number of the step. Where no bar can be drawn, the log gets a line every `LINE_EVERY` seconds or, if it is
    given, every `lines_every` of the steps that are passed and at the last of them.
    """
    from rich.progress import MofNCompleteColumn, TextColumn, TimeRemainingColumn

    done, due = 0, _Due()

    def write_line(state: str = "", step: int | None = None) -> None:
        nonlocal done
        done = done + 1 if step is None else step
        if (done % lines_every == 0 or done == total) if lines_every else due():
            log.info("%s %s of %s%s", description, f"{done:,}", f"{total:,}", f": {state}" if state else "")

    if not _is_terminal():
        yield write_line
        return
    with _progress(MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[state]}")) as bar:
        task = bar.add_task(description, total=total, state="")
        yield lambda state="", step=None: bar.update(
            task, advance=1 if step is None else None, completed=step, state=state
        )


@contextmanager
def byte_counter(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Draw a bar of `total` bytes (0: unknown) and yield the function that takes the number of bytes done so far."""
    from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    if not _is_terminal():
        due = _Due()
        whole = f" of {total / 1e6:,.0f}" if total else ""
        yield lambda done: log.info("%s: %.0f%s MB", description, done / 1e6, whole) if due() else None
        return
    with _progress(DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(description, total=total or None)
        yield lambda done: bar.update(task, completed=done)


class _Due:
    """Says, when it is called, whether `LINE_EVERY` seconds have passed since it last said so."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self) -> bool:
        now = time.monotonic()
        if due := now - self._last >= LINE_EVERY:
            self._last = now
        return due


def _progress(*columns: "ProgressColumn") -> "Progress":
    """A bar with a description and some columns."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    first = TextColumn("{task.description}"), BarColumn()
    return Progress(*first, *columns, console=Console(stderr=True), transient=True)


def _is_terminal() -> bool:
    from rich.console import Console

    return Console(stderr=True).is_terminal


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield the items while a bar of `total` steps advances by one each."""
    with counter(description, total) as advance:
        for item in items:
            yield item
            advance("")
