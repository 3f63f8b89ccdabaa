"""Writing what a load test found: JSON, the figures for a pipeline's gates, JUnit."""

from collections.abc import Callable
from pathlib import Path

import anyio
import orjson

from shipway import __version__
from shipway.core.disk import explained
from shipway.core.findings import Finding, FindingReport
from shipway.evals.report_junit import findings_junit
from shipway.load.report import LoadReport, as_json, metrics, shown

SUITE = "load"


def findings(report: LoadReport) -> FindingReport:
    """Return every limit as a finding."""
    found = tuple(
        Finding(
            SUITE,
            check.name,
            check.verdict,
            metric=check.name,
            score=check.value,
            message=check.message
            or (
                ""
                if check.value is None
                else f"{shown(check.name, check.value)}, limit {shown(check.name, check.limit)}"
            ),
            rule=f"load/{check.name}",
        )
        for check in report.checks
    )
    return FindingReport(SUITE, __version__, found, report.problems)


async def write_results(
    report: LoadReport, *, out: Path | None = None, figures: Path | None = None, junit: Path | None = None
) -> None:
    """Write a report where it is wanted.

    Raises:
        StoreError: a file cannot be written.
    """
    wanted: list[tuple[Path | None, Callable[[], bytes]]] = [
        (out, lambda: orjson.dumps(as_json(report), option=orjson.OPT_INDENT_2)),
        (figures, lambda: orjson.dumps(metrics(report), option=orjson.OPT_INDENT_2)),
        (junit, lambda: findings_junit(findings(report)).encode()),
    ]
    for path, made in wanted:
        if path is not None:
            with explained(path, "cannot be written"):
                await anyio.Path(path).write_bytes(made())
