"""Linting what an application is deployed with: every linter that is installed, over the files that are there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from shipway.adapters.local_stage.tool_run import LocalToolRunner
from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.entrypoints.stages.quality import Infrastructure
from shipway.entrypoints.stages.work.checking import Check, checked
from shipway.pipeline.patterns import SKIPPED_FOLDERS, matches_any
from shipway.pipeline.tools import infrastructure as linters
from shipway.pipeline.tools.model import Tool
from shipway.pipeline.tools.reading import limited


@dataclass(frozen=True, slots=True)
class _Part:
    """One kind of file: which tool looks at it, and the calls."""

    what: str
    tool: Tool
    calls: Sequence[Sequence[str]]


async def infrastructure_report(runner: LocalToolRunner, suite: str, wanted: Infrastructure) -> FindingReport:
    """Return what all linters found; a linter that is not installed is said, its files are not checked."""
    files = await anyio.to_thread.run_sync(lambda: sorted(_walk(runner.root, "")))
    findings: list[Finding] = []
    problems: list[str] = []
    versions: dict[str, None] = {}
    for part in _parts(files, wanted):
        if not part.calls:
            continue
        if not runner.there(part.tool.name):
            said = f"{part.tool.name} is not installed: {part.tool.install}"
            if wanted.missing == "fail":
                problems.append(said)
            findings.append(_not_checked(part, said))
            continue
        for argv in part.calls:
            report, _ = await checked(runner, suite, Check(part.tool, argv))
            findings += report.findings
            problems += report.problems
            versions[report.tool_version] = None
    if not findings and not problems:
        findings.append(Finding(suite, "files", Verdict.NO_DATA, message="there is no such file", rule=f"{suite}/none"))
    kept = [finding for finding in findings if not finding.rule.endswith("/ran")]
    whole = limited(kept, suite, wanted.max_findings) if versions else kept
    return FindingReport(suite, ", ".join(versions), tuple(whole), tuple(problems))


def _not_checked(part: _Part, said: str) -> Finding:
    message = f"NOT CHECKED: {len(part.calls)} {part.what}; {said}"
    details = {"level": "warning"}
    return Finding(
        part.tool.name, part.what, Verdict.PASS, message=message, rule=f"{part.tool.name}/not-checked", details=details
    )


def _parts(files: Sequence[str], wanted: Infrastructure) -> Iterator[_Part]:
    def found(patterns: Sequence[str]) -> list[str]:
        return [file for file in files if matches_any(file, patterns)] if patterns else []

    yaml = [("yamllint", "-f", "parsable", *wanted.arguments, *wanted.yaml)] if wanted.yaml else []
    yield _Part("YAML", linters.YAMLLINT, yaml if found(("**/*.yaml", "**/*.yml")) else [])
    dockerfiles = found(wanted.dockerfiles)
    yield _Part("Dockerfiles", linters.HADOLINT, [("hadolint", "--format", "json", file) for file in dockerfiles])
    charts = [str(Path(file).parent) for file in found(wanted.charts)]
    yield _Part("charts", linters.HELM, [("helm", "lint", chart) for chart in charts])
    manifests = found(wanted.manifests)
    call = ("kubeconform", "-output", "json", "-summary", *manifests)
    yield _Part("manifests", linters.KUBECONFORM, [call] if manifests else [])
    folders = sorted({str(Path(file).parent) for file in found(wanted.terraform)})
    calls = [("terraform", "fmt", "-check", "-list=true", folder) for folder in folders]
    yield _Part("Terraform folders", linters.TERRAFORM_FORMAT, calls)


def _walk(start: Path, prefix: str) -> Iterator[str]:
    for entry in start.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            if entry.name not in SKIPPED_FOLDERS:
                yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name
