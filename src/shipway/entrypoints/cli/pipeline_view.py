"""How a run of a pipeline is shown while it goes on: a tree on a terminal, a line for each change elsewhere."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from shipway.pipeline.graph import StageGraph
from shipway.pipeline.live import LiveRun
from shipway.pipeline.model import StageEvent, StageState
from shipway.pipeline.ports import Progress
from shipway.pipeline.render import progress_line

_REFRESH_PER_S = 4
_FEWEST_LINES = 4


@contextmanager
def shown_run(
    graph: StageGraph, expected_s: Mapping[str, float], parallel: float, *, shown: bool
) -> Iterator[Progress]:
    """Show a run on the error stream; the yielded function is told every change."""
    console = Console(stderr=True)
    if not shown:
        yield lambda _event: None
        return
    if not console.is_terminal:
        yield _say
        return
    live_run = LiveRun(graph, expected_s, parallel)

    def picture() -> Text:
        most = max(console.height - 1, _FEWEST_LINES)
        return Text("\n".join(live_run.lines(time.monotonic(), most)), no_wrap=True, overflow="ellipsis")

    with Live(get_renderable=picture, console=console, refresh_per_second=_REFRESH_PER_S, transient=True):
        yield lambda event: live_run.hear(event, time.monotonic())


def _say(event: StageEvent) -> None:
    left_out = event.result is not None and event.state is StageState.SKIPPED and event.result.allowed
    if not left_out:
        typer.echo(progress_line(event), err=True)
