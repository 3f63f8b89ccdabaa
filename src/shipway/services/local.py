"""`up`, `down` and what runs: one machine's processes, their addresses and whether they are ready."""

import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import anyio

from shipway.config.loading import LoadedProject
from shipway.core.clock import Clock
from shipway.core.errors import ConflictError, NotFoundError, UnavailableError
from shipway.operations.supervision import ProcessSpec
from shipway.services.application import Workspace

LOOPBACK = "127.0.0.1"
EMBEDDED_ENGINES = ("llamacpp", "echo")
_POLL_S = 0.1
_DOWN_TIMEOUT_S = 60.0
"""Beside the gateway's own drain time."""
_LOG_TAIL_LINES = 12
_LOG_TAIL_BYTES = 65_536


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
class Local:
    """The processes of one project on this machine."""

    loaded: LoadedProject
    workspace: Workspace
    host: Host
    probe: Probe
    clock: Clock
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep

    @property
    def lock_file(self) -> Path:
        """Return the file that the supervisor keeps locked while it lives."""
        return self.workspace.run / "up.lock"

    def is_running(self) -> bool:
        """Return whether a supervisor holds the lock."""
        descriptor = self.host.lock(self.lock_file)
        if descriptor is None:
            return True
        self.host.unlock(descriptor)
        return False

    def status(self) -> LocalStatus:
        """Return what runs."""
        running = self.is_running()
        state = read_json(self.workspace.run / "processes.json") or {}
        return LocalStatus(running, Endpoints.read(self.workspace), state.get("processes", []) if running else [])

    async def up(self, *, timeout_s: float, progress: Callable[[str], None]) -> Endpoints:
        """Start everything and wait until it is ready.

        Raises:
            ConflictError: it is already running, or the configured port is in use.
            UnavailableError: a process did not get ready in time; the message ends with its log.
        """
        starting = self.host.lock(self.workspace.run / "starting.lock")
        if starting is None:
            raise ConflictError("another `shipway up` is starting this project", hint="wait for it to end")
        try:
            return await self._start(timeout_s, progress)
        finally:
            self.host.unlock(starting)

    async def _start(self, timeout_s: float, progress: Callable[[str], None]) -> Endpoints:
        if self.is_running():
            kept = Endpoints.read(self.workspace)
            where = f" at {kept.gateway}" if kept else ""
            raise ConflictError(f"already running{where}", hint="`shipway status` shows it, `shipway down` stops it")
        endpoints = self._choose_endpoints()
        write_json(self.workspace.run / "endpoints.json", asdict(endpoints))
        (self.workspace.run / "processes.json").unlink(missing_ok=True)
        log_file = self.workspace.logs / "supervisor.log"
        arguments = ["supervise", "--project", str(self.loaded.root)]
        pid = self.host.start_detached(arguments, log_file, self.loaded.root)
        try:
            await self._wait_ready(endpoints, timeout_s, progress, pid)
        except BaseException:
            # A half-started `up` must not stay behind, whether it timed out or the user pressed Ctrl-C.
            self.host.terminate(pid)
            with anyio.CancelScope(shield=True):
                await self._wait_stopped(pid, lambda: self.is_running() or self.host.exit_code(pid) is None)
            raise
        return endpoints

    async def down(self) -> bool:
        """Stop everything; False when nothing ran.

        Raises:
            UnavailableError: the supervisor does not say who it is.
        """
        if not self.is_running():
            return False
        state = read_json(self.workspace.run / "processes.json") or {}
        if "supervisor" not in state:
            raise UnavailableError("the supervisor is still starting", hint="try again in a moment")
        self.host.terminate(int(state["supervisor"]))
        await self._wait_stopped(int(state["supervisor"]), self.is_running)
        return True

    def specs(self) -> list[ProcessSpec]:
        """Return the processes that the project needs: engines, gateway, control."""
        root = str(self.loaded.root)
        program = tuple(self.host.program())
        logs = self.workspace.logs
        engines = [
            ProcessSpec(
                f"engine-{alias}",
                (*program, "engine", alias, "--project", root),
                logs / f"engine-{alias}.log",
                stop_order=2,
                environment={"OMP_WAIT_POLICY": "passive"},
            )
            for alias, entry in self.loaded.project.models.items()
            if entry.engine in EMBEDDED_ENGINES
        ]
        drain_s = self.loaded.project.server.drain_s
        return [
            ProcessSpec("control", (*program, "control", "--project", root), logs / "control.log", stop_order=0),
            *(
                ProcessSpec(
                    name,
                    (*program, "serve", "--worker", str(number), "--project", root),
                    logs / f"{name}.log",
                    stop_order=1,
                    stop_grace_s=drain_s + 5,
                )
                for number, name in enumerate(self._gateway_names())
            ),
            *engines,
        ]

    def _gateway_names(self) -> list[str]:
        workers = self.loaded.project.server.workers
        return ["gateway"] if workers == 1 else [f"gateway-{number}" for number in range(workers)]

    def _choose_endpoints(self) -> Endpoints:
        server = self.loaded.project.server
        kept = Endpoints.read(self.workspace)
        taken: set[int] = set()
        if server.port:
            gateway_port = self.host.require_port(server.host, server.port)
            taken.add(gateway_port)
        else:
            gateway_port = self._free_port(server.host, kept.gateway if kept else None, taken)
        control_port = self._free_port(LOOPBACK, kept.control if kept else None, taken)
        engines = {
            alias: f"http://{LOOPBACK}:{self._free_port(LOOPBACK, kept.engines.get(alias) if kept else None, taken)}/v1"
            for alias, entry in self.loaded.project.models.items()
            if entry.engine in EMBEDDED_ENGINES
        }
        shown = f"[{server.host}]" if ":" in server.host else server.host
        return Endpoints(f"http://{shown}:{gateway_port}", f"http://{LOOPBACK}:{control_port}", engines)

    def _free_port(self, host: str, before: str | None, taken: set[int]) -> int:
        # Nothing listens on the ports chosen so far yet, so the system may offer one of them again.
        preferred = _port(before) if before else 0
        port = self.host.free_port(host, preferred)
        while port in taken:
            port = self.host.free_port(host)
        taken.add(port)
        return port

    async def _wait_ready(
        self, endpoints: Endpoints, timeout_s: float, progress: Callable[[str], None], supervisor: int
    ) -> None:
        waiting = {f"engine-{alias}": url.removesuffix("/v1") + "/health" for alias, url in endpoints.engines.items()}
        waiting |= {"gateway": endpoints.gateway + "/health", "control": endpoints.control + "/health"}
        deadline = self.clock.monotonic_s() + timeout_s
        while waiting:
            for name, url in list(waiting.items()):
                answer = await self.probe.status(url)
                if answer is not None and answer[0] == 200:  # noqa: PLR2004 - HTTP OK
                    del waiting[name]
                    progress(f"{name} is ready")
            if waiting and self.clock.monotonic_s() > deadline:
                name = min(waiting)
                raise UnavailableError(
                    f"{name} did not get ready within {timeout_s:g} s",
                    hint=f"its log, {self.workspace.logs / (name + '.log')}, ends with:\n{self.log_tail(name)}",
                )
            self._raise_if_hopeless(waiting, supervisor)
            await self.sleep(_POLL_S if waiting else 0)

    def _raise_if_hopeless(self, waiting: dict[str, str], supervisor: int) -> None:
        code = self.host.exit_code(supervisor)
        if code is not None:
            hint = f"its log ends with:\n{self.log_tail('supervisor')}"
            raise UnavailableError(f"the supervisor ended with {code} while it started", hint=hint)
        state = read_json(self.workspace.run / "processes.json") or {}
        for process in state.get("processes", []):
            # Twice in a row is no accident: a missing model or a taken port does not go away by waiting.
            if process["name"] in waiting and process["restarts"] >= 2:  # noqa: PLR2004
                name = process["name"]
                raise UnavailableError(
                    f"{name} ends as soon as it starts", hint=f"its log ends with:\n{self.log_tail(name)}"
                )

    def log_tail(self, name: str, lines: int = _LOG_TAIL_LINES) -> str:
        """Return the end of a process's log."""
        path = self.workspace.logs / f"{name}.log"
        try:
            with path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return "  (no log yet)"
        return "\n".join("  " + line for line in text.splitlines()[-lines:])

    async def _wait_stopped(self, pid: int, runs: Callable[[], bool]) -> None:
        deadline = self.clock.monotonic_s() + _DOWN_TIMEOUT_S + self.loaded.project.server.drain_s
        while runs():
            if self.clock.monotonic_s() > deadline:
                self.host.kill(pid)
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
    temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")
    temporary.replace(path)


def _port(url: str) -> int:
    return int(url.removesuffix("/v1").rsplit(":", 1)[1])
