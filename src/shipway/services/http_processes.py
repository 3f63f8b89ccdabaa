"""Processes of the user's own service: which should run, which do, and where they listen.

A release's process is a row: the rollout controller (through `ProcessTarget`) and the first deploy say what is wanted,
the supervisor makes it so and writes back what is healthy. Both sides are level-triggered, so either may be restarted
at any time.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from shipway.core.errors import ConflictError
from shipway.core.ids import ReleaseId
from shipway.core.ports import DocumentStore, Fence
from shipway.operations.supervision import ProcessSpec, ProcessState
from shipway.registry.model import Release
from shipway.registry.store import ReleaseRegistry
from shipway.services.application import Application
from shipway.services.load_failures import LoadFailures
from shipway.services.local import LOOPBACK
from shipway.services.releases import verified_blob
from shipway.services.running import Host, Probe
from shipway.services.start_failures import StartFailures, StartWatch

_KIND = "process"
_OK = 200
_STOP_ORDER = 2
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process of a release and route; `url` is empty until it has been given a port.

    `attempt` counts how often it was given up before it was healthy: wanted again, it starts anew, also when the
    supervisor has not looked in between. With `stops_s` (Unix time) it is wanted until then.
    """

    environment: str
    route: str
    release: str
    command: tuple[str, ...]
    health: str
    wanted: bool = True
    healthy: bool = False
    port: int = 0
    problem: str = ""
    attempt: int = 0
    stops_s: float | None = None

    @property
    def key(self) -> str:
        """Return the row's key."""
        return f"{self.environment}/{self.route}/{self.release}"

    @property
    def process(self) -> str:
        """Return the name that the supervisor knows it by."""
        return f"{self.route}-{self.release}"

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://{LOOPBACK}:{self.port}" if self.port else ""

    def idle(self) -> "ProcessRow":
        """Return the row of the process when nobody wants it any more."""
        attempt = self.attempt + (not self.healthy)
        return replace(self, wanted=False, healthy=False, problem="", attempt=attempt, stops_s=None)

    def needed(self) -> "ProcessRow":
        """Return the row of the process when it is wanted for good."""
        if self.wanted:
            return replace(self, stops_s=None)
        return replace(self, wanted=True, healthy=False, problem="", stops_s=None)

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> "ProcessRow":
        """Return the row of a JSON form."""
        return cls(**{**body, "command": tuple(body["command"])})


def http_routes(release: Release) -> dict[str, dict[str, Any]]:
    """Return the routes of kind http of a release, by name."""
    return {name: route for name, route in release.manifest["policy"]["routes"].items() if route["kind"] == "http"}


def needs_processes(release: Release) -> bool:
    """Tell whether processes of the user's own must run before a release can take traffic."""
    return any(route["command"] for route in http_routes(release).values())


async def stop_unneeded(documents: DocumentStore, environment: str, needed: Collection[str]) -> list[str]:
    """No longer want the processes of releases that nobody needs, such as those of a command that was killed."""
    stopped = []
    for key, body, version in await documents.list(_KIND, prefix=f"{environment}/"):
        row = ProcessRow.from_dict(body)
        if row.wanted and row.release not in needed:
            await documents.put(_KIND, key, asdict(row.idle()), expected_version=version)
            stopped.append(row.release)
    return stopped


async def stop_due(documents: DocumentStore, row: ProcessRow, now_s: float) -> None:
    """No longer want a process whose time has come, unless somebody wants it again just now."""
    found = await documents.get(_KIND, row.key)
    known = None if found is None else ProcessRow.from_dict(found[0])
    if found is None or known is None or known.stops_s is None or known.stops_s > now_s:
        return
    with contextlib.suppress(ConflictError):  # the next round sees the other side's word
        await documents.put(_KIND, row.key, asdict(known.idle()), expected_version=found[1])


@dataclass(frozen=True, slots=True)
class ProcessTarget:
    """The rollout controller's `Target` on one machine."""

    documents: DocumentStore
    environment: str

    async def start(self, release: ReleaseId, *, fence: Fence | None = None) -> None:
        """Want the release's processes; a command of a user leads nothing and has no `fence`."""
        for row in await self._own(release):
            await self._change(row, ProcessRow.needed, fence)

    async def stop(self, release: ReleaseId, *, fence: Fence | None = None, at_s: float | None = None) -> None:
        """No longer want them, at once or from a Unix time on; a start until then keeps them."""
        for row in await self._own(release):
            if at_s is None:
                await self._change(row, ProcessRow.idle, fence)
            else:
                await self._change(row, partial(replace, stops_s=at_s), fence)

    async def healthy(self, release: ReleaseId) -> bool:
        """Tell whether every process answers its health path."""
        for name, route in (await self._routes(release)).items():
            if route["command"]:
                found = await self.documents.get(_KIND, f"{self.environment}/{name}/{release}")
                if found is None or not (found[0]["wanted"] and found[0]["healthy"]):
                    return False
        return True

    async def problem(self, release: ReleaseId, *, since_s: float) -> str:
        """Return why a gateway worker cannot load the release, or which process of it ends whenever it is started."""
        unloaded = await LoadFailures(self.documents, self.environment).problem(release, since_s=since_s)
        return unloaded or await StartFailures(self.documents, self.environment).problem(release, since_s=since_s)

    async def endpoints(self, release: ReleaseId) -> Mapping[str, str]:
        """Return where each http route of the release listens."""
        found: dict[str, str] = {}
        for name, route in (await self._routes(release)).items():
            if route["url"]:
                found[name] = str(route["url"]).rstrip("/")
                continue
            row = await self.documents.get(_KIND, f"{self.environment}/{name}/{release}")
            if row is not None and row[0]["port"]:
                found[name] = ProcessRow.from_dict(row[0]).url
        return found

    async def _routes(self, release: ReleaseId) -> dict[str, dict[str, Any]]:
        return http_routes(await ReleaseRegistry(self.documents).get(release))

    async def _own(self, release: ReleaseId) -> list[ProcessRow]:
        """Return the rows of a release's processes as they are before the first start."""
        return [
            ProcessRow(self.environment, name, release, tuple(route["command"]), route["health"], wanted=False)
            for name, route in (await self._routes(release)).items()
            if route["command"]
        ]

    async def _change(self, row: ProcessRow, change: Callable[[ProcessRow], ProcessRow], fence: Fence | None) -> None:
        """Change a row; what was not wanted before changes only when it is wanted from now on."""
        for _ in range(_ATTEMPTS):
            found = await self.documents.get(_KIND, row.key)
            known, version = (row, 0) if found is None else (ProcessRow.from_dict(found[0]), found[1])
            changed = change(known)
            if changed == known or not (known.wanted or changed.wanted):
                return
            try:
                await self.documents.put(_KIND, row.key, asdict(changed), expected_version=version, fence=fence)
            except ConflictError:
                continue  # the supervisor wrote what it saw meanwhile
            return
        raise ConflictError(
            f"the row of {row.process} changed {_ATTEMPTS} times while it was written", hint="try again"
        )


@dataclass(frozen=True, slots=True)
class HttpProcesses:
    """The supervisor's side: from rows to process specs, and from health checks back to rows."""

    app: Application
    host: Host
    probe: Probe
    starts: StartWatch

    async def specs(self) -> list[ProcessSpec]:
        """Return the processes that are wanted, with a port and their code laid out."""
        specs, now_s = [], self.app.clock.now_s()
        for row in await self._rows():
            if row.wanted and row.stops_s is not None and row.stops_s <= now_s:
                await stop_due(self.app.state.documents, row, now_s)
            elif row.wanted:
                placed = await self._placed(row)
                specs.append(await self._spec(placed))
        return specs

    async def check_health(self) -> None:
        """Ask every wanted process for its health and store what changed."""
        for row in await self._rows():
            if not row.wanted or not row.port:
                continue
            answer = await self.probe.status(row.url + row.health)
            healthy = answer is not None and answer[0] == _OK
            problem = "" if healthy else "does not answer" if answer is None else f"{row.health} answers {answer[0]}"
            if (healthy, problem) != (row.healthy, row.problem):
                await self._store(replace(row, healthy=healthy, problem=problem))

    async def note_starts(self, states: Iterable[ProcessState]) -> None:
        """Write down which wanted process ends whenever the supervisor starts it."""
        rows = [row for row in await self._rows() if row.wanted]
        healthy = {row.process for row in rows if row.healthy}
        await self.starts.look([(row.process, ReleaseId(row.release)) for row in rows], healthy, states)

    async def _rows(self) -> list[ProcessRow]:
        found = await self.app.state.documents.list(_KIND, prefix=f"{self.app.environment}/")
        return [ProcessRow.from_dict(body) for _, body, _ in found]

    async def _placed(self, row: ProcessRow) -> ProcessRow:
        if row.port:
            return row
        placed = replace(row, port=self.host.free_port(LOOPBACK))
        await self._store(placed)
        return placed

    async def _store(self, row: ProcessRow) -> None:
        found = await self.app.state.documents.get(_KIND, row.key)
        if found is None:
            return
        # `wanted` is the other side's word; only what this side knows is written.
        body = found[0] | {"port": row.port, "healthy": row.healthy and found[0]["wanted"], "problem": row.problem}
        try:
            await self.app.state.documents.put(_KIND, row.key, body, expected_version=found[1])
        except ConflictError:
            return  # the other side wrote meanwhile; the next round sees its word

    async def _spec(self, row: ProcessRow) -> ProcessSpec:
        folder = await self._laid_out(ReleaseId(row.release))
        argv = tuple(part.replace("{port}", str(row.port)) for part in row.command)
        environment = {
            "PORT": str(row.port),
            "SHIPWAY_RELEASE": row.release,
            "SHIPWAY_ROUTE": row.route,
            "SHIPWAY_ENVIRONMENT": row.environment,
        }
        log_file = self.app.workspace.logs / f"{row.process}.log"
        return ProcessSpec(
            row.process, argv, log_file, folder, environment, stop_order=_STOP_ORDER, attempt=row.attempt
        )

    async def _laid_out(self, release: ReleaseId) -> Path:
        folder = self.app.workspace.services / release
        if folder.is_dir():
            return folder
        manifest = (await self.app.releases.get(release)).manifest
        files = {
            path: await verified_blob(self.app, digest, f"release {release}: {path}")
            for path, digest in manifest["code"]["files"].items()
        }
        await anyio.to_thread.run_sync(_write_tree, folder, files)
        return folder


def _write_tree(folder: Path, files: dict[str, bytes]) -> None:
    partial = folder.with_suffix(".partial")
    for path, data in files.items():
        target = partial / path
        if not target.resolve().is_relative_to(partial.resolve()):
            raise ConflictError(f"release code names a path outside its folder: {path!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    partial.mkdir(parents=True, exist_ok=True)
    partial.rename(folder)
