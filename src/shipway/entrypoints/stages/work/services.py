"""The stages that ask a running service; they call what `eval contract`, `eval smoke` and `eval perf` call."""

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import anyio

from shipway.config.environment import process_environment
from shipway.core.clock import SystemClock
from shipway.core.errors import UsageError
from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli.commands.eval_perf import this_machine
from shipway.entrypoints.endpoint_parts import endpoint_caller
from shipway.entrypoints.smoke_parts import SmokeAsked, own_suite, smoke_report
from shipway.entrypoints.stages import services as options
from shipway.entrypoints.stages.work.checking import Check, checked, finished, tool_runner
from shipway.entrypoints.stages.work.releases import released
from shipway.entrypoints.stages.work.serving import served
from shipway.entrypoints.wiring import opened
from shipway.evals.contracts.model import METHODS, FromEnvironment
from shipway.evals.contracts.openapi import OpenApiContracts, OpenApiPlan
from shipway.evals.performance import MOST_ERRORS, Measurement, PerformancePlan, from_json
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.ports import BuiltinStage, StageContext
from shipway.pipeline.spec import StageSpec
from shipway.pipeline.tools.junit_xml import read_junit
from shipway.pipeline.tools.model import SCRATCH, Tool, ToolOutput, UnreadableOutputError
from shipway.services.api_contracts import ContractPlan, base_url, load_contracts, load_openapi, try_contracts
from shipway.services.performance import ChatEndpoint, PerformanceParts, chat_url, measure_all
from shipway.services.running import require_endpoints

_KEY_FILE = "key.toml"
_KEY_HEADER = 'headers = { Authorization = "Bearer ${SHIPWAY_KEY}" }\n'
_FIGURES = ("p50_ms", "p99_ms", "ttft_p99_ms")


def contract(project: Path | None) -> BuiltinStage:
    """Return the stage that tries API contracts."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Contract.model_validate(dict(stage.with_))
        key = FromEnvironment(wanted.key_env, "Bearer ") if wanted.key_env else None
        read = await _contracts(root, wanted, key)
        async with _asked(root, wanted, context) as address, endpoint_caller() as caller:
            plan = ContractPlan(address, None if wanted.openapi else key, wanted.timeout_s)
            report = await try_contracts(caller, read.contracts, plan, process_environment(), read.findings)
        for note in read.notes:
            context.output.feed(f"note: {note}\n".encode())
        return await finished(root, stage, context, report, {"contracts": len(read.contracts)})

    return run


def schemathesis(project: Path | None) -> BuiltinStage:
    """Return the stage that tries an OpenAPI document with schemathesis."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Schemathesis.model_validate(dict(stage.with_))
        variables, given = {}, {}
        argv = ["--phases", ",".join(wanted.phases), "--max-examples", str(wanted.max_examples), "--seed", "1"]
        argv += ["--no-color", "--report", "junit", "--report-junit-path", f"{SCRATCH}/junit.xml", *wanted.arguments]
        if wanted.key_env:
            # In a variable that a file names: an argument would stand in the list of processes.
            variables["SHIPWAY_KEY"] = _key(wanted.key_env)
            given[_KEY_FILE] = _KEY_HEADER
        whole = ["--config-file", f"{SCRATCH}/{_KEY_FILE}"] if wanted.key_env else []
        tool = Tool("schemathesis", "pip install schemathesis", _schemathesis)
        async with _asked(root, wanted, context) as address:
            schema = f"{address}{wanted.schema_}" if wanted.schema_.startswith("/") else wanted.schema_
            called = ["schemathesis", *whole, "run", schema, "--url", address, *argv]
            check = Check(tool, called, variables, streamed=True, given=given)
            report, _ = await checked(tool_runner(root, stage, context), stage.name, check)
        return await finished(root, stage, context, report)

    return run


def smoke(project: Path | None) -> BuiltinStage:
    """Return the stage that runs smoke checks."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Smoke.model_validate(dict(stage.with_))
        file = root / wanted.file if wanted.file else None if wanted.route else own_suite(root)
        address = base_url(wanted.url) if wanted.url else ""
        async with AsyncExitStack() as stack:
            release = wanted.release
            if release == "run" or not address:
                app = await stack.enter_async_context(opened(root))
                release = await released(app, stage, context) if release == "run" else release
                if not address:
                    await stack.enter_async_context(served(app, context, by_gateway=not release))
            asked = SmokeAsked(file, address, release, wanted.route, _key(wanted.key_env))
            report, notes = await smoke_report(root, asked)
        for note in notes:
            context.output.feed(f"note: {note}\n".encode())
        return await finished(root, stage, context, report, {"checks": len(report.findings)})

    return run


def performance(project: Path | None) -> BuiltinStage:
    """Return the stage that measures how fast a service answers."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Performance.model_validate(dict(stage.with_))
        before = (
            from_json(await anyio.Path(root / wanted.baseline).read_bytes(), wanted.baseline)
            if wanted.baseline
            else None
        )
        plan = PerformancePlan(wanted.batch, wanted.warmups, wanted.iterations, wanted.max_tokens, stream=wanted.stream)
        key = _key(wanted.key_env)
        async with _asked(root, wanted, context) as address, endpoint_caller() as caller:
            endpoint = ChatEndpoint(chat_url(address), wanted.model, key, wanted.timeout_s)
            parts = PerformanceParts(caller, SystemClock(), random.Random(1), this_machine())  # noqa: S311 - words before a prompt
            (measured,) = await measure_all([endpoint], plan, parts)
        found = list(_judged(measured, wanted))
        if before is not None:
            found.append(_compared(measured, before, wanted))
        report = FindingReport(stage.name, "", tuple(found))
        return await finished(root, stage, context, report, _figures(measured))

    return run


async def _contracts(root: Path, wanted: options.Contract, key: FromEnvironment | None) -> OpenApiContracts:
    if bool(wanted.file) == bool(wanted.openapi):
        raise UsageError("contract: give exactly one of file and openapi")
    if wanted.openapi:
        unknown = [name for name in wanted.methods if name.upper() not in METHODS]
        if unknown:
            raise UsageError(f"contract: methods: {unknown[0]!r} is not sent", hint=f"known: {', '.join(METHODS)}")
        methods = tuple(name.upper() for name in wanted.methods)
        return await load_openapi(root / wanted.openapi, OpenApiPlan(methods, wanted.skip, key, wanted.max_ms))
    read = await load_contracts(root / wanted.file)
    limited = (item if item.max_ms is not None else replace(item, max_ms=wanted.max_ms) for item in read)
    return OpenApiContracts(tuple(limited), (), ())


@asynccontextmanager
async def _asked(root: Path, wanted: options.Asking, context: StageContext) -> AsyncIterator[str]:
    """Give the address that a stage asks: its own, or that of the app, which is started where nothing runs."""
    if wanted.url:
        yield base_url(wanted.url)
        return
    async with opened(root) as app, served(app, context, by_gateway=True):
        yield require_endpoints(app.workspace).gateway.rstrip("/")


def _key(name: str) -> str:
    key = process_environment().get(name, "").strip() if name else ""
    if name and not key:
        raise UsageError(f"environment variable {name} is not set or empty")
    return key


def _schemathesis(output: ToolOutput) -> Iterator[Finding]:
    data = output.files.get("junit.xml")
    if data is None:
        raise UnreadableOutputError("it left no JUnit file")
    for finding in read_junit(data):
        yield replace(finding, suite="schemathesis", rule=finding.rule.replace("tests/", "schemathesis/"), location="")


def _judged(measured: Measurement, wanted: options.Performance) -> Iterator[Finding]:
    for row in measured.rows:
        name = f"{row.batch} in flight"
        if row.errors > MOST_ERRORS * row.requests:
            message = f"{row.errors} of {row.requests} requests failed: {', '.join(measured.reasons)}"
            yield Finding("performance", name, Verdict.ERROR, message=message, rule="performance/errors")
            continue
        for figure in _FIGURES:
            most, value = getattr(wanted, figure), getattr(row, figure)
            if most is None:
                continue
            verdict = Verdict.NO_DATA if value is None else Verdict.FAIL if value > most else Verdict.PASS
            said = "was not measured" if value is None else f"is {value:.1f} ms, at most {most:g} ms are allowed"
            message = "" if verdict is Verdict.PASS else f"{figure} {said}"
            yield Finding("performance", name, verdict, figure, value, message, rule=f"performance/{figure}")
        yield Finding("performance", name, Verdict.PASS, rule="performance/measured")


def _compared(measured: Measurement, before: Measurement, wanted: options.Performance) -> Finding:
    # With the first baseline: it brings numpy.
    found = import_module("shipway.evals.performance_ratios").compared(
        measured, before, max_ratio=wanted.max_ratio, seed=1, in_turns=False
    )
    verdict = Verdict.PASS if found.verdict is None else Verdict(found.verdict)
    ratios = "; ".join(f"{item.metric} at {item.batch}: {item.ratio:.2f}" for item in found.ratios if item.ratio)
    message = "; ".join((*found.problems, ratios)) if verdict is not Verdict.PASS else ""
    return Finding("performance", "baseline", verdict, message=message, rule="performance/baseline")


def _figures(measured: Measurement) -> dict[str, float]:
    named = ("p50_ms", "p99_ms", "ttft_p50_ms", "ttft_p99_ms", "tokens_per_s")
    return {
        f"{name}_at_{row.batch}": round(value, 3)
        for row in measured.rows
        for name in named
        if (value := getattr(row, name)) is not None
    }
