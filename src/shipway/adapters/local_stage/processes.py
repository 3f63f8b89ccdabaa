"""One process with its group: begun, listened to, waited for, ended. `runner` uses it for every command.

However it ends (by itself, by timeout, by a signal to the pipeline) no process of the group is left afterwards, and
none that left the group (`setsid`) where `strays` can find it.
"""

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from shipway.adapters.local_stage.keeper import GroupKeeper
from shipway.adapters.local_stage.strays import end_strays
from shipway.pipeline.tail import OutputTail

_READ_BYTES = 65_536
_POLL_S = 0.01
# SIGKILL cannot be refused; what is still listed after this is a zombie that its new parent does not collect.
_KILLED_S = 1.0
# What left the group was not meant to be waited for: a command's own grace must not be doubled by it.
_STRAYS_GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be run, and who keeps it; between SIGTERM and SIGKILL its group has `grace_s`."""

    argv: tuple[str, ...]
    root: Path
    environment: Mapping[str, str]
    keeper: GroupKeeper
    grace_s: float


async def run_group(command: Command, output: OutputTail) -> int:
    """Run a command to its end and return its exit code, negative for a signal.

    Raises:
        OSError: it cannot be started.
        ValueError: an argument or a variable that no process can have.
    """
    # A pipe of our own: it can be closed while a process that left the group still holds the other end.
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    own = command.keeper.of_command()
    try:
        try:
            # Without a thread: between the fork and this line nobody else would know the process.
            process = _begun(command, own, writing)
        finally:
            os.close(writing)
        return await _watched(process, reading, output, _Kept(command, own))
    finally:
        os.close(reading)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A command that was begun, and the variables that its processes are known by."""

    command: Command
    own: Mapping[str, str]

    async def end(self, process: subprocess.Popen[bytes]) -> None:
        await _end_group(process, self.command.grace_s)
        self.command.keeper.ended(process.pid)
        await end_strays(self.own, min(self.command.grace_s, _STRAYS_GRACE_S))


def _begun(command: Command, own: Mapping[str, str], writing: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        command.argv,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=writing,
        cwd=command.root,
        env={**command.environment, **own},
        start_new_session=True,
    )
    command.keeper.begun(process.pid)
    return process


async def _watched(process: subprocess.Popen[bytes], reading: int, output: OutputTail, kept: _Kept) -> int:
    # Shielded: what the processes say on their way out is read too, and none of them blocks on a full pipe.
    draining, drained = anyio.CancelScope(shield=True), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(_drain, reading, output, draining, drained)
        try:
            code = await _ended(process)
        finally:
            with anyio.CancelScope(shield=True):
                await kept.end(process)
                # All are gone, so the pipe is at its end unless somebody holds it who cleared its variables.
                with anyio.move_on_after(_KILLED_S):
                    await drained.wait()
                draining.cancel()
    return code


async def _ended(process: subprocess.Popen[bytes]) -> int:
    if hasattr(os, "pidfd_open"):
        descriptor = os.pidfd_open(process.pid)
        try:
            await anyio.wait_readable(descriptor)
        finally:
            os.close(descriptor)
        return process.wait()
    return await anyio.to_thread.run_sync(process.wait, abandon_on_cancel=True)


async def _end_group(process: subprocess.Popen[bytes], grace_s: float) -> None:
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILLED_S)):
        if not _signal_group(process.pid, number):
            break
        with anyio.move_on_after(patience_s):
            # No event tells when the last process of a group has ended.
            while _signal_group(process.pid, 0):
                # Ours must be collected, or its group is listed for ever.
                process.poll()
                await anyio.sleep(_POLL_S)
            break
    await _ended(process) if process.poll() is None else None


async def _drain(reading: int, output: OutputTail, scope: anyio.CancelScope, drained: anyio.Event) -> None:
    with scope:
        while True:
            await anyio.wait_readable(reading)
            data = os.read(reading, _READ_BYTES)
            if not data:
                drained.set()
                return
            output.feed(data)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Some member changed its user; it is there, and out of reach.
        return True
    return True


def how_it_ended(code: int) -> str:
    """Return in words how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
