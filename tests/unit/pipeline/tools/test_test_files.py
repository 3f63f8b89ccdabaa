"""JUnit, Cobertura, SARIF and pytest's exit codes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.report_junit import findings_junit
from shipway.evals.report_sarif import findings_sarif
from shipway.pipeline.tools.cobertura import read_cobertura
from shipway.pipeline.tools.junit_xml import read_junit
from shipway.pipeline.tools.model import ToolOutput, UnreadableOutputError
from shipway.pipeline.tools.pytest_run import COVERAGE, JUNIT, TestCall, numbers
from shipway.pipeline.tools.reading import report_of
from shipway.pipeline.tools.sarif_file import read_sarif

RECORDED = Path(__file__).parent / "recorded"
LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    b'<testsuites><testcase name="&b;"/></testsuites>'
)


def ran(code, *, covered="", **wanted):
    files = {JUNIT: (RECORDED / "junit.xml").read_bytes()}
    if covered:
        files[COVERAGE] = (RECORDED / covered).read_bytes()
    call = TestCall(**wanted)
    output = ToolOutput(code, files=files)
    return report_of("tests", call.tool, output), numbers(output)


def test_every_test_is_a_finding_at_its_line():
    found = {item.name: item for item in read_junit((RECORDED / "junit.xml").read_bytes())}
    assert found["tests.test_a::test_bad"].verdict is Verdict.FAIL
    assert found["tests.test_a::test_bad"].location == "tests/test_a.py:3"
    assert found["tests.test_a::test_err"].verdict is Verdict.ERROR
    assert found["tests.test_a::test_skip"].message == "skipped: later"
    assert found["tests.test_a::test_ok"].verdict is Verdict.PASS


def test_tests_are_counted_by_what_came_of_them():
    report, counted = ran(1)
    assert report.verdict is Verdict.ERROR
    assert counted == {"tests": 5, "failed": 1, "errors": 1, "skipped": 2}


def test_coverage_below_its_floor_fails_and_names_the_files():
    report, counted = ran(1, covered="coverage.xml", coverage_min=80.0)
    (below,) = [item for item in report.findings if item.rule == "tests/coverage"]
    assert below.verdict is Verdict.FAIL
    assert below.message == "21.43 % of the lines were run, at least 80 % must be"
    assert counted["coverage_percent"] == 21.43
    assert counted["branch_coverage_percent"] == 0.0
    assert any(item.location == "app/main.py" for item in report.findings)


def test_coverage_above_its_floor_passes():
    report, _ = ran(1, covered="coverage.xml", coverage_min=20.0)
    assert [item.verdict for item in report.findings if item.rule == "tests/coverage"] == [Verdict.PASS]


def test_coverage_that_was_asked_for_and_is_not_there_is_an_error():
    report, _ = ran(0, cover=("src",))
    assert any(item.rule == "tests/coverage" and item.verdict is Verdict.ERROR for item in report.findings)


@pytest.mark.parametrize(("code", "verdict"), [(3, Verdict.ERROR), (4, Verdict.ERROR), (-9, Verdict.ERROR)])
def test_a_defect_or_a_wrong_call_of_pytest_is_an_error(code, verdict):
    report, _ = ran(code)
    assert report.verdict is verdict
    assert report.problems


def test_no_test_at_all_is_no_data():
    output = ToolOutput(5, files={JUNIT: b'<testsuites><testsuite name="pytest" tests="0"/></testsuites>'})
    assert report_of("tests", TestCall().tool, output).verdict is Verdict.NO_DATA


def test_a_floor_of_the_projects_own_settings_fails_too():
    passed = b'<testsuites><testsuite><testcase classname="a" name="b"/></testsuite></testsuites>'
    said = "FAIL Required test coverage of 90.0% not reached. Total coverage: 12.00%\n"
    report = report_of("tests", TestCall().tool, ToolOutput(1, b"", said, {JUNIT: passed}))
    assert report.verdict is Verdict.FAIL


def test_pytest_that_leaves_no_file_is_an_error():
    assert report_of("tests", TestCall().tool, ToolOutput(0)).verdict is Verdict.ERROR


@pytest.mark.parametrize("data", [b"", b"<a", b"<html/>", LAUGHS, LAUGHS.decode().encode("utf-16"), b"\xff" * 9])
def test_what_is_no_junit_file_is_refused(data):
    with pytest.raises(UnreadableOutputError):
        read_junit(data)


@pytest.mark.parametrize(
    "data", [b"<coverage/>", b'<coverage line-rate="2"/>', b'<coverage line-rate="nan"/>', b"<x/>", LAUGHS]
)
def test_what_is_no_coverage_file_is_refused(data):
    with pytest.raises(UnreadableOutputError):
        read_cobertura(data)


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_what_our_reports_write_is_read_back(messages):
    report = FindingReport(
        "s",
        "1",
        tuple(Finding("s", f"n{n}", Verdict.FAIL, message=text, location="a.py:3") for n, text in enumerate(messages)),
    )
    assert [item.verdict for item in read_junit(findings_junit(report).encode())] == [Verdict.FAIL] * len(messages)
    back = read_sarif(findings_sarif(report).encode())
    assert [(item.verdict, item.location) for item in back] == [(Verdict.FAIL, "a.py:3")] * len(messages)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"version": "2.0.0"}', b'{"version": "2.1.0", "runs": 3}', b"[]"])
def test_what_is_no_sarif_file_is_refused(data):
    with pytest.raises(UnreadableOutputError):
        read_sarif(data)


def test_a_sarif_run_that_did_not_end_is_an_error_and_a_suppressed_result_is_open():
    data = b"""{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "t", "rules": [{"id": "r",
    "defaultConfiguration": {"level": "error"}}]}}, "invocations": [{"executionSuccessful": false}],
    "results": [{"ruleId": "r", "message": {"text": "m"}, "suppressions": [{"kind": "inSource"}]},
    {"ruleId": "r", "kind": "pass", "message": {"text": "fine"}}, {"ruleId": "q", "message": {"text": "w"}}]}]}"""
    found = read_sarif(data)
    assert [(item.rule, item.verdict) for item in found] == [
        ("t/run", Verdict.ERROR),
        ("t/r", Verdict.FAIL),
        ("t/q", Verdict.PASS),
    ]
    assert found[1].details["open"] == "suppressed"
    assert found[2].details["level"] == "warning"
