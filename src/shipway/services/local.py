"""`up`: one machine's processes, their addresses, and the wait until all of them are ready."""

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio

from shipway.config.loading import LoadedProject
from shipway.core.clock import Clock
from shipway.core.disk import explained, obstacle, remedy
from shipway.core.errors import ConflictError, ShipwayError, UnavailableError
from shipway.operations.supervision import ProcessSpec, Seat
from shipway.services.application import Installation, Workspace
from shipway.services.config_board import ConfigBoard
from shipway.services.load_failures import LoadFailures
from shipway.services.running import Endpoints, Host, Probe, Running, RunRecord, write_json

LOOPBACK = "127.0.0.1"
EMBEDDED_ENGINES = ("llamacpp", "echo")
_POLL_S = 0.1
_OK = 200
_LOG_TAIL_LINES = 12
_LOG_TAIL_BYTES = 65_536
_CONTROL_GRACE_S = 20.0
"""What the collector of records has to empty the spool; what is left then waits for the next start."""


def gateway_worker(number: int) -> str:
    """Return the name under which a gateway worker reports the snapshot that it has applied."""
    return f"gateway-{number}"


async def behind(app: Installation, workers: int, *, since_s: float) -> list[str]:
    """Return the gateway workers that have not applied the current snapshot since `since_s` (Unix time), and why.

    Nobody is behind while no release is deployed: there is nothing to apply.
    """
    snapshot = await app.state.snapshots.read(app.environment)
    if not snapshot.routes:
        return []
    reports = await app.state.snapshots.workers(app.environment, seen_after_s=since_s)
    applied = {report.worker for report in reports if report.version >= snapshot.version}
    lagging = [name for name in map(gateway_worker, range(workers)) if name not in applied]
    failures = LoadFailures(app.state.documents, app.environment)
    known = [await failures.problem(release, since_s=since_s) for release in sorted(snapshot.releases())]
    problems = [problem for problem in known if problem]
    return problems if lagging and problems else [f"{name} has not loaded what is deployed" for name in lagging]


@dataclass(frozen=True, slots=True)
class _Start:
    """One `up`: the supervisor that it started, where each log ended before, and until when it waits."""

    supervisor: int
    endpoints: Endpoints
    log_ends: dict[str, int]
    timeout_s: float
    deadline_s: float
    lagging: Callable[[], Awaitable[list[str]]]


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
    def running(self) -> Running:
        """Return what runs."""
        return Running(self.workspace, self.host, self.clock, self.loaded.project.server.drain_s, self.sleep)

    @property
    def lock_file(self) -> Path:
        """Return the file that the supervisor keeps locked while it lives."""
        return self.running.lock_file

    async def up(
        self,
        *,
        timeout_s: float,
        progress: Callable[[str], None],
        lagging: Callable[[], Awaitable[list[str]]],
    ) -> Endpoints:
        """Start everything and wait until it is ready; `lagging` names gateway workers without the current snapshot.

        Raises:
            ConflictError: it is already running, or the configured port is in use.
            StoreError: the disk is full or read-only.
            UnavailableError: a process did not get ready in time; the message ends with what it logged meanwhile.
        """
        starting = self.host.lock(self.workspace.run / "starting.lock")
        if starting is None:
            raise ConflictError("another `shipway up` is starting this project", hint="wait for it to end")
        try:
            return await self._start(timeout_s, progress, lagging)
        finally:
            self.host.unlock(starting)

    async def _start(
        self, timeout_s: float, progress: Callable[[str], None], lagging: Callable[[], Awaitable[list[str]]]
    ) -> Endpoints:
        if self.running.is_running():
            kept = Endpoints.read(self.workspace)
            where = f" at {kept.gateway}" if kept else ""
            raise ConflictError(f"already running{where}", hint="`shipway status` shows it, `shipway down` stops it")
        endpoints = self._choose_endpoints()
        self._write_down(endpoints)
        log_ends = {path.stem: path.stat().st_size for path in self.workspace.logs.glob("*.log")}
        log_file = self.workspace.logs / "supervisor.log"
        arguments = ["supervise", "--project", str(self.loaded.root)]
        pid = self.host.start_detached(arguments, log_file, self.loaded.root)
        start = _Start(pid, endpoints, log_ends, timeout_s, self.clock.monotonic_s() + timeout_s, lagging)
        try:
            await self._wait_ready(start, progress)
        except BaseException as error:
            # A half-started `up` must not stay behind, whether it timed out or the user pressed Ctrl-C.
            with anyio.CancelScope(shield=True):
                stopped = await self._stop_again(pid)
            if isinstance(error, ShipwayError):
                error.message = f"{error.message}; {stopped}"
            else:
                progress(stopped)
            raise
        return endpoints

    def _write_down(self, endpoints: Endpoints) -> None:
        run, project = self.workspace.run, self.loaded.project
        with explained(run, "cannot be written"):
            write_json(run / "endpoints.json", asdict(endpoints))
            RunRecord(project.app, self.loaded.environment, project.server.drain_s).write(self.workspace)
            ConfigBoard(self.workspace, self.host).begin(self.loaded.root, self.loaded.environment)
            (run / "processes.json").unlink(missing_ok=True)

    async def _stop_again(self, supervisor: int) -> str:
        """Stop what this `up` started and say what it was."""
        processes = self.running.recorded().get("processes", [])
        names = [process["name"] for process in processes if process.get("pid")]
        self.host.terminate(supervisor)

        def runs() -> bool:
            return self.running.is_running() or self.host.exit_code(supervisor) is None

        await self.running.wait_stopped(supervisor, runs)
        return f"stopped again: {', '.join([*names, 'supervisor'])}"

    def specs(self, seats: Sequence[Seat] = ()) -> list[ProcessSpec]:
        """Return the processes that the project needs: engines, gateway, control.

        There is a seat for each gateway worker, or none and they bind the port themselves.
        """
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
            ProcessSpec(
                "control",
                (*program, "control", "--project", root),
                logs / "control.log",
                # After the gateway: it collects the gateway's last records.
                stop_order=1,
                stop_grace_s=_CONTROL_GRACE_S,
            ),
            *(
                ProcessSpec(
                    name,
                    (*program, "serve", "--worker", str(number), "--project", root),
                    logs / f"{name}.log",
                    stop_order=0,
                    stop_grace_s=drain_s + 5,
                    # Its own first; it looks after those of workers that died.
                    sockets=tuple(seat.listener.fileno() for seat in (*seats[number:], *seats[:number])),
                    succession=(seats[number].gives.fileno(), seats[number].takes.fileno()) if seats else (),
                )
                for number, name in enumerate(self.gateway_names())
            ),
            *engines,
        ]

    def gateway_names(self) -> list[str]:
        """Return the names of the gateway's workers."""
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

    async def _wait_ready(self, start: _Start, progress: Callable[[str], None]) -> None:
        urls = {f"engine-{alias}": url.removesuffix("/v1") for alias, url in start.endpoints.engines.items()}
        urls |= {"gateway": start.endpoints.gateway, "control": start.endpoints.control}
        waiting = {name: url + "/health" for name, url in urls.items()}
        while waiting:
            lagging: list[str] = []
            for name, url in list(waiting.items()):
                answer = await self.probe.status(url)
                if answer is None or answer[0] != _OK:
                    continue
                # One of several workers answers; and one that answers may not have loaded its releases yet.
                lagging = await start.lagging() if name == "gateway" else []
                if not lagging:
                    del waiting[name]
                    progress(f"{name} is ready")
            if waiting and self.clock.monotonic_s() > start.deadline_s:
                raise self._not_ready(min(waiting), lagging, start)
            self._raise_if_hopeless(waiting, start)
            await self.sleep(_POLL_S if waiting else 0)

    def _not_ready(self, name: str, lagging: list[str], start: _Start) -> UnavailableError:
        why = f": {'; '.join(lagging)}" if lagging and name == "gateway" else ""
        shown = self.gateway_names()[0] if name == "gateway" else name
        message = f"{name} did not get ready within {start.timeout_s:g} s{why}"
        path = self.workspace.logs / f"{shown}.log"
        return UnavailableError(message, hint=f"its log, {path}, ends with:\n{self._new_lines(shown, start)}")

    def _raise_if_hopeless(self, waiting: dict[str, str], start: _Start) -> None:
        code = self.host.exit_code(start.supervisor)
        if code is not None:
            raise UnavailableError(
                f"the supervisor ended with {code} while it started",
                hint=f"its log ends with:\n{self._new_lines('supervisor', start)}",
            )
        for process in self.running.recorded().get("processes", []):
            # Twice in a row is no accident: a missing model or a taken port does not go away by waiting.
            name = process["name"]
            waited = "gateway" if name in self.gateway_names() else name
            if waited in waiting and process["restarts"] >= 2:  # noqa: PLR2004
                raise UnavailableError(
                    f"{name} ends as soon as it starts",
                    hint=f"its log ends with:\n{self._new_lines(name, start)}",
                )

    def _new_lines(self, name: str, start: _Start) -> str:
        """Return the end of what a process logged since this start, and what is wrong with the disk if something is."""
        # A process that was started again and failed again says the same again.
        lines = "\n".join(dict.fromkeys(self.log_tail(name, after_bytes=start.log_ends.get(name, 0)).splitlines()))
        found = obstacle(self.workspace.logs / name)
        return f"{lines}\n{self.workspace.home}: {found}; {remedy(self.workspace.logs / name)}" if found else lines

    def log_tail(self, name: str, lines: int = _LOG_TAIL_LINES, *, after_bytes: int = 0) -> str:
        """Return the end of a process's log; nothing that stood in its first `after_bytes`."""
        path = self.workspace.logs / f"{name}.log"
        try:
            with path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                # A file that is shorter now was begun anew.
                first = after_bytes if after_bytes <= size else 0
                log.seek(max(first, size - _LOG_TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return "  (no log yet)"
        return "\n".join("  " + line for line in text.splitlines()[-lines:]) or "  (nothing logged)"


def _port(url: str) -> int:
    return int(url.removesuffix("/v1").rsplit(":", 1)[1])
