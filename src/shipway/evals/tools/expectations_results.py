"""Suites of Great Expectations and what it says of a dataset: findings beside those of Shipway's own checks.

Source: Great Expectations 1.24. An expectation that could not be computed is an ERROR; one of severity `warning` or
`info` that does not hold is a warning.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from shipway.core.errors import DocumentError
from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.tools.reading import items, json_object, mapping, no_results, other_version, short, whole

SUITE = "dataset"
RULE = "dataset/expectation"
_TOOL = "great-expectations"
_SCHEMA = 1
_MILD = frozenset({"warning", "info"})
_SHOWN = 5


def suite_of(data: bytes, file: str) -> list[dict[str, Any]]:
    """Return the expectations of a suite as Great Expectations saves it: `{"expectations": [{"type", "kwargs"}]}`.

    Raises:
        DocumentError: the file is no suite, or has no expectation.
    """
    listed = json_object(data, file, _TOOL).get("expectations")
    if not isinstance(listed, list) or not listed:
        raise DocumentError(file, "has no expectations", hint='write {"expectations": [{"type": "expect_…", …}]}')
    wanted = []
    for place, item in enumerate(listed, start=1):
        # Suites of versions before 1 have `expectation_type`.
        kind = mapping(item).get("type") or mapping(item).get("expectation_type")
        if not isinstance(kind, str) or not kind.startswith("expect_"):
            raise DocumentError(file, f"expectation {place} has no type such as expect_column_values_to_not_be_null")
        kwargs = dict(mapping(mapping(item).get("kwargs")))
        wanted.append({"type": kind, "kwargs": kwargs, "severity": _severity(mapping(item))})
    return wanted


def parse(data: bytes, file: str) -> FindingReport:
    """Return a finding for each expectation; `file` is the suite's.

    Raises:
        DocumentError: this is not what the driver of Great Expectations writes.
    """
    root = json_object(data, file, _TOOL)
    results = mapping(root.get("result")).get("results")
    if not isinstance(results, list):
        raise no_results(file, _TOOL, "result.results")
    if root.get("schema") != _SCHEMA:
        raise other_version(file, _TOOL, root.get("schema"), f"schema {_SCHEMA}")
    findings = tuple(_finding(mapping(item), file) for item in results)
    problems = () if findings else ("Great Expectations looked at nothing",)
    return FindingReport(SUITE, short(root.get("version")), findings, problems)


def _finding(item: Mapping[str, Any], file: str) -> Finding:
    config = mapping(item.get("expectation_config"))
    kwargs = mapping(config.get("kwargs"))
    name = " ".join(filter(None, (short(config.get("type")) or "expectation", short(kwargs.get("column")))))
    failed = next(_exceptions(item.get("exception_info")), "")
    mild = _severity(config) in _MILD
    details: dict[str, Any] = {}
    if failed or not isinstance(item.get("success"), bool):
        verdict, message = Verdict.ERROR, f"{name}: {failed or 'no result'}"
    elif item["success"]:
        verdict, message = Verdict.PASS, ""
    else:
        verdict = Verdict.PASS if mild else Verdict.FAIL
        message = f"{name}: {_said(mapping(item.get('result')))}"
        details = {"level": "warning"} if mild else {}
    return Finding(SUITE, name, verdict, message=message, location=file, rule=RULE, details=details)


def _exceptions(told: Any) -> Iterator[str]:
    """Yield the messages of what was raised; one expectation may have several metrics, each with its own."""
    found = mapping(told)
    if found.get("raised_exception") is True:
        yield short(found.get("exception_message")) or "it raised without a message"
    for value in found.values():
        if isinstance(value, dict):
            yield from _exceptions(value)


def _said(result: Mapping[str, Any]) -> str:
    cases = [short(mapping(row).get("id")) for row in items(result.get("unexpected_index_list"))]
    count, of = whole(result.get("unexpected_count")), whole(result.get("element_count"))
    if count:
        shown = ", ".join(name for name in cases[:_SHOWN] if name)
        more = f" and {len(cases) - _SHOWN} more" if len(cases) > _SHOWN else ""
        return f"{count} of {of} cases" + (f": {shown}{more}" if shown else "")
    observed = result.get("observed_value")
    return "does not hold" if observed is None else f"does not hold, found {short(observed) or short(repr(observed))}"


def _severity(item: Mapping[str, Any]) -> str:
    given = short(item.get("severity") or mapping(item.get("meta")).get("severity")).lower()
    return given if given in {"critical", *_MILD} else "critical"
