"""Gates, worsened cases and findings as SARIF 2.1.0, which code hosts show beside the line that they are about.

Source: OASIS SARIF 2.1.0; what GitHub reads of it: results with a rule, a level and a place inside the repository.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import quote

from shipway import __version__
from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateRow
from shipway.evals.report import Regression, gate_figures
from shipway.evals.report_source import ReportSource
from shipway.evals.report_text import one_line

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MOST_RESULTS = 5_000
"""GitHub shows so many results of a run and drops the others without a word."""
_MOST_CASES = 200
_MESSAGE_CHARS = 1_000
_LEVELS: Mapping[Verdict, Literal["error", "warning", "note"]] = {
    Verdict.FAIL: "error",
    Verdict.ERROR: "error",
    Verdict.NO_DATA: "warning",
    Verdict.INCONCLUSIVE: "warning",
}
_RULES: Mapping[str, str] = {
    "gate/threshold": "A metric reaches its limit, with confidence.",
    "gate/non_regression": "A metric is no worse than the baseline's, with confidence.",
    "gate/zero_tolerance": "No case violates it.",
    "gate/judge": "The judge judges as it did when it was calibrated.",
    "gate/none": "At least one gate applies.",
    "case/worse": "The baseline answered this case better. One case is no proof; the gates are.",
}
# In a message of SARIF `[text](1)` is a link and `{0}` an argument; a space makes either a text again.
_LINK = re.compile(r"\](?=\()")
_ARGUMENT = re.compile(r"\{(?=\d)")


@dataclass(frozen=True, slots=True)
class _Result:
    rule: str
    level: Literal["error", "warning", "note"]
    message: str
    location: str
    identity: str
    related: Sequence[str] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)


def sarif(source: ReportSource, worse: Sequence[Regression] = ()) -> str:
    """Return every gate that is not PASS at its line, and the cases that got worse as notes at theirs."""
    places = source.places
    cases = [places.cases.get(item.case.id, places.project_file) for item in worse[:_MOST_CASES]]
    results = [
        _gate_result(row, source, cases)
        for row in source.gates.rows
        if row.verdict not in {None, Verdict.PASS} and row.kind != "cost"
    ]
    if source.verdict is Verdict.NO_DATA and not results:
        nothing = "NO_DATA: no gate applies: there is nothing to judge"
        results.append(_Result("gate/none", "warning", nothing, places.project_file, "none"))
    results += [_case_result(item, place) for item, place in zip(worse, cases, strict=False)]
    left = len(worse) - len(cases)
    notes = [f"{left} more cases are worse than the baseline's; the other reports list them"] if left else []
    notes += source.gates.warnings
    errors = [row.message or row.gate for row in source.gates.rows if row.verdict is Verdict.ERROR]
    rules = {result.rule: _RULES.get(result.rule, "") for result in results}
    return log_text([_run(results, rules, _Run("gates", source.verdict, notes, errors))])


def findings_sarif(report: FindingReport) -> str:
    """Return the findings of checks or of another tool; what is PASS or NO_DATA is not among them."""
    return log_text([findings_run(report)])


def findings_run(report: FindingReport, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the run of `findings_sarif` alone, for a log with several."""
    results = [
        _finding_result(finding)
        for finding in report.findings
        if finding.verdict not in {Verdict.PASS, Verdict.NO_DATA}
        or (finding.verdict is Verdict.PASS and finding.details.get("level") == "warning")
    ]
    results.sort(key=lambda result: ("error", "warning", "note").index(result.level))
    left = len(results) - MOST_RESULTS
    said = [*notes, *([f"{left} more results are left out"] if left > 0 else [])]
    kept = results[:MOST_RESULTS]
    rules = dict.fromkeys((result.rule for result in kept), "")
    return _run(kept, rules, _Run(report.suite, report.verdict, said, report.problems, report.tool_version))


def log_text(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return a whole log."""
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": list(runs)}, ensure_ascii=True, indent=1) + "\n"


@dataclass(frozen=True, slots=True)
class _Run:
    name: str
    verdict: Verdict
    notes: Sequence[str]
    problems: Sequence[str]
    tool_version: str = ""


def _gate_result(row: GateRow, source: ReportSource, worse: Sequence[str]) -> _Result:
    verdict = row.verdict or Verdict.NO_DATA
    said = "; ".join(part for part in (row.message or ", ".join(gate_figures(row)), row.reason) if part)
    return _Result(
        f"gate/{row.kind}",
        _LEVELS[verdict],
        f"{verdict.value}: {row.gate}: {said}",
        source.places.gates.get(row.gate, source.places.project_file),
        f"{row.kind} {row.gate}",
        worse[:10] if row.kind == "non_regression" and verdict is Verdict.FAIL else (),
        {"verdict": verdict.value, "metric": row.metric},
    )


def _case_result(item: Regression, place: str) -> _Result:
    said = f"{item.metric} {item.baseline_score:.3f} before, {item.candidate_score:.3f} now"
    return _Result("case/worse", "note", f"case {item.case.id}: {said}", place, f"{item.metric} {item.case.id}")


def _finding_result(finding: Finding) -> _Result:
    warning = finding.details.get("level") == "warning"
    rule = finding.rule or f"{finding.suite}/{finding.metric or 'check'}"
    return _Result(
        one_line(rule, 200),
        "warning" if warning else _LEVELS[finding.verdict],
        f"{'' if warning else finding.verdict.value + ': '}{finding.name}: {finding.message or 'without a message'}",
        finding.location or "shipway.yaml",
        _identity(finding),
        properties={
            "verdict": finding.verdict.value,
            **({"case": one_line(finding.case_id)} if finding.case_id else {}),
        },
    )


def _identity(finding: Finding) -> str:
    if finding.case_id or not finding.location:
        return f"{finding.name} {finding.case_id} {finding.repeat}"
    file, _, line = finding.location.rpartition(":")
    return f"{finding.name} {file if line.isdecimal() else finding.location} {finding.message}"


def _run(results: Sequence[_Result], rules: Mapping[str, str], run: _Run) -> dict[str, Any]:
    numbers = {name: number for number, name in enumerate(rules)}
    driver: dict[str, Any] = {
        "name": "Shipway",
        "semanticVersion": __version__,
        "rules": [
            {
                "id": name,
                "shortDescription": {"text": rules[name] or name},
                "defaultConfiguration": {"level": "warning"},
            }
            for name in rules
        ],
    }
    notifications = [
        {"level": level, "message": {"text": plain(text)}}
        for level, texts in (("error", run.problems), ("warning", run.notes))
        for text in texts
    ]
    seen: Counter[str] = Counter()
    return {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"shipway/{quote(run.name, safe='')}/"},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": not run.problems and run.verdict is not Verdict.ERROR,
                "toolExecutionNotifications": notifications,
            }
        ],
        "results": [_body(result, numbers[result.rule], seen) for result in results],
        "properties": {
            "verdict": run.verdict.value,
            **({"toolVersion": one_line(run.tool_version)} if run.tool_version else {}),
        },
    }


def _body(result: _Result, index: int, seen: Counter[str]) -> dict[str, Any]:
    print_ = hashlib.sha256(f"{result.rule}\n{result.identity}".encode("utf-8", "backslashreplace")).hexdigest()
    # Two with one print would be one to a code host; a line number in it would make a moved one new.
    seen[print_] += 1
    if seen[print_] > 1:
        print_ = hashlib.sha256(f"{print_} {seen[print_]}".encode()).hexdigest()
    body: dict[str, Any] = {
        "ruleId": result.rule,
        "ruleIndex": index,
        "level": result.level,
        "message": {"text": plain(result.message)},
        "locations": [_location(result.location)],
        "partialFingerprints": {"shipwayResult/v1": print_},
    }
    if result.related:
        body["relatedLocations"] = [
            {"id": number, "message": {"text": "a case that got worse"}, **_location(place)}
            for number, place in enumerate(result.related)
        ]
    if result.properties:
        body["properties"] = dict(result.properties)
    return body


def _location(place: str) -> dict[str, Any]:
    """Return the place of `file:line`, or of a file alone; a file outside the repository has its own scheme."""
    file, _, line = place.rpartition(":")
    if not (file and line.isascii() and line.isdecimal() and int(line) > 0):
        file, line = place, ""
    path = one_line(file).replace("\\", "/").removeprefix("./") or "shipway.yaml"
    artifact = (
        {"uri": "file://" + quote(path)}
        if PurePosixPath(path).is_absolute()
        else {"uri": quote(path), "uriBaseId": "%SRCROOT%"}
    )
    region = {"region": {"startLine": int(line)}} if line else {}
    return {"physicalLocation": {"artifactLocation": artifact, **region}}


def plain(text: str) -> str:
    """Return a message in which nothing is a link or an argument."""
    return _ARGUMENT.sub("{ ", _LINK.sub("] ", one_line(text, _MESSAGE_CHARS))) or "without a message"
