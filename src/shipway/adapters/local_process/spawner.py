"""Starting processes that end with their parent; implements `operations.supervision.Spawner`."""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process

from shipway.operations.supervision import ProcessSpec

_PR_SET_PDEATHSIG = 1


class LocalProcess:
    """One started process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Return its id."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for its end."""
        return await self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)


class LocalSpawner:
    """Starts children in a session of their own, so that the terminal's Ctrl-C reaches the supervisor alone."""

    async def start(self, spec: ProcessSpec) -> LocalProcess:
        """Start a process with its output appended to its log file."""
        spec.log_file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(spec.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *spec.argv,
                stdin=DEVNULL,
                stdout=descriptor,
                stderr=STDOUT,
                cwd=spec.cwd,
                env={**os.environ, **spec.environment},
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        finally:
            os.close(descriptor)
        return LocalProcess(process)


def _die_with_parent() -> None:
    # Without this a supervisor that is killed -9 would leave orphans that hold the ports.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
