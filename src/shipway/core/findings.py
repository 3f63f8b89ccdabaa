"""What checks found: tools of others, contracts, smoke checks, dataset checks, stages of a pipeline.

Parsers and checks build findings; reports render them, and `evals.findings` makes scores of them, which gates judge.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shipway.core.verdicts import Verdict, combined


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


def is_open(finding: Finding) -> bool:
    """Tell whether a finding is a failure that the project says to expect."""
    return finding.verdict is Verdict.FAIL and bool(finding.details.get("open"))


def findings_lines(report: FindingReport, *, most: int = 20, unchecked: bool = False) -> list[str]:
    """Return a line for every problem and everything worth saying; of one rule and verdict the first `most`.

    What was not checked is said only with `unchecked`: a check that does not apply is nothing to read about.
    """
    lines = [f"{report.suite}: ERROR: {problem}" for problem in report.problems]
    groups: dict[tuple[str, str], list[Finding]] = {}
    for item in report.findings:
        if item.message and (unchecked or item.verdict is not Verdict.NO_DATA):
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
