"""The collaborators of `shipway load`: whom it asks, with which requests, and who watches the target's processes."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio

from shipway.adapters.evaluation_tools.load_runs import LoadToolRuns, ToolLoad
from shipway.adapters.httptools_client.client import HttptoolsEngineClient
from shipway.adapters.local_process.host import LocalHost
from shipway.config.environment import process_environment
from shipway.core.clock import SystemClock
from shipway.core.errors import UsageError
from shipway.entrypoints.wiring import opened
from shipway.load.judging import Usage
from shipway.load.plan import Limits, Template
from shipway.load.plan_file import PlanFile
from shipway.load.report import LoadReport
from shipway.load.tool_results import LoadTool, Ran, tool_report
from shipway.services.application import Application
from shipway.services.load.asking import EndpointAsker
from shipway.services.load.machine import MachineWatch
from shipway.services.load.mix import Mix, recorded_templates, templates_of
from shipway.services.load.running import LoadParts, run_load
from shipway.services.load.targets import key_of, require_allowed, server_of
from shipway.services.running import Running, require_endpoints

KEY_VARIABLE = "SHIPWAY_TARGET_KEY"
_ELSEWHERE = "the target's processes are not known; --pid names one of this machine"


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What the options say: a plan, the hosts beyond this machine that may be asked, the processes to watch."""

    file: PlanFile
    project: Path | None = None
    allowed: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    progress: Callable[[float, float], None] = lambda _passed, _all: None


@dataclass(frozen=True, slots=True)
class ScriptRequest:
    """A tool's script and how much of it is run."""

    tool: LoadTool
    script: Path
    url: str
    limits: Limits
    users: int = 0
    ramp_s: float = 0.0
    for_s: float = 0.0
    timeout_s: float = 900.0
    allowed: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    key: str = field(default="", repr=False)


async def load_run(request: LoadRequest) -> LoadReport:
    """Run a plan.

    Raises:
        ForbiddenError: a host that was not named.
        NotFoundError: nothing runs here, or there is no such file or traffic.
        UnavailableError: the first request was not answered.
        UsageError: nobody knows whom to ask.
    """
    async with _place(request) as place:
        clock, client = SystemClock(), HttptoolsEngineClient()
        asker = EndpointAsker(client, clock.monotonic_s, request.file.plan.timeout_s)
        mix = Mix(place.templates, place.server, request.file.plan, place.key)
        watch = MachineWatch(place.pids, clock) if place.pids else None
        parts = LoadParts(
            asker.ask, mix.prepare, clock, watch, _ELSEWHERE, progress=request.progress, notes=place.notes
        )
        try:
            return await run_load(place.server, request.file.plan, parts)
        finally:
            await client.close()


async def load_script(request: ScriptRequest) -> LoadReport:
    """Run a tool's script.

    Raises:
        ForbiddenError: a host that was not named.
        UnavailableError: the tool is not installed, or wrote no result.
        NotFoundError: there is no such script.
    """
    server = server_of(request.url)
    require_allowed(server, request.allowed)
    sizes = (request.users, request.ramp_s, request.for_s, request.timeout_s)
    runs = LoadToolRuns(process_environment())
    watch = MachineWatch(lambda: request.pids, SystemClock())
    async with anyio.create_task_group() as group:
        if request.pids:
            group.start_soon(watch.watch)
        ended = await runs.run(ToolLoad(request.tool, request.script, server, *sizes, request.key))
        group.cancel_scope.cancel()
    usage = watch.usage() if request.pids else Usage(reason=_ELSEWHERE)
    problems = ended.problems
    if ended.broke_own:
        problems = (*problems, f"{request.tool.value}'s own thresholds do not hold")
    return tool_report(Ran(request.tool, server, ended.summary, usage, problems), request.limits)


@dataclass(frozen=True, slots=True)
class _Place:
    server: str
    templates: Sequence[Template]
    key: str = field(repr=False)
    pids: Callable[[], Collection[int]] | None = None
    notes: tuple[str, ...] = ()


@asynccontextmanager
async def _place(request: LoadRequest) -> AsyncIterator[_Place]:
    """Find out whom to ask; an address with its own requests needs no project."""
    file, environ = request.file, process_environment()
    key = key_of(file.key, file.key_folder or file.folder, environ) or environ.get(KEY_VARIABLE, "").strip()
    async with AsyncExitStack() as stack:
        app: Application | None = None
        if not file.url or file.recorded is not None:
            app = await stack.enter_async_context(opened(request.project))
        server = server_of(file.url or require_endpoints(_of(app).workspace).gateway)
        require_allowed(server, request.allowed)
        model = file.model or (file.route or _only_route(_of(app)) if not file.url else "")
        notes: tuple[str, ...] = ()
        if file.recorded is not None:
            templates, recorded = await recorded_templates(_of(app), file, model)
            left = ", ".join(f"{count} {reason}" for reason, count in recorded.left_out.items())
            notes = (f"{len(templates)} recorded questions of {recorded.route}{f' ({left})' if left else ''}",)
        else:
            templates = await templates_of(file, model)
        _require_models(templates)
        watched = request.pids or (() if file.url else None)
        pids = _pids(_of(app)) if watched is None else (lambda: request.pids) if watched else None
        yield _Place(server, templates, key, pids, notes)


def _of(app: Application | None) -> Application:
    if app is None:
        raise UsageError("nobody knows whom to ask", hint="give --url, or run it in a project")
    return app


def _only_route(app: Application) -> str:
    routes = [name for name, route in app.project.routes.items() if route.kind != "http"]
    if len(routes) != 1:
        raise UsageError(f"which route? --route; the project has {', '.join(app.project.routes) or 'none'}")
    return routes[0]


def _require_models(templates: Sequence[Template]) -> None:
    nameless = [item.name for item in templates if item.path.endswith("/chat/completions") and "model" not in item.body]
    if nameless:
        raise UsageError(f"request {nameless[0]} names no model: --model", hint="a route of a gateway is a model, too")


def _pids(app: Application) -> Callable[[], Collection[int]]:
    """Return what reads the project's own processes, which may be replaced while they are watched."""
    running = Running(app.workspace, LocalHost(), SystemClock(), app.project.server.drain_s)
    return lambda: [process["pid"] for process in running.status().processes if process.get("pid")]


def with_target(file: PlanFile, *, url: str, model: str, route: str) -> PlanFile:
    """Return a plan with what options say about its target instead of what it says."""
    named = file.route if not url else ""
    return replace(file, url=url or file.url, model=model or file.model, route=route or named)
