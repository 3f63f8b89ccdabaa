"""Gates and findings as JUnit XML, for the test tab of a CI system.

FAIL is a `failure`, ERROR and NO_DATA are an `error`, INCONCLUSIVE is `skipped` with its reason: all three leave the
command with another exit code, and only a failure says that the release is worse. Cases are no tests here: with "one
test a case" nearly every unchanged release has a new red one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from shipway.core.findings import FindingReport, is_open
from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateRow
from shipway.evals.report import gate_figures, more_cases
from shipway.evals.report_source import ReportSource
from shipway.evals.report_text import one_line, visible

_ELEMENTS = {Verdict.FAIL: "failure", Verdict.ERROR: "error", Verdict.NO_DATA: "error", Verdict.INCONCLUSIVE: "skipped"}
# A message is an attribute, and viewers put it on one line; the whole text stands inside the element.
_MESSAGE_CHARS = 500
_TEXT_CHARS = 20_000


@dataclass(frozen=True, slots=True)
class _Test:
    name: str
    verdict: Verdict | None
    message: str = ""
    text: str = ""
    duration_s: float | None = None
    file: str = ""
    properties: Sequence[tuple[str, str]] = field(default_factory=tuple)


def junit(source: ReportSource) -> str:
    """Return the gates of an evaluation as one test suite, a test a gate."""
    tests = [_gate_test(row, source) for row in source.gates.rows if row.kind != "cost"]
    if source.verdict is Verdict.NO_DATA and not any(test.verdict is Verdict.NO_DATA for test in tests):
        # A suite in which everything is skipped, or nothing is, looks green.
        tests.append(_Test("a gate applies", Verdict.NO_DATA, "no gate applies: there is nothing to judge"))
    properties = [
        ("verdict", source.verdict.value),
        ("evaluation", source.id),
        ("release", source.release),
        ("baseline", source.baseline or ""),
        ("dataset", source.run.dataset.digest),
        ("repeats", str(source.run.repeats)),
    ]
    return suites_text([_suite("shipway gates", tests, properties, source.gates.warnings)])


def findings_junit(report: FindingReport) -> str:
    """Return the findings of another tool or of checks as one test suite; its problems are errors."""
    return suites_text([findings_suite(report)])


def findings_suite(report: FindingReport, notes: Sequence[str] = ()) -> ET.Element:
    """Return the suite of `findings_junit` alone, for a document with several."""
    tests = [
        _Test(
            finding.name,
            None if is_open(finding) or finding.details.get("skipped") else finding.verdict,
            finding.message,
            duration_s=None if finding.duration_ms is None else finding.duration_ms / 1000,
            file=finding.location,
            properties=[("rule", finding.rule)] if finding.rule else [],
        )
        for finding in report.findings
    ]
    tests += [_Test("the suite ran", Verdict.ERROR, problem) for problem in report.problems]
    if not tests:
        tests.append(_Test("something was checked", Verdict.NO_DATA, f"{report.suite} checked nothing"))
    properties = [("verdict", report.verdict.value), ("tool_version", report.tool_version)]
    return _suite(report.suite, tests, properties, notes)


def _gate_test(row: GateRow, source: ReportSource) -> _Test:
    figures = "; ".join(gate_figures(row))
    message = row.message or ("" if row.verdict is Verdict.PASS else figures)
    lines = [figures, row.message, more_cases(row), row.reason]
    return _Test(
        row.gate,
        row.verdict,
        message,
        "\n".join(dict.fromkeys(line for line in lines if line)),
        file=source.places.gates.get(row.gate, ""),
        properties=[("metric", row.metric), ("kind", row.kind)],
    )


def suites_text(suites: Sequence[ET.Element]) -> str:
    """Return a whole document."""
    counted = ("tests", "failures", "errors", "skipped")
    root = ET.Element("testsuites", {name: str(sum(int(suite.get(name, "0")) for suite in suites)) for name in counted})
    root.extend(suites)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _suite(
    name: str, tests: Sequence[_Test], properties: Iterable[tuple[str, str]], warnings: Sequence[str]
) -> ET.Element:
    kinds = [_kind(test.verdict) for test in tests]
    counts = {
        "tests": str(len(tests)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
    }
    seconds = sum(test.duration_s or 0.0 for test in tests)
    suite = ET.Element("testsuite", {"name": one_line(name, _MESSAGE_CHARS), **counts, "time": f"{seconds:.3f}"})
    _properties(suite, properties)
    for test in tests:
        suite.append(_element(name, test))
    if warnings:
        ET.SubElement(suite, "system-out").text = _readable("\n".join(f"warning: {line}" for line in warnings))
    return suite


def _element(suite: str, test: _Test) -> ET.Element:
    values = {"classname": one_line(suite, _MESSAGE_CHARS), "name": one_line(test.name, _MESSAGE_CHARS)}
    values["time"] = f"{test.duration_s or 0.0:.3f}"
    file, _, line = test.file.rpartition(":")
    if file and line.isdecimal():
        values |= {"file": one_line(file), "line": line}
    element = ET.Element("testcase", values)
    said = "n/a" if test.verdict is None else test.verdict.value
    _properties(element, [("verdict", said), *test.properties])
    kind, text = _kind(test.verdict), _readable(test.text or test.message)
    if kind:
        message = one_line(test.message, _MESSAGE_CHARS) or "without a message"
        result = ET.SubElement(element, kind, {"message": f"{said}: {message}" if kind != "failure" else message})
        if kind != "skipped":
            result.set("type", said)
        result.text = text
    elif text:
        ET.SubElement(element, "system-out").text = text
    return element


def _kind(verdict: Verdict | None) -> str:
    return "skipped" if verdict is None else _ELEMENTS.get(verdict, "")


def _properties(parent: ET.Element, properties: Iterable[tuple[str, str]]) -> None:
    holder = ET.SubElement(parent, "properties")
    for name, value in properties:
        ET.SubElement(holder, "property", {"name": one_line(name, 80), "value": one_line(value, _MESSAGE_CHARS)})


def _readable(text: str) -> str:
    if len(text) <= _TEXT_CHARS:
        return visible(text)
    return f"{visible(text[:_TEXT_CHARS])}\n… {len(text) - _TEXT_CHARS} more characters"
