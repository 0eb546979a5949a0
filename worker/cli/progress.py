"""A progress bar for commands that go through many rows."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn


@contextmanager
def progress(total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many more rows are done. The bar is on standard error, on a terminal only."""
    console = Console(stderr=True, highlight=False)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown or not sys.stderr.isatty()) as bar:
        task = bar.add_task("rows", total=total)
        yield lambda done: bar.advance(task, done)
