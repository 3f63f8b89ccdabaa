"""Ends processes of one command that left its group (`setsid`); `processes` calls it when the group is gone.

They are known by a variable that the command was begun with, which `/proc` shows. Where there is no `/proc`, and for
a process that cleared its variables, nothing is found.
"""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress

import anyio
import anyio.to_thread

_PROC = "/proc"
_LOOK_S = 0.05
# SIGKILL cannot be refused; what is still there after this waits for a disk, and ends when that answers.
_KILLED_S = 1.0


async def end_strays(variables: Mapping[str, str], grace_s: float) -> None:
    """End every process that has one of the variables; between SIGTERM and SIGKILL they have `grace_s`."""
    marks = frozenset(f"{name}={value}".encode() for name, value in variables.items())
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILLED_S)):
        told: set[int] = set()
        with anyio.move_on_after(patience_s):
            # No event tells when a process has ended that is not ours; one that is told may begin others.
            while found := await anyio.to_thread.run_sync(_marked, marks):
                _signal(found - told, number)
                told |= found
                await anyio.sleep(_LOOK_S)
            return


def _marked(marks: frozenset[bytes]) -> set[int]:
    return {process for process in _processes() if not marks.isdisjoint(_variables(process)) and _lives(process)}


def _processes() -> Iterator[int]:
    with suppress(OSError):
        yield from (int(name) for name in os.listdir(_PROC) if name.isdigit())  # noqa: PTH208 - on every stage's way


def _variables(process: int) -> list[bytes]:
    return _read(process, "environ").split(b"\0")


def _lives(process: int) -> bool:
    # A zombie has ended; who collects it is its parent's matter. The name before the state may hold parentheses.
    return _read(process, "stat").rpartition(b")")[2].split()[:1] not in ([], [b"Z"], [b"X"])


def _read(process: int, name: str) -> bytes:
    # Another user's process, or one that has ended meanwhile, is none of ours.
    try:
        with open(f"{_PROC}/{process}/{name}", "rb") as file:  # noqa: PTH123 - on every stage's way
            return file.read()
    except OSError:
        return b""


def _signal(processes: set[int], number: int) -> None:
    for process in processes:
        with suppress(OSError):
            os.kill(process, number)
