"""What the stages of a run found, in one form: bounded among a stage's results, whole in its report file.

Built-in stages make it with `outcome_of`, reports read it with `findings_of`. The document says nothing about times, so
that a stage that ran again and found the same hands on the same.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shipway.core.findings import Finding, FindingReport, is_open
from shipway.core.verdicts import Verdict
from shipway.pipeline.model import RunReport, StageOutcome, StageResult, StageState

KEY = "findings"
"""The name among the results of a stage."""
MOST_KEPT = 1_000
_MOST_CHARS = 300_000
_SEVERITY = (Verdict.ERROR, Verdict.FAIL, Verdict.NO_DATA, Verdict.INCONCLUSIVE, Verdict.PASS)
_DETAILS = ("open", "level", "column", "severity", "fixable", "skipped")


@dataclass(frozen=True, slots=True)
class StageFindings:
    """A stage of a run with what it found; `left_out` findings are counted and not there."""

    result: StageResult
    report: FindingReport
    left_out: int = 0
    file: str = ""
    """The file in which all of them are, where there is one."""

    @property
    def counts(self) -> Counter[str]:
        """Return how many findings there are of each kind: verdicts, `warning` and `open`."""
        return Counter(kind_of(finding) for finding in self.report.findings)


@dataclass(frozen=True, slots=True)
class RunFindings:
    """A run with what its stages found, in the order of the stages."""

    run: RunReport
    stages: tuple[StageFindings, ...]

    @property
    def verdict(self) -> Verdict:
        """Return the verdict of the run."""
        return self.run.verdict


def kind_of(finding: Finding) -> str:
    """Return what a report calls a finding: `open`, `warning`, or its verdict."""
    if is_open(finding):
        return "open"
    return "warning" if finding.details.get("level") == "warning" else finding.verdict.value


def outcome_of(report: FindingReport, outputs: Mapping[str, Any] | None = None) -> StageOutcome:
    """Return what a stage came to that found this; the findings are among its results."""
    verdict = report.verdict
    counts = Counter(kind_of(finding) for finding in report.findings)
    found: dict[str, Any] = {
        "failures": counts["FAIL"],
        "warnings": counts["warning"],
        **({"open": counts["open"]} if counts["open"] else {}),
        **(outputs or {}),
        KEY: as_document(report),
    }
    return StageOutcome(verdict, outputs=found, problem="" if verdict is Verdict.PASS else problem_of(report))


def problem_of(report: FindingReport) -> str:
    """Return in one line why a report is not PASS."""
    if report.problems:
        return report.problems[0]
    # Once: the verdict looks at all of them.
    verdict = report.verdict
    worst = [finding for finding in report.findings if finding.verdict is verdict and not is_open(finding)]
    if not worst:
        return "nothing was checked" if verdict is Verdict.NO_DATA else verdict.value
    said = f"{worst[0].location or worst[0].name}: {worst[0].message}"
    return said if len(worst) == 1 else f"{len(worst)} findings; {said}"


def as_document(report: FindingReport, *, whole: bool = False) -> dict[str, Any]:
    """Return the JSON form; the results of a stage hold the worst findings, as many as fit, its file holds all."""
    findings = sorted(report.findings, key=_order)
    kept: list[dict[str, Any]] = []
    room = _MOST_CHARS
    for finding in findings if whole else findings[:MOST_KEPT]:
        row = _row(finding)
        room -= sum(len(str(value)) for value in row.values())
        if room < 0 and not whole:
            break
        kept.append(row)
    return {
        "version": 1,
        "suite": report.suite,
        "tool": report.tool_version,
        "verdict": report.verdict.value,
        "problems": list(report.problems),
        "count": len(report.findings),
        "items": kept,
    }


def report_from(document: Mapping[str, Any]) -> tuple[FindingReport, int]:
    """Return the report of a JSON form, and how many findings were left out of it.

    Raises:
        ValueError: it is none.
    """
    try:
        items = tuple(_finding(row) for row in document["items"])
        problems = tuple(str(problem) for problem in document.get("problems", ()))
        left_out = max(0, int(document.get("count", len(items))) - len(items))
        return FindingReport(str(document["suite"]), str(document.get("tool", "")), items, problems), left_out
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a document of findings: {error!r}") from None


def findings_of(result: StageResult) -> StageFindings:
    """Return what a stage found; one that keeps no findings has one that says what it came to."""
    document = result.outputs.get(KEY)
    if isinstance(document, dict):
        try:
            report, left_out = report_from(document)
        except ValueError:
            pass
        else:
            return StageFindings(result, report, left_out)
    return StageFindings(result, FindingReport(result.name, "", _itself(result)))


def folded(run: RunReport, read: Mapping[str, StageFindings] | None = None) -> RunFindings:
    """Return what all stages of a run found; `read` has those whose findings came from a file."""
    there = read or {}
    return RunFindings(run, tuple(there.get(result.name) or findings_of(result) for result in run.results))


def _itself(result: StageResult) -> tuple[Finding, ...]:
    if result.state is StageState.SKIPPED and result.allowed:
        return ()
    verdict = result.verdict
    if result.state in {StageState.SKIPPED, StageState.CANCELLED}:
        verdict = Verdict.NO_DATA
    elif result.state is StageState.PASSED:
        verdict = Verdict.PASS
    details = {"open": "this stage may fail"} if result.allowed and verdict is Verdict.FAIL else {}
    message = "" if verdict is Verdict.PASS else result.problem or result.state.value
    return (Finding(result.name, result.name, verdict, message=message, rule="stage", details=details),)


def _order(finding: Finding) -> tuple[int, int, str, str]:
    return (
        _SEVERITY.index(finding.verdict) + 5 * is_open(finding),
        not finding.message,
        finding.rule,
        finding.location,
    )


def _row(finding: Finding) -> dict[str, Any]:
    row: dict[str, Any] = {"tool": finding.suite, "name": finding.name, "verdict": finding.verdict.value}
    for key in ("rule", "message", "location"):
        if getattr(finding, key):
            row[key] = getattr(finding, key)
    return row | {key: finding.details[key] for key in _DETAILS if key in finding.details}


def _finding(row: Mapping[str, Any]) -> Finding:
    return Finding(
        str(row["tool"]),
        str(row["name"]),
        Verdict(row["verdict"]),
        message=str(row.get("message", "")),
        location=str(row.get("location", "")),
        rule=str(row.get("rule", "")),
        details={key: row[key] for key in _DETAILS if key in row},
    )
