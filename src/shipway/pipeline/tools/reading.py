"""From a program's output to a report: crashes, limits, paths, secrets. The built-in stages call it for every tool."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from shipway.core.findings import Finding, FindingReport, is_open
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools.model import Tool, ToolOutput, UnreadableOutputError
from shipway.telemetry.masking import mask_text

_SAID_CHARS = 500
_MESSAGE_CHARS = 2_000


def report_of(suite: str, tool: Tool, output: ToolOutput, *, max_findings: int = 0) -> FindingReport:
    """Return what a program found. A crash, or an output that is not understood, is a problem of the whole.

    Up to `max_findings` failures are told and decide nothing: a limit for code that is being cleaned up.
    """
    version = output.version or tool.name
    if output.code not in tool.fine | tool.found:
        return FindingReport(suite, version, (), (crash(tool, output),))
    try:
        found = [cleaned(finding, output.root) for finding in tool.read(output)]
    except UnreadableOutputError as error:
        return FindingReport(suite, version, (), (f"{tool.name}: {error}",))
    if output.code not in tool.fine and not any(finding.verdict is not Verdict.PASS for finding in found):
        return FindingReport(suite, version, (), (f"{crash(tool, output)}, but names nothing that it found",))
    return FindingReport(suite, version, tuple(limited(found, tool.name, max_findings)))


def crash(tool: Tool, output: ToolOutput) -> str:
    """Return in one line how a program ended and the last thing it said."""
    how = f"ended with exit code {output.code}" if output.code >= 0 else f"was ended by signal {-output.code}"
    lines = [line.strip() for line in output.stderr.splitlines() if line.strip()]
    if not lines:
        lines = [line.strip() for line in output.stdout[-_SAID_CHARS:].decode(errors="replace").splitlines()]
    return f"{tool.name} {how}: {mask_text(lines[-1])[:_SAID_CHARS]}" if lines else f"{tool.name} {how}"


def limited(findings: Iterable[Finding], name: str, max_findings: int) -> list[Finding]:
    """Return the findings as a limit sees them, and one that passes when nothing else says so."""
    found = list(findings)
    failures = sum(finding.verdict is Verdict.FAIL and not is_open(finding) for finding in found)
    if 0 < failures <= max_findings:
        reason = f"{failures} of at most {max_findings}"
        found = [
            replace(item, details={"open": reason, **item.details}) if item.verdict is Verdict.FAIL else item
            for item in found
        ]
    if failures <= max_findings:
        found.append(Finding(name, name, Verdict.PASS, rule=f"{name}/ran"))
    return found


def cleaned(finding: Finding, root: str) -> Finding:
    """Return a finding with its path relative to the project and without secrets in what it says."""
    location = finding.location.replace("\\", "/")
    folder = root.rstrip("/") + "/"
    if root and location.startswith(folder):
        location = location[len(folder) :]
    return replace(
        finding,
        name=mask_text(finding.name[:_MESSAGE_CHARS]),
        location=location.removeprefix("./"),
        message=mask_text(finding.message[:_MESSAGE_CHARS]),
    )


def json_of(data: bytes, wanted: type[list[Any]] | type[dict[Any, Any]], what: str = "its output") -> Any:
    """Return a JSON document of a program.

    Raises:
        UnreadableOutputError: it is not JSON, or not of this kind.
    """
    try:
        found = json.loads(data.decode(errors="replace") or "null")
    except (ValueError, RecursionError) as error:
        raise UnreadableOutputError(f"{what} is not JSON: {error}") from None
    if not isinstance(found, wanted):
        raise UnreadableOutputError(f"{what} holds a {type(found).__name__}, not a {wanted.__name__}")
    return found


def objects(rows: Any) -> list[dict[str, Any]]:
    """Return the objects of a JSON list.

    Raises:
        UnreadableOutputError: it is no list of objects.
    """
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UnreadableOutputError("a list of objects was expected")
    return rows


def place(file: object, line: object = None) -> str:
    """Return `file:line`, or the file alone."""
    number = line if isinstance(line, int) and not isinstance(line, bool) and line > 0 else None
    return f"{file}:{number}" if number else str(file or "")
