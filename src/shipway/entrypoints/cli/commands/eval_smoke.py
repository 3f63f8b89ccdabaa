"""`shipway eval smoke`: a few short questions that tell whether what was deployed works at all."""

from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from shipway.config.environment import process_environment
from shipway.core.errors import UsageError
from shipway.core.findings import FindingReport, findings_lines, is_open
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.smoke_parts import SmokeAsked, own_suite, smoke_report
from shipway.services.api_contracts import base_url

_KEY = "SHIPWAY_TARGET_KEY"


def smoke(
    file: Annotated[
        Path | None, typer.Argument(help="A YAML file of checks; by default evals.smoke, or what fits the app.")
    ] = None,
    url: Annotated[str, typer.Option(help="The gateway's address; by default the one that runs here.")] = "",
    release: Annotated[
        str, typer.Option(help="With --url only this release may answer; alone it is opened without a gateway.")
    ] = "",
    route: Annotated[str, typer.Option(help="Of the default suite ask this route only.")] = "",
    key_env: Annotated[str, typer.Option(help="The variable that holds the API key.")] = _KEY,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Ask a few questions of at most 100 tokens and 30 seconds each; look for counters, the record and the trace.

    A check that is marked as open may fail: that is told and decides nothing.

    Exit code: 0 PASS, 1 FAIL, 3 nobody could answer, 4 something could not be looked at.
    """
    del debug
    key = process_environment().get(key_env, "").strip()
    if not key and key_env != _KEY:
        raise UsageError(f"environment variable {key_env} is not set or empty")
    file = file or (None if route else own_suite(project))
    asked = SmokeAsked(file, base_url(url) if url else "", release, route, key)

    report, notes = anyio.run(smoke_report, project, asked)
    emit(_value(report, notes), _lines(report, notes), as_json=as_json)
    raise typer.Exit(VERDICT_EXIT_CODES[report.verdict])


def _value(report: FindingReport, notes: list[str]) -> dict[str, Any]:
    checks = [
        {
            "name": item.name,
            "kind": item.details["kind"],
            "verdict": item.verdict.value,
            "open": is_open(item),
            "message": item.message,
            "location": item.location,
            "duration_ms": item.duration_ms,
        }
        for item in report.findings
    ]
    return {"suite": report.suite, "verdict": report.verdict.value, "checks": checks, "notes": notes}


def _lines(report: FindingReport, notes: list[str]) -> list[str]:
    unseen = [item for item in report.findings if item.verdict.value == "NO_DATA"]
    passed = sum(item.verdict.value == "PASS" for item in report.findings)
    known = sum(map(is_open, report.findings))
    return [
        *findings_lines(report, most=len(report.findings)),
        *(f"{item.location or report.suite}: not looked at: {item.name}: {item.message}" for item in unseen),
        *(f"note: {note}" for note in notes),
        f"{report.verdict.value}: {passed} of {len(report.findings)} checks passed"
        + (f", {known} open: expected to fail for now" if known else ""),
    ]
