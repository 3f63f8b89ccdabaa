"""What the stages of a run found, from their results and from the report files of commands.

A report file is only believed when it is the one that the stage left: what was changed since says nothing of the run.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.pipeline.findings import KEY, RunFindings, StageFindings, findings_of, folded, report_from
from shipway.pipeline.model import RunReport, StageResult, StageState
from shipway.pipeline.tools.junit_xml import read_junit
from shipway.pipeline.tools.model import UnreadableOutputError
from shipway.pipeline.tools.reading import cleaned, limited
from shipway.pipeline.tools.sarif_file import read_sarif

_LARGEST_BYTES = 200_000_000


def read_findings(run: RunReport, root: Path, files: Mapping[str, str]) -> RunFindings:
    """Return what a run found; `files` has the report file of each stage that writes one. Blocks."""
    read = {
        result.name: _read(result, root, files[result.name], run.started_at_s)
        for result in run.results
        if files.get(result.name) and result.state in {StageState.PASSED, StageState.FAILED}
    }
    return folded(run, read)


def _read(result: StageResult, root: Path, file: str, begun_s: float) -> StageFindings:
    own = findings_of(result)
    if KEY in result.outputs and not own.left_out:
        return own
    data, problem = _data(result, root, file, begun_s)
    if problem:
        return _noted(own, problem)
    try:
        findings = _findings(Path(file).suffix, data)
    except (UnreadableOutputError, ValueError) as error:
        return _noted(own, f"{file}: {error}")
    if KEY in result.outputs:
        report = FindingReport(result.name, own.report.tool_version, tuple(findings), own.report.problems)
        return StageFindings(result, report, 0, file)
    # A command that failed says so itself, whatever its file holds.
    said = own.report.findings if result.verdict is not Verdict.PASS else ()
    found = [cleaned(finding, str(root)) for finding in findings]
    named = (*said, *(limited(found, result.name, 0) if result.verdict is Verdict.PASS else found))
    return StageFindings(result, FindingReport(result.name, "", named), 0, file)


def _data(result: StageResult, root: Path, file: str, begun_s: float) -> tuple[bytes, str]:
    """Return what the stage wrote to its file, or why that is not to be had."""
    path = root / file
    try:
        there = path.stat()
        if there.st_size > _LARGEST_BYTES:
            return b"", f"{file} is larger than {_LARGEST_BYTES} bytes"
        data = path.read_bytes()
    except OSError:
        return b"", f"{file} is not there any more" if file in result.files else f"{file} was not written"
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    if result.files.get(file, digest) != digest or (file not in result.files and there.st_mtime < begun_s - 1):
        return b"", f"{file} is not what this run wrote"
    return data, ""


def _findings(suffix: str, data: bytes) -> list[Finding]:
    readers: Mapping[str, Callable[[bytes], list[Finding]]] = {".xml": read_junit, ".sarif": read_sarif}
    if suffix in readers:
        return readers[suffix](data)
    document = json.loads(data.decode(errors="replace"))
    if isinstance(document, dict) and "runs" in document:
        return read_sarif(data)
    if not isinstance(document, dict):
        raise UnreadableOutputError("holds no document of findings, JUnit or SARIF")
    return list(report_from(document)[0].findings)


def _noted(own: StageFindings, reason: str) -> StageFindings:
    report = own.report
    note = Finding(
        report.suite,
        "report",
        Verdict.PASS,
        message=f"NOT READ: {reason}",
        rule="stage/report",
        details={"level": "warning"},
    )
    return StageFindings(
        own.result,
        FindingReport(report.suite, report.tool_version, (*report.findings, note), report.problems),
        own.left_out,
    )
