"""`shipway up`, `down`, `status`, `logs`: one machine's processes."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from shipway.adapters.http_probe.probe import HttpProbe
from shipway.adapters.local_process.host import LocalHost
from shipway.adapters.local_process.log_files import last_lines
from shipway.core.clock import SystemClock
from shipway.core.errors import ConfigError, NotFoundError, ShipwayError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.release_parts import check_parts
from shipway.entrypoints.wiring import load, opened, operated, site
from shipway.services.application import Workspace
from shipway.services.config_board import ConfigBoard
from shipway.services.key_warnings import key_warnings
from shipway.services.keys import KeyRequest, NewKey, create_key
from shipway.services.local import Local, behind
from shipway.services.project_check import key_problems, startup_problems
from shipway.services.rollbacks import clear_left_over
from shipway.services.running import Endpoints

_FIRST_KEY = KeyRequest(tenant="default", groups=("public",), roles=("invoke", "operate", "admin"))


def local_of(project: Path | None) -> Local:
    """Return the processes of a command's project."""
    loaded = load(project)
    return Local(loaded, Workspace(loaded.root), LocalHost(), HttpProbe(), SystemClock())


def up(
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait until all is ready.")] = 120.0,
    tenant: Annotated[str, typer.Option(help="Tenant of the first key.")] = "default",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Start engine, gateway and control on this machine, wait until they are ready, print where they are.

    The first call also creates a key with every role and prints it once.
    """
    del debug
    local = local_of(project)
    problems = anyio.run(startup_problems, local.loaded, check_parts())
    if problems:
        raise ConfigError(problems, hint="nothing was started; `shipway config check` looks at the whole project")
    endpoints, key = anyio.run(_up, local, project, timeout_s, tenant, as_json)
    value: dict[str, Any] = {"gateway": endpoints.gateway, "control": endpoints.control, "engines": endpoints.engines}
    lines = [
        f"gateway  {endpoints.gateway}/v1   (OpenAI-compatible; `model` names a route)",
        f"control  {endpoints.control}",
        *(f"engine   {url}   ({alias})" for alias, url in endpoints.engines.items()),
    ]
    if key is not None:
        value["key"] = {"key_id": key.entry.key_id, "secret": key.secret}
        lines += [f"key      {key.secret}", "         it is not shown again; `shipway key create` makes more"]
    emit(value, lines, as_json=as_json)


async def _up(
    local: Local, project: Path | None, timeout_s: float, tenant: str, as_json: bool
) -> tuple[Endpoints, NewKey | None]:
    async with opened(project) as app:
        problems = await key_problems(app.loaded, app.state.keys, now_s=app.clock.now_s())
        if problems:
            raise ConfigError(problems, hint="nothing was started")
        for warning in await key_warnings(app.loaded, app.state.keys, now_s=app.clock.now_s()):
            warn(warning)
        workers, since_s = app.project.server.workers, app.clock.now_s()
        if not local.running.is_running():
            await clear_left_over(app)
        endpoints = await local.up(
            timeout_s=timeout_s,
            progress=lambda line: None if as_json else typer.echo(line, err=True),
            lagging=lambda: behind(app, workers, since_s=since_s),
        )
        if await app.state.keys.list():
            return endpoints, None
        request = KeyRequest(tenant=tenant, groups=_FIRST_KEY.groups, roles=_FIRST_KEY.roles)
        try:
            return endpoints, await create_key(app, request)
        except ShipwayError as error:
            error.message = f"everything runs, but the first key was not made: {error.message}"
            error.hint = f"{error.hint}; then make the key with `shipway key create`"
            raise


def down(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Stop what `up` started: requests in flight are finished first."""
    del debug
    stopped = anyio.run(site(project, warn).running.down)
    emit({"stopped": stopped}, ["stopped" if stopped else "nothing was running"], as_json=as_json)


def status(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Show processes, releases and how traffic is divided."""
    del debug
    where = site(project, warn)
    found, backlog = where.running.status(), where.running.backlog()

    async def read() -> dict[str, Any]:
        async with operated(where) as app:
            snapshot = await app.state.snapshots.read(app.environment)
            workers = await app.state.snapshots.workers(app.environment, seen_after_s=app.clock.now_s() - 10)
            return {"environment": app.environment, "snapshot": snapshot, "workers": workers}

    state = anyio.run(read)
    snapshot = state["snapshot"]
    board = ConfigBoard(where.workspace, LocalHost())
    edited = found.running and board.is_edited(where.workspace.root, state["environment"])
    value = {
        "running": found.running,
        "config": {"revision": board.in_force(), "edited": edited},
        "endpoints": found.endpoints if found.running else None,
        "processes": found.processes,
        "environment": state["environment"],
        "routes": list(snapshot.routes),
        "rollout": snapshot.rollout,
        "snapshot_version": snapshot.version,
        "workers": state["workers"],
        "records": {"waiting_bytes": backlog.waiting_bytes, "collected": backlog.is_collected},
    }
    lines = [f"{where.record.app} in {state['environment']}: {'running' if found.running else 'not running'}"]
    if found.running and found.endpoints:
        lines += [f"gateway {found.endpoints.gateway}/v1, control {found.endpoints.control}"]
    if edited:
        lines.append("the project file was changed since; `shipway reload` lets the gateway obey it")
    if found.processes:
        rows = [
            (process["name"], process["pid"] or "-", process["restarts"], process["problem"] or _running(process))
            for process in found.processes
        ]
        lines += table(("process", "pid", "restarts", "state"), rows)
    if snapshot.routes:
        rows = [
            (route.route, route.stable, route.candidate or "-", f"{route.candidate_weight:.0%}")
            for route in snapshot.routes
        ]
        lines += ["", *table(("route", "stable", "candidate", "weight"), rows)]
    else:
        lines += ["no release is deployed; `shipway release create`, `eval run`, `deploy`"]
    if backlog.trouble is not None:
        lines += ["", "records  " + "; ".join(backlog.trouble)]
    emit(value, lines, as_json=as_json)


def _running(process: dict[str, Any]) -> str:
    leaving = ", ".join(map(str, process.get("leaving", ())))
    return f"running; replaced {leaving}, still finishing its requests" if leaving else "running"


def logs(
    process: Annotated[str, typer.Argument(help="gateway, control, supervisor, engine-ALIAS.")] = "gateway",
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=100_000)] = 50,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the end of a process's log."""
    del debug
    folder = site(project, warn).workspace.logs
    known = sorted(path.stem for path in folder.glob("*.log"))
    if process not in known and f"{process}-0" in known:
        # Several workers: one of them speaks for all.
        process = f"{process}-0"
    if process not in known:
        raise NotFoundError(f"no log of {process!r}", hint=f"there are: {', '.join(known) or 'none yet'}")
    path = folder / f"{process}.log"
    tail = last_lines(path, lines)
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    emit({"process": process, "written": written, "lines": tail}, tail, as_json=as_json)
