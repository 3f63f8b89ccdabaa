"""`shipway eval contract`: ask a service what its contracts or its OpenAPI document say."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from shipway.config.environment import process_environment
from shipway.core.errors import UsageError
from shipway.core.findings import Finding, FindingReport, findings_lines
from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli.options import DebugOption, JsonOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.endpoint_parts import endpoint_caller
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.evals.contracts.model import METHODS, Contract, FromEnvironment
from shipway.evals.contracts.openapi import OpenApiContracts, OpenApiPlan
from shipway.evals.suggestions import did_you_mean
from shipway.services.api_contracts import ContractPlan, load_contracts, load_openapi, try_contracts

_DEFAULTS = ContractPlan("")


def contract(
    url: Annotated[str, typer.Option(help="The service's address, such as http://127.0.0.1:8000.")],
    file: Annotated[Path | None, typer.Argument(help="A YAML file of contracts.")] = None,
    openapi: Annotated[Path | None, typer.Option(help="An OpenAPI 3.0 or 3.1 document instead.")] = None,
    key_env: Annotated[str, typer.Option(help="The variable whose value is sent as the bearer token.")] = "",
    timeout_s: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which a request without a whole reply is an ERROR.")
    ] = _DEFAULTS.timeout_s,
    max_ms: Annotated[
        float | None, typer.Option(min=1, help="How long a reply may take, where the contract does not say it.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Of an OpenAPI document ask these methods only; by default GET, HEAD and POST."),
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(help="Leave out an operation of the document: 'POST /files' or its id.")
    ] = None,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Send what contracts say and judge status, content type, headers, JSON Schema, text and time of the replies.

    Exit code: 0 all are kept, 1 one is broken, 2 the file is malformed, 3 the service did not answer, 4 a part of the
    document cannot be asked (--skip leaves it out on purpose).
    """
    del debug
    if (file is None) == (openapi is None):
        raise UsageError("give a file of contracts, or a document with --openapi")
    if openapi is None and (method or skip):
        raise UsageError("--method and --skip choose operations of an --openapi document")
    key = FromEnvironment(key_env, "Bearer ") if key_env else None
    wanted = OpenApiPlan(_methods(method or []), tuple(skip or ()), key, max_ms)
    plan = ContractPlan(url, None if openapi else key, timeout_s)

    async def act() -> tuple[FindingReport, tuple[str, ...]]:
        read = await _read(file, openapi, wanted)
        async with endpoint_caller() as caller:
            report = await try_contracts(caller, read.contracts, plan, process_environment(), read.findings)
        return report, read.notes

    report, notes = anyio.run(act)
    emit({**_value(report), "notes": notes}, _lines(report, notes), as_json=as_json)
    raise typer.Exit(VERDICT_EXIT_CODES[report.verdict])


async def _read(file: Path | None, openapi: Path | None, plan: OpenApiPlan) -> OpenApiContracts:
    if openapi is not None:
        return await load_openapi(openapi, plan)
    contracts = await load_contracts(file or Path())
    return OpenApiContracts(tuple(_limited(item, plan.max_ms) for item in contracts), (), ())


def _limited(item: Contract, max_ms: float | None) -> Contract:
    return item if item.max_ms is not None else replace(item, max_ms=max_ms)


def _methods(given: list[str]) -> tuple[str, ...]:
    for name in given:
        if name.upper() not in METHODS:
            raise UsageError(f"--method: {name!r} is not sent", hint=did_you_mean(name.upper(), METHODS))
    return tuple(name.upper() for name in given)


def _value(report: FindingReport) -> dict[str, Any]:
    return {
        "suite": report.suite,
        "verdict": report.verdict.value,
        "findings": [_row(item) for item in report.findings],
    }


def _row(item: Finding) -> dict[str, Any]:
    return {
        "name": item.name,
        "check": item.metric,
        "verdict": item.verdict.value,
        "message": item.message,
        "location": item.location,
        "rule": item.rule,
        "pointer": item.details.get("pointer", ""),
        "duration_ms": item.duration_ms,
    }


def _lines(report: FindingReport, notes: tuple[str, ...]) -> list[str]:
    """Return what failed, what could not be asked, and how many contracts are kept."""
    verdicts: dict[str, set[Verdict]] = {}
    for item in report.findings:
        verdicts.setdefault(item.name, set()).add(item.verdict)
    kept = sum(found == {Verdict.PASS} for found in verdicts.values())
    unasked = [item for item in report.findings if item.verdict is Verdict.NO_DATA and item.message]
    return [
        *findings_lines(report, most=len(report.findings)),
        *(f"{item.location}: not asked: {item.name}: {item.message}" for item in unasked),
        *(f"note: {note}" for note in notes),
        f"{report.verdict.value}: {kept} of {len(verdicts)} contracts kept",
    ]
