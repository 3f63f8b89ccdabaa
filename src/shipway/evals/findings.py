"""Findings as scores of cases, which gates judge."""

import math

from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.model import CaseResult

WHOLE = "pass"
"""The metric of findings that name none: 1 for PASS, 0 for FAIL."""


def as_results(report: FindingReport, metric: str) -> list[CaseResult]:
    """Return what gates judge as `metric`, which is `SUITE.NAME`: `lm_eval.acc`, `promptfoo.pass`.

    NAME is the findings' metric, `pass` that of findings without one. A finding without a case id stands for a case
    of its name. What was not judged is an error on that result: ERROR, INCONCLUSIVE, a score that is no number, two
    findings for one case and repeat; with a problem of the suite every result is. NO_DATA is not applicable.
    """
    found: dict[tuple[str, int], list[Finding]] = {}
    for item in report.findings:
        if f"{report.suite}.{item.metric or WHOLE}" == metric:
            found.setdefault((item.case_id or item.name, item.repeat), []).append(item)
    results: list[CaseResult] = []
    for (case_id, repeat), items in found.items():
        reason = _why_missing(report, items)
        scores = {} if reason else {metric: _score(items[0])}
        results.append(CaseResult(case_id, repeat, scores, {metric: reason} if reason else {}))
    return results


def _why_missing(report: FindingReport, findings: list[Finding]) -> str:
    if report.problems:
        return report.problems[0] or "the suite failed without a message"
    if len(findings) > 1:
        return f"{len(findings)} findings for one case and repeat"
    finding = findings[0]
    if finding.verdict in {Verdict.ERROR, Verdict.INCONCLUSIVE}:
        return finding.message or f"{finding.verdict} without a message"
    if finding.score is not None and not math.isfinite(finding.score):
        return f"the score is {finding.score}, which is not a number"
    return ""


def _score(finding: Finding) -> float | None:
    if finding.verdict is Verdict.NO_DATA:
        return None
    if finding.metric and finding.score is not None:
        return finding.score
    return float(finding.verdict is Verdict.PASS)
