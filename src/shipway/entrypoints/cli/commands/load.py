"""`shipway load`: ask an endpoint as many users would, and judge how it held out."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import typer

from shipway.config.environment import process_environment
from shipway.core.disk import require_writable_file
from shipway.core.errors import UsageError
from shipway.entrypoints.cli.durations import duration_s
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.cli.progress import bar
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.load_parts import (
    KEY_VARIABLE,
    LoadRequest,
    ScriptRequest,
    load_run,
    load_script,
    with_target,
)
from shipway.load.plan import DEFAULT_LIMITS, Kind, Limits, LoadPlan, Stage
from shipway.load.plan_file import PlanFile, PlanSection, RecordedSection, planned, read_plan
from shipway.load.report import LoadReport, as_json, lines
from shipway.load.tool_results import LoadTool
from shipway.services.load.results import write_results
from shipway.services.load.targets import key_of, secret_named

PlanArgument = Annotated[
    Path | None, typer.Argument(help="A plan (YAML), or with --tool the tool's script; without one: the options.")
]
UrlOption = Annotated[str, typer.Option(help="The server's address; by default the gateway that runs here.")]
RateOption = Annotated[float | None, typer.Option(min=0.001, help="Requests a second, whatever becomes of them.")]
UsersOption = Annotated[
    int | None, typer.Option(min=1, help="Users who read an answer before they ask again; by default 10 to 100.")
]
RampOption = Annotated[str, typer.Option(help="Reach that rate or those users evenly in this time, such as 30s.")]
LimitOption = Annotated[
    list[str] | None, typer.Option(help="A limit instead of the plan's, such as p99_ms=5000 or error_rate=0.01.")
]
KeyOption = Annotated[str, typer.Option(help=f"Where the API key is: env:NAME or file:PATH; else ${KEY_VARIABLE}.")]
HostOption = Annotated[
    list[str] | None, typer.Option(help="A host beyond this machine that may be loaded; others are refused.")
]
PidOption = Annotated[list[int] | None, typer.Option(min=1, help="A process of the target, watched with its children.")]
ToolOption = Annotated[LoadTool | None, typer.Option(help="Run this tool's script instead of the own generator.")]


def load(
    plan: PlanArgument = None,
    url: UrlOption = "",
    model: Annotated[str, typer.Option(help="The model's name at the address.")] = "",
    route: Annotated[str, typer.Option(help="The project's route; by default the only one.")] = "",
    rate: RateOption = None,
    users: UsersOption = None,
    ramp: RampOption = "",
    lasting: Annotated[str, typer.Option("--for", help="How long the rate or the users stay, such as 5m.")] = "",
    limit: LimitOption = None,
    key: KeyOption = "",
    allow_host: HostOption = None,
    pid: PidOption = None,
    tool: ToolOption = None,
    out: Annotated[Path | None, typer.Option(help="Write the whole result as JSON.")] = None,
    metrics: Annotated[Path | None, typer.Option(help="Write the figures for a pipeline's gates as JSON.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the limits as JUnit XML.")] = None,
    *,
    recorded: Annotated[bool, typer.Option("--recorded", help="Ask what users of this app asked.")] = False,
    project: ProjectOption = None,
    as_json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Send requests when they are due, whether or not earlier ones were answered, and judge latencies and errors.

    Exit code: 0 PASS, 1 FAIL, 3 nobody answered or the generator could not keep up, 4 the limits cannot be told.
    """
    del debug
    for path, option in ((out, "--out"), (metrics, "--metrics"), (junit, "--junit")):
        if path is not None:
            require_writable_file(path, option)
    allowed, pids = tuple(allow_host or ()), tuple(pid or ())
    if tool is not None:
        script = _script(tool, plan, url, (users, ramp, lasting), limit, (key, allowed, pids))
        report = anyio.run(load_script, script)
    else:
        level = _stages(rate, users, _seconds(ramp, "--ramp"), _seconds(lasting, "--for"))
        file = with_target(_file(plan, level, limit, recorded=recorded), url=url, model=model, route=route)
        file = replace(file, key=secret_named(key), key_folder=Path()) if key else file
        report = _loaded(LoadRequest(file, project, allowed, pids), shown=not as_json_)
    anyio.run(partial(write_results, report, out=out, figures=metrics, junit=junit))
    emit(as_json(report), lines(report), as_json=as_json_)
    raise typer.Exit(VERDICT_EXIT_CODES[report.verdict])


def _loaded(request: LoadRequest, *, shown: bool) -> LoadReport:
    with bar("loading", shown=shown) as progress:
        told = replace(request, progress=lambda passed, whole: progress(int(passed), int(whole)))
        return anyio.run(load_run, told)


def _file(plan: Path | None, level: LoadPlan | None, limit: list[str] | None, *, recorded: bool) -> PlanFile:
    file = planned(PlanSection(), Path()) if plan is None else read_plan(plan)
    if level is not None:
        file = replace(file, plan=replace(file.plan, kind=level.kind, stages=level.stages))
    if limit:
        file = replace(file, plan=replace(file.plan, limits=_limits(limit)))
    if recorded and file.recorded is None:
        if file.requests or file.requests_file:
            raise UsageError("--recorded: the plan has its own requests")
        file = replace(file, recorded=RecordedSection())
    return file


def _stages(rate: float | None, users: int | None, ramp_s: float, for_s: float) -> LoadPlan | None:
    """Return the level that options say; None without one."""
    if rate is not None and users is not None:
        raise UsageError("give --rate or --users, not both")
    level = rate if rate is not None else users
    if level is None:
        if ramp_s or for_s:
            raise UsageError("--ramp and --for say how long: give --rate or --users with them")
        return None
    held = Stage(for_s or 60.0, level, level)
    ramped = (Stage(ramp_s, 0.0, level),) if ramp_s else ()
    return LoadPlan(Kind.RATE if rate is not None else Kind.USERS, (*ramped, held))


def _script(
    tool: LoadTool,
    script: Path | None,
    url: str,
    size: tuple[int | None, str, str],
    limit: list[str] | None,
    rest: tuple[str, tuple[str, ...], tuple[int, ...]],
) -> ScriptRequest:
    key, allowed, pids = rest
    if script is None or not url:
        raise UsageError(f"--tool {tool.value} needs its script and the --url that it asks")
    users, ramp, lasting = size
    environ = process_environment()
    found = key_of(secret_named(key), Path(), environ) if key else environ.get(KEY_VARIABLE, "").strip()
    return ScriptRequest(
        tool,
        script,
        url,
        _limits(limit) if limit else DEFAULT_LIMITS,
        users or 0,
        _seconds(ramp, "--ramp"),
        _seconds(lasting, "--for"),
        allowed=allowed,
        pids=pids,
        key=found,
    )


def _limits(given: list[str]) -> Limits:
    found = {}
    for item in given:
        name, sign, value = item.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            sign = ""
        if not sign or found[name] < 0:
            raise UsageError(f"--limit {item[:60]!r} is no limit", hint="write NAME=NUMBER, such as p99_ms=5000")
    return Limits(found)


def _seconds(text: str, option: str) -> float:
    return duration_s(text, option) if text else 0.0
