"""Evaluations for the tests of reports, and what checks a report of each format."""

import json
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tests.unit.evals.conftest import build_run

from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateReport, GateRow
from shipway.evals.gate_spec import parse_gates
from shipway.evals.gates import evaluate_gates
from shipway.evals.json_schemas import compile_schema
from shipway.evals.model import Case, CaseResult, Dataset, Output, RunReport, ToolCall
from shipway.evals.report_source import Places, ReportSource

SCHEMAS = Path(__file__).parent / "schemas"
SPECS = parse_gates(
    [{"metric": "correct", "min": 0.6, "reason": "a search is better"}, {"metric": "correct", "non_regression": "auto"}]
)
VOID = {"meta", "input", "br"}
TAGS = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "h1",
        "h2",
        "h3",
        "span",
        "code",
        "dl",
        "dt",
        "dd",
        "section",
        "p",
        "div",
        "article",
        "strong",
        "svg",
        "line",
        "circle",
        "text",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "fieldset",
        "legend",
        "label",
        "input",
        "del",
        "ins",
    ]
)
ATTRIBUTES = frozenset(
    [
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "role",
        "aria-label",
        "viewbox",
        "x",
        "y",
        "x1",
        "y1",
        "x2",
        "y2",
        "cx",
        "cy",
        "r",
        "text-anchor",
        "scope",
        "type",
        "id",
        "checked",
        "dir",
    ]
)


def source_of_scores(now: Any, before: Any = None, *, outputs: Any = None, **changes: Any) -> ReportSource:
    """Return an evaluation of runs with these scores, judged by two gates."""
    run = build_run(now, outputs=outputs, tags=(("pdf",), ("html", "edge")))
    baseline = None if before is None else build_run(before, tags=(("pdf",), ("html", "edge")))
    specs = SPECS if baseline else SPECS[:1]
    source = ReportSource(
        "eval_1", "rel_new", "rel_old" if baseline else None, evaluate_gates(specs, run, baseline), run, baseline
    )
    return replace(source, **changes)


def source_of_text(text: str) -> ReportSource:
    """Return an evaluation in which a stranger's text stands wherever one can."""
    # A dataset has a digest, which halves of surrogate pairs have not.
    clean = text.encode("utf-8", "replace").decode()
    name = clean[:300] or "empty"
    case = Case(
        id=name, question=clean, reference=clean, tags=(name,), cluster=name, must_contain=("x",), tenant=name[:50]
    )
    dataset = Dataset(name, (case, replace(case, id=name + "2", must_contain=(), unanswerable=False)))
    built = build_run([1.0])
    binding = replace(built.binding, dataset=dataset.digest)
    output = Output(
        text, text + " raw", (text,), error=None, tool_calls=(ToolCall(text, {"a": text}),), latency_ms=float("nan")
    )
    results = (
        CaseResult(case.id, 0, {"correct": 0.0, name: 1.0}, {"mrr": text}, output),
        CaseResult(name + "2", 0, {}, {"correct": text}, Output(error=text)),
    )
    run = RunReport(text, text, dataset, 1, results, binding, {"engine": text, "machine": {"cpu": text}})
    before = replace(
        run, results=(CaseResult(case.id, 0, {"correct": 1.0}, {}, Output("before " + text[::-1][:5000])),)
    )
    rows = [
        GateRow(f"{verdict} {text}", name, "threshold", verdict, text, reason=text, value=0.5, n=2)
        for verdict in (*Verdict, None)
    ]
    places = Places({name: f"{name}:3"}, {f"FAIL {text}": f"{name}:7"})
    return ReportSource(text, text, text, GateReport(tuple(rows), (text,)), run, before, text, {"usd": 0.1}, places)


def junit_tree(document: str) -> dict[str, Any]:
    """Return a JUnit document as JSON values after checking it against our subset of the format."""
    tree = _tree(ET.fromstring(document))  # noqa: S314 - our own document
    _demand("junit-subset.schema.json", tree)
    for suite in tree["children"]:
        cases = [child for child in suite["children"] if child["tag"] == "testcase"]
        outcomes = [child["tag"] for case in cases for child in case["children"]]
        counted = {"tests": len(cases), "failures": outcomes.count("failure"), "errors": outcomes.count("error")}
        counted["skipped"] = outcomes.count("skipped")
        assert {name: int(suite["attributes"][name]) for name in counted} == counted
    return tree


def outcomes(document: str) -> dict[str, str]:
    """Return the outcome of each test by its name; `passed` without one."""
    found = {}
    for case in junit_tree(document)["children"][0]["children"]:
        if case["tag"] == "testcase":
            kinds = [child["tag"] for child in case["children"] if child["tag"] in {"failure", "error", "skipped"}]
            found[case["attributes"]["name"]] = kinds[0] if kinds else "passed"
    return found


def sarif_run(document: str) -> dict[str, Any]:
    """Return the run of a SARIF document after checking it against our subset of the format."""
    body = json.loads(document)
    _demand("sarif-subset.schema.json", body)
    run: dict[str, Any] = body["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    return run


class HtmlReader(HTMLParser):
    """Reads a report the way a browser does, and remembers what was markup and what was text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:80]!r}")


def html_of(document: str) -> HtmlReader:
    """Return a report as a browser reads it, after checking that nothing but our own markup is in it."""
    reader = HtmlReader()
    reader.feed(document)
    reader.close()
    assert reader.open == []
    assert set(reader.tags) <= TAGS
    assert {name for name, _ in reader.attributes} <= ATTRIBUTES
    return reader


@cache
def _validator(schema: str) -> Any:
    return compile_schema(json.loads((SCHEMAS / schema).read_text()))


def _demand(schema: str, value: Any) -> None:
    problems = _validator(schema).iter_errors(value)
    assert [f"{problem.instance_path}: {problem.message[:300]}" for problem in problems] == []


def _tree(element: ET.Element) -> dict[str, Any]:
    return {
        "tag": element.tag,
        "attributes": dict(element.attrib),
        "children": [_tree(child) for child in element],
        "text": element.text or "",
    }
