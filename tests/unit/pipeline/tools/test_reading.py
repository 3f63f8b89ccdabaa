import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools.model import Tool, ToolOutput, UnreadableOutputError
from shipway.pipeline.tools.reading import crash, json_of, place, report_of


def failing(count):
    return Tool(
        "t", "pip install t", lambda _: (Finding("t", str(n), Verdict.FAIL, message="bad") for n in range(count))
    )


def test_as_many_failures_as_the_limit_allows_decide_nothing_and_stay_in_the_report():
    report = report_of("s", failing(2), ToolOutput(1), max_findings=2)
    assert report.verdict is Verdict.PASS
    assert [item.details.get("open") for item in report.findings] == ["2 of at most 2"] * 2 + [None]


def test_one_failure_above_the_limit_fails():
    assert report_of("s", failing(3), ToolOutput(1), max_findings=2).verdict is Verdict.FAIL


def test_nothing_found_is_a_pass_and_not_no_data():
    assert report_of("s", failing(0), ToolOutput(0)).verdict is Verdict.PASS


def test_an_exit_code_that_says_findings_without_any_is_an_error():
    report = report_of("s", failing(0), ToolOutput(1, b"", "what happened"))
    assert report.verdict is Verdict.ERROR
    assert "names nothing" in report.problems[0]


def test_secrets_and_addresses_are_taken_out_of_names_and_messages():
    tool = Tool(
        "t",
        "",
        lambda _: [Finding("t", "api_key=hunter22", Verdict.FAIL, message="token: abcdef mail a.b@example.com")],
    )
    said = str(report_of("s", tool, ToolOutput(1)))
    assert not any(secret in said for secret in ("hunter22", "abcdef", "a.b@example.com"))


def test_secrets_are_taken_out_of_the_last_words_of_a_crash():
    assert "hunter22" not in crash(failing(0), ToolOutput(3, b"", "password=hunter22"))


def test_paths_are_relative_to_the_project():
    tool = Tool("t", "", lambda _: [Finding("t", "n", Verdict.FAIL, location="/project/src/a.py:3")])
    assert report_of("s", tool, ToolOutput(1, root="/project")).findings[0].location == "src/a.py:3"


@pytest.mark.parametrize(("line", "where"), [(3, "a.py:3"), (None, "a.py"), (0, "a.py"), (True, "a.py"), ("3", "a.py")])
def test_only_a_real_line_stands_behind_a_file(line, where):
    assert place("a.py", line) == where


@given(st.binary(max_size=300))
def test_any_bytes_are_json_of_the_kind_or_refused(data):
    with contextlib.suppress(UnreadableOutputError):
        assert isinstance(json_of(data, dict), dict)


def test_a_report_of_100_000_findings_is_made():
    report = report_of("s", failing(100_000), ToolOutput(1))
    assert isinstance(report, FindingReport)
    assert len(report.findings) == 100_000
