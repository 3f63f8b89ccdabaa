"""What the stages that run programs have in common: calling them, telling what they found, writing it down."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.to_thread

from shipway.adapters.local_stage.tool_run import LocalToolRunner
from shipway.config.environment import process_environment
from shipway.core.disk import explained
from shipway.core.findings import FindingReport, findings_lines
from shipway.evals.report_junit import findings_junit
from shipway.evals.report_sarif import findings_sarif
from shipway.pipeline.findings import as_document, outcome_of
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import StageSpec
from shipway.pipeline.tools.model import Tool, ToolOutput
from shipway.pipeline.tools.reading import report_of
from shipway.pipeline.visible import visible_environment


@dataclass(frozen=True, slots=True)
class Check:
    """One call of a program."""

    tool: Tool
    argv: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)
    max_findings: int = 0
    streamed: bool = False
    given: Mapping[str, str] = field(default_factory=dict)


def tool_runner(root: Path, stage: StageSpec, context: StageContext) -> LocalToolRunner:
    """Return what runs programs for a stage: they see what its commands would see."""
    return LocalToolRunner(root, visible_environment(stage, process_environment(), {}), context.output)


async def checked(runner: LocalToolRunner, suite: str, check: Check) -> tuple[FindingReport, ToolOutput]:
    """Run a program and return what it found; one that is not there is a problem that says how to install it."""
    tool = check.tool
    if not runner.there(tool.name):
        return FindingReport(suite, "", (), (f"{tool.name} is not installed: {tool.install}",)), ToolOutput(0)
    version = await runner.version(tool.name, tool.version)
    done = await runner.run(check.argv, check.variables, streamed=check.streamed, given=check.given)
    output = ToolOutput(done.code, done.stdout, done.stderr, done.files, _named(tool.name, version), done.root)
    report = await anyio.to_thread.run_sync(lambda: report_of(suite, tool, output, max_findings=check.max_findings))
    return report, output


async def finished(
    root: Path,
    stage: StageSpec,
    context: StageContext,
    report: FindingReport,
    outputs: Mapping[str, Any] | None = None,
) -> StageOutcome:
    """Tell what was found, write the stage's report, and return what the stage came to.

    Raises:
        StoreError: the report cannot be written.
    """
    for line in findings_lines(report, unchecked=True):
        context.output.feed((line + "\n").encode(errors="backslashreplace"))
    if stage.report:
        await anyio.to_thread.run_sync(_write, root / stage.report, report)
    return outcome_of(report, outputs)


async def write_product(root: Path, path: str, data: bytes | None) -> None:
    """Put what a program wrote where the project wants to have it.

    Raises:
        StoreError: the disk refuses.
    """
    if path and data is not None:
        await anyio.to_thread.run_sync(_put, root / path, data)


def _write(path: Path, report: FindingReport) -> None:
    match path.suffix:
        case ".xml":
            text = findings_junit(report)
        case ".sarif":
            text = findings_sarif(report)
        case _:
            text = json.dumps(as_document(report, whole=True), ensure_ascii=True, indent=1) + "\n"
    _put(path, text.encode("utf-8", "backslashreplace"))


def _put(path: Path, data: bytes) -> None:
    with explained(path, "cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _named(name: str, version: str) -> str:
    return version if version.lower().startswith(name) else f"{name} {version}".strip()
