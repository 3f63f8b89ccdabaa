"""Starting processes that end with their parent; implements `operations.supervision.Spawner`."""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process

import anyio

from shipway.adapters.local_process.inheritance import variables
from shipway.operations.supervision import ProcessSpec

_PR_SET_PDEATHSIG = 1


class LocalProcess:
    """One started process; `ready` is the pipe on which it says that it serves."""

    def __init__(self, process: Process, ready: asyncio.StreamReader | None) -> None:
        self._process = process
        self._ready = ready

    @property
    def pid(self) -> int:
        """Return its id."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for its end."""
        return await self._process.wait()

    async def serves(self) -> bool:
        """Wait until it says that it serves; False when it ends without a word."""
        return self._ready is None or bool(await self._ready.readline())

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._signal(signal.SIGKILL)

    def leave(self) -> None:
        """Send SIGUSR1."""
        self._signal(signal.SIGUSR1)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)


class LocalSpawner:
    """Starts children in a session of their own, so that the terminal's Ctrl-C reaches the supervisor alone."""

    async def start(self, spec: ProcessSpec, *, succeeds: bool = False) -> LocalProcess:
        """Start a process with its output appended to its log file and its sockets handed over."""
        # Shielded: cut off between fork and return, nobody would know the process.
        with anyio.CancelScope(shield=True):
            process = await self._start(spec, succeeds=succeeds)
        return process  # noqa: RET504 - within the block the type checker sees a way past it

    async def _start(self, spec: ProcessSpec, *, succeeds: bool) -> LocalProcess:
        spec.log_file.parent.mkdir(parents=True, exist_ok=True)
        log = os.open(spec.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        heard, told = os.pipe() if spec.sockets else (None, None)
        try:
            process = await asyncio.create_subprocess_exec(
                *spec.argv,
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                cwd=spec.cwd,
                env={**os.environ, **spec.environment, **variables(spec, told, succeeds=succeeds)},
                pass_fds=(*spec.sockets, *spec.succession, *(() if told is None else (told,))),
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        except BaseException:
            if heard is not None:
                os.close(heard)
            raise
        finally:
            os.close(log)
            if told is not None:
                os.close(told)
        return LocalProcess(process, await _reader(heard) if heard is not None else None)


async def _reader(descriptor: int) -> asyncio.StreamReader:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb"))
    return reader


def _die_with_parent() -> None:
    # Without this a supervisor that is killed -9 would leave orphans that hold the ports.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
