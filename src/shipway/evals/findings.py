"""Results that are not statistics of our own: other tools', contracts', smoke checks', dataset checks'.

Parsers and checks build them; reports render them, and gates judge those that have scores.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shipway.core.verdicts import Verdict, combined
from shipway.evals.model import CaseResult

WHOLE = "pass"
"""The metric of findings that name none: 1 for PASS, 0 for FAIL."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One checked thing. ERROR: could not be judged.

    `suite` is `promptfoo`, `contract`, `smoke`, `dataset`; `name` a case or check. `location` is `file:line` where
    there is one. `rule` is an id for SARIF, such as `dataset/near-duplicate`. `details` may hold `open`: why a FAIL is
    known and expected, which is told and decides nothing.
    """

    suite: str
    name: str
    verdict: Verdict
    metric: str = ""
    score: float | None = None
    message: str = ""
    location: str = ""
    case_id: str = ""
    repeat: int = 0
    duration_ms: float | None = None
    rule: str = ""
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class FindingReport:
    """All findings of one suite. `problems` say why the suite as a whole is an ERROR: time-out, no output, version."""

    suite: str
    tool_version: str
    findings: tuple[Finding, ...]
    problems: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """ERROR when the suite has problems, else that of its findings but open ones; NO_DATA without any."""
        deciding = (finding.verdict for finding in self.findings if not is_open(finding))
        return Verdict.ERROR if self.problems else combined(deciding)

    def as_results(self, metric: str) -> list[CaseResult]:
        """Return what gates judge as `metric`, which is `SUITE.NAME`: `lm_eval.acc`, `promptfoo.pass`.

        NAME is the findings' metric, `pass` that of findings without one. A finding without a case id stands for a case
        of its name. What was not judged is an error on that result: ERROR, INCONCLUSIVE, a score that is no number, two
        findings for one case and repeat; with a problem of the suite every result is. NO_DATA is not applicable.
        """
        found: dict[tuple[str, int], list[Finding]] = {}
        for item in self.findings:
            if f"{self.suite}.{item.metric or WHOLE}" == metric:
                found.setdefault((item.case_id or item.name, item.repeat), []).append(item)
        results: list[CaseResult] = []
        for (case_id, repeat), items in found.items():
            reason = self._why_missing(items)
            scores = {} if reason else {metric: _score(items[0])}
            results.append(CaseResult(case_id, repeat, scores, {metric: reason} if reason else {}))
        return results

    def _why_missing(self, findings: list[Finding]) -> str:
        if self.problems:
            return self.problems[0] or "the suite failed without a message"
        if len(findings) > 1:
            return f"{len(findings)} findings for one case and repeat"
        finding = findings[0]
        if finding.verdict in {Verdict.ERROR, Verdict.INCONCLUSIVE}:
            return finding.message or f"{finding.verdict} without a message"
        if finding.score is not None and not math.isfinite(finding.score):
            return f"the score is {finding.score}, which is not a number"
        return ""


def is_open(finding: Finding) -> bool:
    """Tell whether a finding is a failure that the project says to expect."""
    return finding.verdict is Verdict.FAIL and bool(finding.details.get("open"))


def findings_lines(report: FindingReport, *, most: int = 20) -> list[str]:
    """Return a line for every problem and everything worth saying; of one rule and verdict the first `most`."""
    lines = [f"{report.suite}: ERROR: {problem}" for problem in report.problems]
    groups: dict[tuple[str, str], list[Finding]] = {}
    for item in report.findings:
        if item.message and item.verdict is not Verdict.NO_DATA:
            groups.setdefault((_said(item), item.rule or item.name), []).append(item)
    for (said, rule), items in sorted(groups.items()):
        for item in items[:most]:
            case = f" {item.case_id!r}" if item.case_id else ""
            lines.append(f"{item.location or report.suite}: {said} {rule}{case}: {item.message}")
        if len(items) > most:
            lines.append(f"{said} {rule}: {len(items) - most} more")
    return lines


def _said(finding: Finding) -> str:
    if is_open(finding):
        return "open"
    return "warning" if finding.details.get("level") == "warning" else finding.verdict.value


def _score(finding: Finding) -> float | None:
    if finding.verdict is Verdict.NO_DATA:
        return None
    if finding.metric and finding.score is not None:
        return finding.score
    return float(finding.verdict is Verdict.PASS)
