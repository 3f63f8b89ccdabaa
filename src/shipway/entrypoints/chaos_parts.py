"""The collaborators of `shipway chaos`: the project that runs here, and what its faults are made with."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from shipway import __version__
from shipway.adapters.chaos_faults.processes import LinuxProcesses
from shipway.adapters.chaos_faults.proxy import FaultProxy
from shipway.adapters.chaos_faults.store_lock import StoreLock
from shipway.adapters.local_process.host import LocalHost
from shipway.chaos.judging import ExperimentResult
from shipway.chaos.plan import ChaosPlan, Setting
from shipway.chaos.plan_file import ChaosSection, planned
from shipway.config.environment import process_environment
from shipway.config.secrets import resolve_secret
from shipway.core.clock import SystemClock
from shipway.core.errors import ConflictError, NotFoundError, UsageError
from shipway.entrypoints.endpoint_parts import endpoint_caller
from shipway.entrypoints.wiring import opened
from shipway.evals.ports import JsonCaller
from shipway.services.application import Application
from shipway.services.chaos.choosing import Grounds, Machine
from shipway.services.chaos.experiment import Asked, ChaosParts
from shipway.services.chaos.running import ChaosRun, RolloutEye, missing_records, run_chaos
from shipway.services.chaos.undoing import Journal, undo_left_over
from shipway.services.load.targets import key_of
from shipway.services.performance import chat_url
from shipway.services.restarting import RestartCommand
from shipway.services.running import Endpoints, Running, require_endpoints, write_json

KEY_VARIABLE = "SHIPWAY_TARGET_KEY"
_RESTART_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class ChaosRequest:
    """What the options say; `undo_only` breaks nothing. Relative files of keys are below `folder`."""

    section: ChaosSection
    project: Path | None = None
    folder: Path = field(default_factory=Path)
    undo_only: bool = False
    tell: Callable[[str], None] = lambda _line: None


async def chaos_run(request: ChaosRequest) -> tuple[list[ExperimentResult], list[str]]:
    """Undo what an earlier run left, then run the experiments; return their results and what was undone.

    Raises:
        NotFoundError: nothing runs here.
        ConflictError: another chaos run is under way.
        UsageError: nobody knows which route to ask.
    """
    async with opened(request.project) as app:
        host = LocalHost()
        running = Running(app.workspace, host, SystemClock(), app.project.server.drain_s)
        if not running.is_running():
            raise NotFoundError("nothing is running here", hint="start it with `shipway up`")
        lock = host.lock(app.workspace.home / "chaos" / "lock")
        if lock is None:
            raise ConflictError("another chaos run is under way", hint="wait for it to end")
        try:
            return await _run(request, app, running)
        finally:
            host.unlock(lock)


async def _run(request: ChaosRequest, app: Application, running: Running) -> tuple[list[ExperimentResult], list[str]]:
    processes, redirect = LinuxProcesses(), partial(redirected, running)
    supervisor = int(running.recorded().get("supervisor") or 0)
    journal = Journal(app.workspace.home / "chaos" / "undo.json", (supervisor, processes.started(supervisor)))
    undone = await undo_left_over(journal, processes, redirect, require_endpoints(app.workspace).engines)
    if request.undo_only:
        return [], undone
    plan = _plan(request.section, app)
    machine = Machine(processes, _proxy, StoreLock, redirect)
    async with endpoint_caller() as caller:
        parts = replace(_parts(request, app, caller, journal), tell=request.tell)
        found = ChaosRun(plan, parts, machine, partial(_grounds, request, app, running, plan), _others(app, plan.route))
        return await run_chaos(found), undone


def _proxy(address: str) -> FaultProxy:
    return FaultProxy(address, random.Random(1))  # noqa: S311 - which requests fail is no secret


async def redirected(running: Running, engines: Mapping[str, str]) -> None:
    """Let the gateway ask engines at these addresses: new workers read them, old ones finish their requests."""
    workspace = running.workspace
    kept = require_endpoints(workspace)
    write_json(
        workspace.run / "endpoints.json",
        {"gateway": kept.gateway, "control": kept.control, "engines": dict(engines)},
    )
    await RestartCommand(running).restart(within_s=_RESTART_WITHIN_S, tell=lambda _line: None)


def _plan(section: ChaosSection, app: Application) -> ChaosPlan:
    server, redis = app.project.server, app.project.redis
    setting = Setting(server.workers, server.llm_timeout_s, redis.on_loss if redis else "fail_closed")
    plan = planned(section, setting)
    asked = [name for name, route in app.project.routes.items() if route.kind != "http"]
    if plan.route and plan.route not in asked:
        raise UsageError(f"route {plan.route!r} cannot be asked; the project has {', '.join(asked) or 'none'}")
    if not asked:
        raise UsageError("chaos asks a route of a model, and the project has none")
    return replace(plan, route=plan.route or asked[0])


def _parts(request: ChaosRequest, app: Application, caller: JsonCaller, journal: Journal) -> ChaosParts:
    environ, clock = process_environment(), SystemClock()
    key = key_of(request.section.key, request.folder, environ) or environ.get(KEY_VARIABLE, "").strip()
    if not key:
        hint = f"give `shipway chaos --key env:NAME`, or set {KEY_VARIABLE}; `shipway key create` makes one"
        raise UsageError("chaos asks the gateway and needs a key", hint=hint)
    headers = [("content-type", "application/json"), ("accept-encoding", "identity")]
    headers += [("user-agent", f"shipway/{__version__}"), ("authorization", f"Bearer {key}")]
    # A connection belongs to one worker, and all of them shall be asked.
    headers.append(("connection", "close"))
    gateway = require_endpoints(app.workspace).gateway
    return ChaosParts(
        caller,
        Asked(chat_url(gateway), tuple(headers)),
        journal,
        clock,
        partial(missing_records, app.state.records, clock),
        RolloutEye(app).state,
    )


def _grounds(request: ChaosRequest, app: Application, running: Running, plan: ChaosPlan) -> Grounds:
    route, redis = app.project.routes[plan.route], app.project.redis
    url = resolve_secret(redis.url, root=app.loaded.root, environ=process_environment()) if redis else ""
    endpoints = Endpoints.read(app.workspace)
    return Grounds(
        str(route.model or ""),
        dict(endpoints.engines) if endpoints else {},
        running.status().processes,
        app.workspace.state_file,
        url,
        request.section.processes,
    )


def _others(app: Application, asked: str) -> tuple[str, ...]:
    """Return the routes of models that need another engine than the one that is broken."""
    alias = app.project.routes[asked].model
    return tuple(
        name for name, route in app.project.routes.items() if route.kind != "http" and route.model not in {alias, None}
    )
