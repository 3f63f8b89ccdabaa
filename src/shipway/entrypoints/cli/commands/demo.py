"""`shipway demo`: the whole main job on this machine."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import anyio
import typer

from shipway.entrypoints.cli.commands.local import local_of
from shipway.entrypoints.cli.options import DebugOption, JsonOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.demo.project import copy_example
from shipway.entrypoints.demo.shell import Shell
from shipway.entrypoints.demo.walk import Walk


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running, and say where.")] = False,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Release, evaluate, gate, roll out, promote, and stop a bad release: with a real model, in a folder of its own.

    Every step is a command a user would type, printed before it runs. Exit code 0 only when each came out as promised.
    """
    del debug
    home = Path(tempfile.mkdtemp(prefix="shipway-demo-"))
    folder = home / "helpdesk"
    walk = Walk(Shell(folder))
    with _cleaned_up(home, folder, keep=keep):
        copy_example(folder)
        walk.run()
    value = {
        "steps": [{"step": step.title, "seconds": step.seconds, "outcome": step.outcome} for step in walk.shell.times],
        "facts": dict(walk.facts),
        "folder": str(folder) if keep else None,
    }
    emit(
        value,
        [f"\nkept running in {folder}; stop it with `shipway down --project {folder}`"] if keep else [],
        as_json=as_json,
    )


@contextmanager
def _cleaned_up(home: Path, folder: Path, *, keep: bool) -> Iterator[None]:
    try:
        yield
    except BaseException:
        _stop(home, folder)
        raise
    if not keep:
        _stop(home, folder)


def _stop(home: Path, folder: Path) -> None:
    # From here on nothing may interrupt: a second Ctrl-C would leave processes behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if (folder / "shipway.yaml").is_file():
        anyio.run(local_of(folder).running.down)
    shutil.rmtree(home, ignore_errors=True)
