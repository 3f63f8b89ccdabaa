"""The result file of DeepEval: `test_run_*.json` of its results folder. Source: DeepEval 4.3.

A judge that failed leaves `success: false` without a `score`: that is an ERROR and not a FAIL.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.tools.reading import items, json_object, mapping, no_results, number, short, slug, whole
from shipway.evals.tools.scored import Place, whole_verdict

TOOL = "deepeval"


def parse(data: bytes, file: str = "test_run.json", version: str = "") -> FindingReport:
    """Return a finding for each test case and repeat, and one for each of its metrics.

    The file does not say which DeepEval wrote it; `version` does, where that is known.

    Raises:
        DocumentError: the file is no result of DeepEval or is cut off.
    """
    root = json_object(data, file, TOOL)
    if not isinstance(root.get("testCases"), list) or "metricsScores" not in root:
        raise no_results(file, TOOL, "testCases and metricsScores")
    cases = [mapping(item) for item in [*root["testCases"], *items(root.get("conversationalTestCases"))]]
    findings: list[Finding] = []
    seen: dict[str, int] = {}
    for number_, case in enumerate(cases, start=1):
        kept = mapping(case.get("metadata"))
        name = short(kept.get("id")) or short(case.get("name")) or f"test-{number_}"
        repeat = seen[name] = seen.get(name, -1) + 1
        told = whole(kept.get("repeat"))
        place = Place(
            TOOL,
            name,
            repeat if told is None else told,
            question=short(case.get("input")),
            duration_ms=_ms(case.get("runDuration")),
            details={"answer": short(case.get("actualOutput"))} if short(case.get("actualOutput")) else {},
        )
        findings += _findings(case, place)
    return FindingReport(TOOL, version, tuple(findings), tuple(_problems(root, len(cases))))


def _problems(root: Mapping[str, Any], count: int) -> Iterator[str]:
    counted = [whole(root.get(name)) for name in ("testPassed", "testFailed")]
    if count == 0:
        yield "DeepEval judged no test case"
    elif None not in counted and sum(item or 0 for item in counted) != count:
        yield f"DeepEval counted {sum(item or 0 for item in counted)} test cases and wrote {count}"


def _findings(case: Mapping[str, Any], place: Place) -> Iterator[Finding]:
    judged = [_metric(mapping(item), place) for item in items(case.get("metricsData"))]
    found = [item for item in judged if item is not None]
    verdict = whole_verdict([item.verdict for item in found])
    if verdict is Verdict.PASS and case.get("success") is not True:
        verdict = Verdict.FAIL
    said = next((f"{item.metric}: {item.message}" for item in found if item.verdict is verdict and item.message), "")
    messages = {Verdict.ERROR: said or "no metric judged it", Verdict.FAIL: said or "DeepEval says it failed"}
    yield place.finding(verdict, message=messages.get(verdict, ""))
    yield from found


def _metric(metric: Mapping[str, Any], place: Place) -> Finding | None:
    """Return the finding of one metric; None where it was left out because the case lacks what it needs."""
    if metric.get("skipped") is True:
        return None
    name = slug(metric.get("name")) or "unnamed"
    said = short(metric.get("error"))
    score = number(metric.get("score"))
    if said or score is None or not isinstance(metric.get("success"), bool):
        wrong = said or (f"the score is {short(metric.get('score')) or 'missing'}: the judge gave none")
        return place.finding(Verdict.ERROR, name, message=wrong)
    if not 0 <= score <= 1:
        return place.finding(Verdict.ERROR, name, message=f"the score is {score:g}, and DeepEval's are from 0 to 1")
    if metric["success"]:
        return place.finding(Verdict.PASS, name, score)
    limit = number(metric.get("threshold"))
    why = short(metric.get("reason")) or (f"{score:g}, the threshold is {limit}" if limit is not None else f"{score:g}")
    return place.finding(Verdict.FAIL, name, score, why)


def _ms(seconds: Any) -> float | None:
    found = number(seconds)
    return found * 1000 if found else None
