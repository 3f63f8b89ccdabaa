"""What runs on this machine, as `up` and the supervisor wrote it down below `.shipway/run`; `down` ends it.

Nothing here reads the project file: what runs has to be shown, stopped and rolled back while the file is broken.
"""

import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import anyio

from shipway.core.clock import Clock
from shipway.core.errors import NotFoundError, UnavailableError
from shipway.services.application import Workspace

RUN_RECORD_FILE = "up.json"
_POLL_S = 0.1
_DOWN_TIMEOUT_S = 60.0
"""Beside the gateway's own drain time."""
_MANY_WAITING_BYTES = 32_000_000
"""Some seconds of a busy gateway; with a collector that keeps up, far less lies in the spool."""


class Host(Protocol):
    """What the machine offers."""

    def free_port(self, host: str, preferred: int = 0) -> int:
        """Return a free port."""
        ...

    def require_port(self, host: str, port: int) -> int:
        """Return the port or raise ConflictError."""
        ...

    def lock(self, path: Path) -> int | None:
        """Take a lock, or return None."""
        ...

    def is_locked(self, path: Path) -> bool:
        """Tell whether a process holds a lock; writes nothing."""
        ...

    def unlock(self, descriptor: int) -> None:
        """Give a lock back."""
        ...

    def start_detached(self, arguments: list[str], log_file: Path, cwd: Path) -> int:
        """Start `shipway ARGUMENTS` detached."""
        ...

    def program(self) -> list[str]:
        """Return the argv of this Shipway."""
        ...

    def exit_code(self, pid: int) -> int | None:
        """Return how a process of `start_detached` ended, None while it runs."""
        ...

    def terminate(self, pid: int) -> None:
        """Ask a process to end."""
        ...

    def kill(self, pid: int) -> None:
        """End a process."""
        ...


class Probe(Protocol):
    """What asks a process whether it is ready."""

    async def status(self, url: str) -> tuple[int, str] | None:
        """Return (HTTP status, body), or None when nobody answers."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where things listen on this machine; `engines` by model alias, up to and including `/v1`."""

    gateway: str
    control: str
    engines: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, workspace: Workspace) -> "Endpoints | None":
        """Return the endpoints of the last `up`, or None."""
        data = read_json(workspace.run / "endpoints.json")
        try:
            return cls(**data) if data else None
        except TypeError:
            return None  # another version of Shipway wrote it


@dataclass(frozen=True, slots=True)
class LocalStatus:
    """What runs now."""

    running: bool
    endpoints: Endpoints | None
    processes: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Backlog:
    """The records of served requests that are not in the store yet, and whether a process is there to bring them."""

    waiting_bytes: int
    is_collected: bool

    @property
    def trouble(self) -> tuple[str, str] | None:
        """Return what is wrong and what to do about it, None when all is well."""
        amount = f"{self.waiting_bytes / 1e6:.1f} MB of served requests"
        if self.is_collected and self.waiting_bytes > _MANY_WAITING_BYTES:
            return f"{amount} wait for the store", "the store may refuse them: `shipway logs control`"
        if self.waiting_bytes and not self.is_collected:
            told = f"{amount} are not in the store: nobody collects them"
            return told, "start the control process: `shipway up` or `shipway control`"
        return None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What operating a running app needs of its settings; `up` writes it. There is no secret in it."""

    app: str
    environment: str
    drain_s: float

    @classmethod
    def read(cls, workspace: Workspace) -> "RunRecord | None":
        """Return the record of the last `up`, or None."""
        data = read_json(workspace.run / RUN_RECORD_FILE)
        try:
            return cls(**data) if data else None
        except TypeError:
            return None  # another version of Shipway wrote it

    def write(self, workspace: Workspace) -> None:
        """Write the record.

        Raises:
            OSError: it cannot be written.
        """
        write_json(workspace.run / RUN_RECORD_FILE, asdict(self))


@dataclass(frozen=True, slots=True)
class Running:
    """The processes that `up` started."""

    workspace: Workspace
    host: Host
    clock: Clock
    drain_s: float
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep

    @property
    def lock_file(self) -> Path:
        """Return the file that the supervisor keeps locked while it lives."""
        return self.workspace.run / "up.lock"

    def is_running(self) -> bool:
        """Return whether a supervisor holds the lock."""
        return self.host.is_locked(self.lock_file)

    def status(self) -> LocalStatus:
        """Return what runs."""
        running = self.is_running()
        processes = self.recorded().get("processes", [])
        return LocalStatus(running, Endpoints.read(self.workspace), processes if running else [])

    def backlog(self) -> Backlog:
        """Return what waits in the record spool."""
        waiting = 0
        for path in self.workspace.spool.glob("*.jsonl"):
            with contextlib.suppress(FileNotFoundError):  # collected just now
                waiting += path.stat().st_size
        return Backlog(waiting, self.host.is_locked(self.workspace.collector_lock))

    def recorded(self) -> dict[str, Any]:
        """Return what the supervisor wrote: its pid as `supervisor`, and `processes`."""
        return read_json(self.workspace.run / "processes.json") or {}

    async def down(self) -> bool:
        """Stop everything; False when nothing ran.

        Raises:
            UnavailableError: the supervisor does not say who it is.
        """
        if not self.is_running():
            return False
        supervisor = self.recorded().get("supervisor")
        if supervisor is None:
            raise UnavailableError("the supervisor is still starting", hint="try again in a moment")
        self.host.terminate(int(supervisor))
        await self.wait_stopped(int(supervisor), self.is_running)
        return True

    async def wait_stopped(self, supervisor: int, runs: Callable[[], bool]) -> None:
        """Wait until `runs` says no; a supervisor that takes much longer than its drain time is killed."""
        deadline = self.clock.monotonic_s() + _DOWN_TIMEOUT_S + self.drain_s
        while runs():
            if self.clock.monotonic_s() > deadline:
                self.host.kill(supervisor)
                return
            await self.sleep(_POLL_S)


def require_endpoints(workspace: Workspace) -> Endpoints:
    """Return where things listen.

    Raises:
        NotFoundError: `up` was never called here.
    """
    endpoints = Endpoints.read(workspace)
    if endpoints is None:
        raise NotFoundError("nothing is running here", hint="start it with `shipway up`")
    return endpoints


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a small JSON file's object, or None when it is not there (or half of it was never written)."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Replace a small JSON file so that readers see the old or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
