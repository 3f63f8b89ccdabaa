"""Progress on the terminal's error stream; nothing when it is not a terminal or --json was given."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from shipway.evals.runner import Progress as CallFinished


@contextmanager
def bar(title: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar; the yielded function is called with (done, total)."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def evaluation_progress(*, shown: bool) -> Iterator[Callable[[CallFinished], None]]:
    """Show how many calls of an evaluation are done."""
    with bar("evaluating", shown=shown) as update:
        yield lambda finished: update(finished.done, finished.total)
