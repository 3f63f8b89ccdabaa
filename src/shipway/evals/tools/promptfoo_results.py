"""The result file of promptfoo: `promptfoo eval -o out.json`. Source: promptfoo 0.123, results of version 3.

`success: false` stands there for a failed assertion, for a target that did not answer and for a judge that could not
judge; `failureReason` 2 and `graderError` tell them apart. Repeats have no number: rows of one test are its repeats.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.tools.reading import items, json_object, mapping, no_results, number, other_version, short, whole
from shipway.evals.tools.scored import THRESHOLD, Place

TOOL = "promptfoo"
_VERSION = 3
_FAILED_TO_RUN = 2
_JUDGED = ("rubric", "model-graded", "factuality", "g-eval", "answer-relevance", "context-", "moderation")


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the file: `test` is what it has in common with its repeats."""

    order: int
    test: str
    way: str
    value: Mapping[str, Any]

    @property
    def case(self) -> Mapping[str, Any]:
        return mapping(self.value.get("testCase"))

    @property
    def components(self) -> list[Mapping[str, Any]]:
        return [mapping(item) for item in items(mapping(self.value.get("gradingResult")).get("componentResults"))]


def parse(data: bytes, file: str = "promptfoo.json") -> FindingReport:
    """Return a finding for each test and repeat, and one for each named score of it.

    Raises:
        DocumentError: the file is no result of promptfoo, is cut off, or of another version.
    """
    root = json_object(data, file, TOOL)
    results = mapping(root.get("results"))
    if not isinstance(results.get("results"), list):
        raise no_results(file, TOOL, "results.results")
    if results.get("version") != _VERSION:
        raise other_version(file, TOOL, results.get("version"), f"version {_VERSION}")
    values = [item for item in results["results"] if isinstance(item, dict)]
    rows = [_Row(whole(value.get("testIdx")) or 0, _test(value), _way(value), value) for value in values]
    findings = [finding for row, place in _placed(rows) for finding in _findings(row, place)]
    version = short(mapping(root.get("metadata")).get("promptfooVersion"))
    return FindingReport(TOOL, version, tuple(findings), tuple(_problems(results, len(values))))


def _problems(results: Mapping[str, Any], count: int) -> Iterator[str]:
    stats = mapping(results.get("stats"))
    counted = [whole(stats.get(name)) or 0 for name in ("successes", "failures", "errors")]
    if count == 0:
        yield "promptfoo judged no test"
    elif stats and sum(counted) != count:
        yield f"promptfoo counted {sum(counted)} results and wrote {count}"


def _test(value: Mapping[str, Any]) -> str:
    case = mapping(value.get("testCase"))
    said = mapping(case.get("metadata")).get("id")
    return json.dumps(
        [said] if said else [case.get("description"), case.get("vars"), case.get("assert")], sort_keys=True, default=str
    )


def _way(value: Mapping[str, Any]) -> str:
    provider = mapping(value.get("provider"))
    return json.dumps([short(provider.get("label") or provider.get("id")), short(value.get("promptIdx"))])


def _placed(rows: list[_Row]) -> Iterator[tuple[_Row, Place]]:
    """Yield each row with the id of its case and the number of its repeat.

    Several prompts or providers in one file are cases of their own, in one cluster.
    """
    rows = sorted(rows, key=lambda row: row.order)
    ways = list(dict.fromkeys(row.way for row in rows))
    names = _names(rows)
    seen: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row.test, row.way)
        repeat = seen[key] = seen.get(key, -1) + 1
        name = names[row.test]
        provider, prompt = json.loads(row.way)
        case_id = f"{name} [{provider} prompt {prompt}]" if len(ways) > 1 else name
        variables = mapping(row.case.get("vars"))
        asked = next((short(variables[key]) for key in ("question", "query", "input") if key in variables), "")
        answer = mapping(row.value.get("response")).get("output")
        place = Place(
            TOOL,
            case_id,
            repeat,
            question=asked or short(mapping(row.value.get("prompt")).get("raw")),
            cluster=name if len(ways) > 1 else "",
            duration_ms=number(row.value.get("latencyMs")),
            details={"answer": short(answer)} if short(answer) else {},
        )
        yield row, place


def _names(rows: list[_Row]) -> dict[str, str]:
    names: dict[str, str] = {}
    for row in rows:
        if row.test not in names:
            said = short(mapping(row.case.get("metadata")).get("id")) or short(row.case.get("description"))
            ordinal = len(names) + 1
            name = said or f"test-{ordinal}"
            names[row.test] = f"{name}-{ordinal}" if name in names.values() else name
    return names


def _findings(row: _Row, place: Place) -> Iterator[Finding]:
    """Yield the whole of a row, and its named scores: those of an assertion without a verdict are missing."""
    broken = _error(row)
    verdicts = {_component(item) for item in row.components}
    unsure = {_metric(item) for item in row.components if _component(item) is Verdict.ERROR}
    if broken:
        yield place.finding(Verdict.ERROR, message=broken)
    elif Verdict.ERROR in verdicts and (Verdict.FAIL not in verdicts or row.case.get("threshold") is not None):
        # With a threshold the test passes by its score, which holds a 0 for what the judge did not judge.
        yield place.finding(Verdict.ERROR, message=_why(row, Verdict.ERROR))
    elif row.value.get("success") is True:
        yield place.finding(Verdict.PASS)
    else:
        yield place.finding(Verdict.FAIL, message=_why(row, Verdict.FAIL) or short(row.value.get("error")) or "failed")
    scores = mapping(row.value.get("namedScores"))
    for name in dict.fromkeys([*_named(row.case.get("assert")), *scores]):
        if not name:
            continue
        if broken or name in unsure:
            yield place.finding(Verdict.ERROR, name, message=broken or _why(row, Verdict.ERROR))
        elif name in scores:
            yield place.measured(name, scores[name], threshold=THRESHOLD)


def _error(row: _Row) -> str:
    """Return why a row was not judged at all; empty when it was."""
    said = short(row.value.get("error"))
    if row.value.get("failureReason") == _FAILED_TO_RUN:
        return said or "promptfoo could not run it, without a message"
    if not isinstance(row.value.get("success"), bool):
        return "promptfoo wrote no success for it"
    if "score" in row.value and number(row.value["score"]) is None:
        return f"the score is {short(row.value['score']) or 'missing'}"
    return ""


def _component(item: Mapping[str, Any]) -> Verdict:
    """Return the verdict of one assertion: a judge that failed or contradicts itself has none."""
    passed, score = item.get("pass"), number(item.get("score"))
    if mapping(item.get("metadata")).get("graderError") or not isinstance(passed, bool):
        return Verdict.ERROR
    assertion = mapping(item.get("assertion"))
    judged = any(word in short(assertion.get("type")) for word in _JUDGED) and assertion.get("threshold") is None
    if judged and (score is None or (passed and score == 0) or (not passed and score == 1)):
        return Verdict.ERROR
    return Verdict.PASS if passed else Verdict.FAIL


def _why(row: _Row, wanted: Verdict) -> str:
    for item in row.components:
        if _component(item) is wanted:
            kind = short(mapping(item.get("assertion")).get("type")) or "assertion"
            contradicts = wanted is Verdict.ERROR and not mapping(item.get("metadata")).get("graderError")
            said = f"the judge said pass {item.get('pass')} and score {item.get('score')}: " if contradicts else ""
            return f"{kind}: {said}{short(item.get('reason')) or 'no reason given'}"
    return ""


def _metric(item: Mapping[str, Any]) -> str:
    return short(mapping(item.get("assertion")).get("metric"))


def _named(asserted: Any) -> Iterator[str]:
    for item in items(asserted):
        name = short(mapping(item).get("metric"))
        if name and "{{" not in name:
            yield name
        yield from _named(mapping(item).get("assert"))
