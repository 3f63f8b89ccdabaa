"""Progress on the error stream: a bar on a terminal, now and then a line elsewhere, nothing with --json."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from shipway.core.counting import dollars
from shipway.evals.runner import Progress as CallFinished

_BAR_EVERY_S = 0.1
_LINE_EVERY_S = 30.0
_MINUTE_S = 60
_HOUR_S = 3600


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
    """Show how many calls of an evaluation are done, what failed, what it cost so far and how long it takes yet."""
    console = Console(stderr=True)
    if not shown:
        yield lambda _finished: None
    elif not console.is_terminal:
        yield now_and_then(lambda line: typer.echo(line, err=True), time.monotonic)
    else:
        columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[said]}"))
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("evaluating", total=None, said="")
            due = _every(_BAR_EVERY_S, time.monotonic)

            def update(call: CallFinished) -> None:
                if due() or call.done == call.total:
                    progress.update(task, completed=call.done, total=call.total, said=said_of(call))

            yield update


def now_and_then(write: Callable[[str], None], monotonic_s: Callable[[], float]) -> Callable[[CallFinished], None]:
    """Return what writes a line every half minute; a run that is over before that writes none."""
    due = _every(_LINE_EVERY_S, monotonic_s)

    def update(call: CallFinished) -> None:
        if due():
            write(f"evaluating: {call.done} of {call.total} calls{' ' if said_of(call) else ''}{said_of(call)}")

    return update


def said_of(call: CallFinished) -> str:
    """Return errors, cost, calls in flight and the time that is left, as far as they are known."""
    parts = [f"{call.errors} failed"] if call.errors else []
    parts += [f"${dollars(call.cost_usd)}"] if call.cost_usd else []
    parts += [f"{call.concurrency} at a time"] if call.concurrency > 1 else []
    parts += [f"{duration(call.eta_s)} left"] if call.eta_s is not None and call.done < call.total else []
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Return a time in words: `40 s`, `3 min`, `2 h 5 min`."""
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    minutes = round(seconds / _MINUTE_S)
    return f"{minutes} min" if seconds < _HOUR_S else f"{minutes // 60} h {minutes % 60} min"


def _every(seconds: float, monotonic_s: Callable[[], float]) -> Callable[[], bool]:
    last_s = monotonic_s()

    def due() -> bool:
        nonlocal last_s
        now_s = monotonic_s()
        if now_s - last_s < seconds:
            return False
        last_s = now_s
        return True

    return due
