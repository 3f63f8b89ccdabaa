"""SARIF 2.1.0 of any program as findings. Source: OASIS SARIF 2.1.0, sections 3.27 (result) and 3.49 (rule)."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools.model import UnreadableOutputError
from shipway.pipeline.tools.reading import json_of, objects, place

_PASSING = frozenset({"pass", "notApplicable", "informational"})


def read_sarif(data: bytes) -> list[Finding]:
    """Return a finding for each result; suppressed ones are open.

    Raises:
        UnreadableOutputError: it is no such file.
    """
    found = json_of(data, dict, "the SARIF file")
    if found.get("version") != "2.1.0":
        raise UnreadableOutputError(f"the SARIF file has version {found.get('version')!r}, not '2.1.0'")
    return [finding for run in objects(found.get("runs")) for finding in _run(run)]


def _run(run: Mapping[str, Any]) -> Iterator[Finding]:
    driver = _object(_object(run.get("tool")).get("driver"))
    tool = str(driver.get("name") or "sarif")
    levels = {
        str(rule.get("id")): str(_object(rule.get("defaultConfiguration")).get("level") or "warning")
        for rule in objects(driver.get("rules") or [])
    }
    for call in objects(run.get("invocations") or []):
        if call.get("executionSuccessful") is False:
            yield Finding(tool, "run", Verdict.ERROR, message=f"{tool} did not come to its end", rule=f"{tool}/run")
    for row in objects(run.get("results") or []):
        if row.get("kind") in _PASSING:
            continue
        rule = str(row.get("ruleId") or "result")
        level = str(row.get("level") or levels.get(rule, "warning"))
        details: dict[str, Any] = {} if level == "error" else {"level": "warning"}
        if row.get("suppressions"):
            details["open"] = "suppressed"
        yield Finding(
            tool,
            rule,
            Verdict.FAIL if level == "error" else Verdict.PASS,
            message=str(_object(row.get("message")).get("text") or ""),
            location=_where(row),
            rule=rule if "/" in rule else f"{tool}/{rule}",
            details=details,
        )


def _where(row: Mapping[str, Any]) -> str:
    places = objects(row.get("locations") or [])
    physical = _object(places[0].get("physicalLocation")) if places else {}
    uri = str(_object(physical.get("artifactLocation")).get("uri") or "")
    return place(unquote(uri.removeprefix("file://")), _object(physical.get("region")).get("startLine"))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
