"""`shipway eval perf`: how fast an endpoint answers, and whether that changed."""

import os
import platform
import random
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import anyio
import orjson
import typer

from shipway.config.environment import process_environment
from shipway.core.clock import SystemClock
from shipway.core.disk import explained, require_writable_file
from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.cli.progress import bar
from shipway.entrypoints.endpoint_parts import endpoint_caller
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.wiring import load
from shipway.evals.performance import MOST_ERRORS, Measurement, PerformancePlan, PerformanceRow, from_json
from shipway.evals.performance import as_json as measurement_json
from shipway.services.application import Workspace
from shipway.services.performance import ChatEndpoint, PerformanceParts, chat_url, measure_all
from shipway.services.running import require_endpoints

_KEY = "SHIPWAY_TARGET_KEY"
_DEFAULTS = PerformancePlan()
# With the first baseline: it brings numpy.
_RATIOS = "shipway.evals.performance_ratios"
_ROUTE = "route:"
_LIMITED = "status 429"
_APART = ", measured at another time: the intervals do not hold what else the machine did then"


BatchOption = Annotated[
    list[int] | None, typer.Option(min=1, max=256, help="Requests in flight at once; by default 1, 4, 8 and 16.")
]
PromptOption = Annotated[str, typer.Option(help="What is asked; something different stands before it each time.")]
WholeOption = Annotated[bool, typer.Option("--no-stream", help="Ask for whole replies: no time to first token.")]
AgainstOption = Annotated[
    str, typer.Option(help="Measure this target in turns with the first, and compare; ADDRESS#MODEL for another model.")
]
BaselineOption = Annotated[Path | None, typer.Option(help="Compare with this file, which --out wrote before.")]
RatioOption = Annotated[
    float | None,
    typer.Option(
        min=1.0, help="How many times the median time of the baseline or the other target is allowed, as 1.2."
    ),
]


def perf(
    target: Annotated[str, typer.Argument(help="An OpenAI-compatible address, or a route of the app that runs here.")],
    model: Annotated[str, typer.Option(help="The model's name at an address.")] = "",
    batch: BatchOption = None,
    iterations: Annotated[int, typer.Option(min=1, help="Measured batches of each size.")] = _DEFAULTS.iterations,
    warmups: Annotated[int, typer.Option(min=0, help="Batches of each size that do not count.")] = _DEFAULTS.warmups,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = _DEFAULTS.max_tokens,
    prompt: PromptOption = _DEFAULTS.prompt,
    no_stream: WholeOption = False,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request is an error.")] = 60.0,
    key_env: Annotated[str, typer.Option(help="The variable that holds the API key.")] = _KEY,
    against: AgainstOption = "",
    baseline: BaselineOption = None,
    max_ratio: RatioOption = None,
    out: Annotated[Path | None, typer.Option(help="Write every time, as a baseline for later.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the texts before the prompt and of the intervals.")] = 1,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure latency, time to first token and tokens per second, with several requests in flight.

    Exit code: 0 measured, and with --max-ratio surely not slower; 1 surely slower; 3 too many errors, or the baseline
    measured something else; 4 the measurement cannot tell.
    """
    del debug
    _check_comparison(against, baseline, max_ratio)
    if out is not None:
        require_writable_file(out, "--out")
    before = _read(baseline) if baseline is not None else None
    plan = PerformancePlan(
        tuple(batch or _DEFAULTS.batch_sizes), warmups, iterations, max_tokens, prompt, stream=not no_stream
    )
    key = _key(key_env)
    endpoints = [_endpoint(name, model, key, timeout_s, project) for name in (target, against) if name]
    measured, *others = anyio.run(partial(_measured, endpoints, plan, seed, shown=not as_json))
    before = others[0] if others else before
    comparison = None
    if before is not None:
        ratios = import_module(_RATIOS)
        comparison = ratios.compared(measured, before, max_ratio=max_ratio, seed=seed, in_turns=bool(others))
    if out is not None:
        with explained(out, "cannot be written"):
            out.write_bytes(orjson.dumps(measurement_json(measured), option=orjson.OPT_INDENT_2))
    verdict = _verdict(measured, comparison)
    emit(_value(measured, comparison, verdict), _lines(measured, comparison, verdict), as_json=as_json)
    raise typer.Exit(VERDICT_EXIT_CODES[verdict])


async def _measured(
    endpoints: list[ChatEndpoint], plan: PerformancePlan, seed: int, *, shown: bool
) -> list[Measurement]:
    sizes = plan.batch_sizes
    async with endpoint_caller() as caller:
        with bar("measuring", shown=shown) as progress:
            parts = PerformanceParts(
                caller,
                SystemClock(),
                random.Random(seed),  # noqa: S311 - words before a prompt
                this_machine(),
                lambda size, done, all_: progress(sizes.index(size) * all_ + done, len(sizes) * all_),
            )
            return await measure_all(endpoints, plan, parts)


def _check_comparison(against: str, baseline: Path | None, max_ratio: float | None) -> None:
    if baseline is not None and against:
        raise UsageError("compare with a --baseline or measure --against another target, not both")
    if max_ratio is not None and baseline is None and not against:
        raise UsageError("--max-ratio compares: give --against or --baseline")


def this_machine() -> dict[str, Any]:
    """Return what of this machine a baseline must have alike."""
    return {"machine": platform.machine(), "system": platform.system(), "cpus": os.cpu_count() or 0}


def _key(name: str) -> str:
    key = process_environment().get(name, "").strip()
    if not key and name != _KEY:
        raise UsageError(f"environment variable {name} is not set or empty")
    return key


def _endpoint(target: str, model: str, key: str, timeout_s: float, project: Path | None) -> ChatEndpoint:
    if "://" not in target:
        route = target.removeprefix(_ROUTE)
        loaded = load(project)
        if route not in loaded.project.routes:
            known = ", ".join(loaded.project.routes)
            raise UsageError(f"the project has no route {route!r}", hint=f"known: {known}")
        address = require_endpoints(Workspace(loaded.root)).gateway
        return ChatEndpoint(chat_url(address), route, key, timeout_s)
    address, _, own = target.partition("#")
    if not own and not model:
        raise UsageError("an address needs the model's name: --model", hint="a route of a gateway is a model, too")
    return ChatEndpoint(chat_url(address), own or model, key, timeout_s)


def _read(path: Path) -> Measurement:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--baseline: {path}: cannot be read: {error.strerror or error}") from error
    return from_json(data, str(path))


def _verdict(measured: Measurement, comparison: Any) -> Verdict:
    if any(row.errors > MOST_ERRORS * row.requests for row in measured.rows):
        return Verdict.ERROR
    return Verdict.PASS if comparison is None or comparison.verdict is None else Verdict(comparison.verdict)


def _value(measured: Measurement, comparison: Any, verdict: Verdict) -> dict[str, Any]:
    value = {
        "target": measured.target,
        "verdict": verdict.value,
        "plan": asdict(measured.plan),
        "machine": dict(measured.machine),
        "rows": [asdict(row) for row in measured.rows],
        "errors": measured.reasons,
    }
    if comparison is not None:
        value["comparison"] = {
            "before": comparison.before,
            "in_turns": comparison.in_turns,
            "max_ratio": comparison.max_ratio,
            "problems": comparison.problems,
            "ratios": [asdict(ratio) for ratio in comparison.ratios],
        }
    return value


def _lines(measured: Measurement, comparison: Any, verdict: Verdict) -> list[str]:
    heading = ("in flight", "requests", "errors", "p50 ms", "p99 ms", "ttft p50 ms", "ttft p99 ms", "tokens/s")
    rows = measured.rows
    lines = [measured.target, *table(heading, [_cells(row) for row in rows])]
    if any(row.is_p99_the_slowest for row in rows):
        lines.append("* fewer than 100 requests: the 99th percentile is the slowest one")
    lines += [f"{count} x {reason}" for reason, count in measured.reasons.items()]
    if any(reason.startswith(_LIMITED) for reason in measured.reasons):
        lines.append(
            "  the limits of the key were measured, not the target: give it a key with more, or fewer iterations"
        )
    if comparison is None:
        return [*lines, verdict.value] if verdict is Verdict.ERROR else lines
    lines += ["", *(f"not compared: {problem}" for problem in comparison.problems)]
    if comparison.ratios:
        cells = [
            (item.batch, item.metric, _number(item.before), _number(item.now), _ratio(item))
            for item in comparison.ratios
        ]
        lines.append(f"against {comparison.before}" + ("" if comparison.in_turns else _APART))
        lines += table(("in flight", "figure", "before", "now", "ratio (95 % of each figure together)"), cells)
    limit = "" if comparison.max_ratio is None else f": the median may take {comparison.max_ratio:g} times as long"
    return [*lines, f"{verdict.value}{limit}"] if limit or verdict is not Verdict.PASS else lines


def _cells(row: PerformanceRow) -> tuple[object, ...]:
    star = "*" if row.is_p99_the_slowest and row.p99_ms is not None else ""
    times = (_number(row.p50_ms), _number(row.p99_ms) + star, _number(row.ttft_p50_ms), _number(row.ttft_p99_ms))
    return (row.batch, row.requests, row.errors, *times, _number(row.tokens_per_s))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _ratio(item: Any) -> str:
    if item.ratio is None:
        return "-"
    bounds = "" if item.low is None else f" ({item.low:.2f} to {item.high:.2f})"
    return f"{item.ratio:.2f}{bounds}"
