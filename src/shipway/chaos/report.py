"""The result of a chaos run as JSON and as lines."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from shipway.chaos.judging import Check, ExperimentResult, whole_verdict
from shipway.core.verdicts import Verdict

SCHEMA = 1
NOT_CHECKED = "NOT_CHECKED"


def said(verdict: Verdict) -> str:
    """Return a verdict as a chaos run says it."""
    return NOT_CHECKED if verdict is Verdict.NO_DATA else verdict.value


def as_json(results: Sequence[ExperimentResult], undone: Sequence[str]) -> dict[str, Any]:
    """Return the JSON form; `undone` is what an earlier run had left."""
    return {
        "schema": SCHEMA,
        "verdict": whole_verdict(results).value,
        "undone": list(undone),
        "experiments": [
            {
                "fault": result.kind.value,
                "verdict": said(result.verdict),
                "reason": result.reason,
                "problem": result.problem,
                "recovered_after_s": result.recovered_after_s,
                "statuses": {
                    phase: {str(status): count for status, count in counts.items()}
                    for phase, counts in result.statuses.items()
                },
                "promises": [{**asdict(check), "verdict": said(check.verdict)} for check in result.checks],
            }
            for result in results
        ],
    }


def lines(results: Sequence[ExperimentResult], undone: Sequence[str]) -> list[str]:
    """Return the lines for a terminal."""
    found = [f"undone, left by an earlier run: {line}" for line in undone]
    for result in results:
        found.append(f"{said(result.verdict):<12} {result.kind.value}{_why(result)}")
        found += [f"    {phase:<7} {_counts(counts)}" for phase, counts in result.statuses.items()]
        found += [f"    {_line(check)}" for check in result.checks]
    return [*found, said(whole_verdict(results))]


def _why(result: ExperimentResult) -> str:
    why = result.problem or result.reason
    return f": {why}" if why else ""


def _counts(counts: dict[int, int]) -> str:
    return ", ".join(f"{count} x {status or 'no reply'}" for status, count in counts.items()) or "nothing was asked"


def _line(check: Check) -> str:
    return f"{said(check.verdict):<12} {check.name}: {check.message}"
