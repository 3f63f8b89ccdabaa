"""Findings from the scores of tools, the same for all of them: what is missing is an ERROR, never 0."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.tools.reading import number, short

THRESHOLD = 0.5
"""From which score on a tool's answer is right, where the tool itself knows no limit."""
MEASURED = "measured"
"""In `details` of findings with a score that has no limit: only a gate can judge it."""
_ROUNDING = 1e-6
"""So far a cosine of equal texts may be above 1."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a score belongs."""

    suite: str
    case_id: str
    repeat: int = 0
    question: str = ""
    cluster: str = ""
    tags: tuple[str, ...] = ()
    duration_ms: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def finding(self, verdict: Verdict, metric: str = "", score: float | None = None, message: str = "") -> Finding:
        """Return a finding about this place."""
        kept: dict[str, Any] = {"question": self.question, "cluster": self.cluster, "tags": list(self.tags)}
        return Finding(
            suite=self.suite,
            name=self.case_id,
            verdict=verdict,
            metric=metric,
            score=score,
            message=message,
            case_id=self.case_id,
            repeat=self.repeat,
            duration_ms=self.duration_ms,
            rule=f"{self.suite}/{metric or 'pass'}",
            details={**{name: value for name, value in kept.items() if value}, **self.details},
        )

    def measured(self, metric: str, value: Any, *, threshold: float, higher: bool = True, why: str = "") -> Finding:
        """Return the finding of a score for which the tool has no limit of its own.

        Scores from 0 to 1, of which more is better, pass from `threshold` on. Others are only measured.
        """
        score = number(value)
        if score is None:
            return self.finding(Verdict.ERROR, metric, message=why or f"the score is {short(value) or 'missing'}")
        if not higher or not 0 <= score <= 1:
            found = self.finding(Verdict.PASS, metric, score)
            return replace(found, details={**found.details, MEASURED: True, "higher": higher})
        verdict = Verdict.PASS if score >= threshold else Verdict.FAIL
        said = "" if verdict is Verdict.PASS else why or f"{score:g} is below {threshold:g}"
        return self.finding(verdict, metric, score, said)

    def bounded(self, metric: str, value: Any, lowest: float, *, threshold: float) -> Finding:
        """Return the finding of a score that its metric defines from `lowest` to 1; one outside is no score."""
        score = number(value)
        if score is None or lowest - _ROUNDING <= score <= 1 + _ROUNDING:
            within = value if score is None else min(max(score, lowest), 1.0)
            return self.measured(metric, within, threshold=threshold)
        said = f"the score is {score:g}, and {self.suite} defines {metric} from {lowest:g} to 1"
        return self.finding(Verdict.ERROR, metric, message=said)


def completed(
    report: FindingReport, wanted: Collection[tuple[str, int]], reasons: Mapping[tuple[str, int], str]
) -> FindingReport:
    """Return the report with an ERROR for every case and repeat that a tool skipped.

    `reasons` say why there was nothing to judge, such as the error that came instead of an answer.
    """
    metrics = dict.fromkeys(item.metric for item in report.findings) or {"": None}
    there = {(item.case_id, item.repeat) for item in report.findings}
    lacking = [
        Place(report.suite, case_id, repeat).finding(
            Verdict.ERROR, metric, message=reasons.get((case_id, repeat)) or f"{report.suite} left no result for it"
        )
        for case_id, repeat in sorted(set(wanted) - there)
        for metric in metrics
    ]
    return replace(report, findings=(*report.findings, *lacking))


def merged(reports: Collection[FindingReport]) -> FindingReport:
    """Return one report of several runs of a tool, such as one for each repeat."""
    first = next(iter(reports))
    return replace(
        first,
        findings=tuple(item for report in reports for item in report.findings),
        problems=tuple(dict.fromkeys(problem for report in reports for problem in report.problems)),
    )


def whole_verdict(verdicts: Collection[Verdict]) -> Verdict:
    """Return the verdict of a case that passes when all of its checks do: one that fails settles it."""
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.ERROR if Verdict.ERROR in verdicts or not verdicts else Verdict.PASS


def repeated(report: FindingReport, repeat: int) -> FindingReport:
    """Return the report of a run that is one repeat of several."""
    return replace(report, findings=tuple(replace(item, repeat=repeat) for item in report.findings))
