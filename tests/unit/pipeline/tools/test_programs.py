"""Every program's real output, as it was recorded, becomes findings."""

from pathlib import Path

import pytest

from shipway.core.findings import is_open
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools import (
    bandit,
    black,
    detect_secrets,
    infrastructure,
    interrogate,
    mypy,
    pip_audit,
    radon,
    ruff,
)
from shipway.pipeline.tools.model import ToolOutput
from shipway.pipeline.tools.reading import report_of

RECORDED = Path(__file__).parent / "recorded"


def said(name, code=1, *, stderr=False):
    data = (RECORDED / name).read_bytes()
    text = data.decode()
    return ToolOutput(code, b"" if stderr else data, text if stderr else "", version="1.0", root="/project")


def rows(report):
    return [
        (item.location, item.rule, item.verdict.value) for item in report.findings if not item.rule.endswith("/ran")
    ]


def test_ruff_names_rule_and_line_and_what_can_be_mended():
    report = report_of("lint", ruff.LINT, said("ruff.json"))
    assert ("src/app/main.py:1", "ruff/F401", "FAIL") in rows(report)
    assert report.verdict is Verdict.FAIL
    assert any(item.details.get("fixable") for item in report.findings)


def test_ruff_names_each_file_that_is_not_formatted():
    report = report_of("format", ruff.LINT, said("ruff-format.json"))
    assert rows(report) == [
        ("src/app/main.py:7", "ruff/unformatted", "FAIL"),
        ("tests/test_a.py:2", "ruff/unformatted", "FAIL"),
    ]


def test_black_names_files_that_it_would_change_and_those_that_it_cannot_read():
    report = report_of("black", black.BLACK, said("black.txt", 123, stderr=True))
    assert rows(report) == [
        ("src/app/bad.py:1", "black/syntax", "FAIL"),
        ("src/app/main.py", "black/format", "FAIL"),
    ]


def test_mypy_names_types_that_do_not_fit():
    report = report_of("types", mypy.MYPY, said("mypy.jsonl"))
    assert rows(report) == [("src/app/main.py:10", "mypy/return-value", "FAIL")]


def test_a_syntax_error_ends_mypy_with_the_code_of_a_defect_and_is_a_failure_all_the_same():
    report = report_of("types", mypy.MYPY, said("mypy-syntax.jsonl", 2))
    assert {item.rule for item in report.findings} == {"mypy/syntax"}
    assert report.verdict is Verdict.FAIL


def test_a_wrong_call_of_mypy_is_an_error():
    output = ToolOutput(2, b"", "nosuch: error: Cannot read file: No such file or directory")
    report = report_of("types", mypy.MYPY, output)
    assert report.verdict is Verdict.ERROR
    assert "Cannot read file" in report.problems[0]


def test_bandit_fails_from_a_severity_on_and_warns_below_it():
    report = report_of("security", bandit.tool("medium"), said("bandit.json"))
    failed = [item.rule for item in report.findings if item.verdict is Verdict.FAIL]
    warned = [item.rule for item in report.findings if item.details.get("level") == "warning"]
    assert sorted(failed) == ["bandit/B301", "bandit/B602"]
    assert {"bandit/B105", "bandit/B404"} <= set(warned)
    assert report_of("security", bandit.tool("low"), said("bandit.json")).verdict is Verdict.FAIL


def test_the_password_that_bandit_found_is_not_repeated():
    assert "hunter2hunter2" in (RECORDED / "bandit.json").read_text()
    report = report_of("security", bandit.tool("low"), said("bandit.json"))
    assert "hunter2" not in str(report)


def test_a_file_that_bandit_cannot_read_is_an_error_although_it_exits_with_0():
    output = ToolOutput(0, b'{"errors": [{"filename": "./x.py", "reason": "syntax error"}], "results": []}')
    assert report_of("security", bandit.tool("low"), output).verdict is Verdict.ERROR


def test_radon_fails_what_is_above_the_limit_and_what_it_cannot_read():
    report = report_of("radon", radon.tool(10), said("radon.json", 0))
    assert ("src/app/main.py:12", "radon/complexity", "FAIL") in rows(report)
    assert ("src/app/bad.py", "radon/unread", "ERROR") in rows(report)
    assert not any(
        item.verdict is Verdict.FAIL for item in report_of("r", radon.tool(20), said("radon.json", 0)).findings
    )


def test_interrogate_says_how_much_has_a_docstring():
    report = report_of("docs", interrogate.INTERROGATE, said("interrogate.txt"))
    assert report.verdict is Verdict.FAIL
    assert report.findings[0].score == 0.0
    assert ("src/app/main.py", "interrogate/missing", "PASS") in rows(report)


def test_a_defect_of_interrogate_is_an_error_although_its_exit_code_is_that_of_a_failure():
    output = ToolOutput(1, b"", "Traceback (most recent call last):\nSyntaxError: invalid syntax")
    assert report_of("docs", interrogate.INTERROGATE, output).verdict is Verdict.ERROR


def test_detect_secrets_fails_and_its_baseline_excuses_what_was_looked_at():
    found = said("detect-secrets.json", 0)
    report = report_of("secrets", detect_secrets.tool(), found)
    assert [item.verdict for item in report.findings] == [Verdict.FAIL, Verdict.FAIL]
    looked_at = found.stdout.replace(b'"is_verified": false', b'"is_verified": false, "is_secret": false')
    assert report_of("secrets", detect_secrets.tool(looked_at), found).verdict is Verdict.PASS
    real = found.stdout.replace(b'"is_verified": false', b'"is_verified": false, "is_secret": true')
    assert report_of("secrets", detect_secrets.tool(real), found).verdict is Verdict.FAIL


def test_what_the_baseline_lists_and_nobody_looked_at_is_told_and_decides_nothing():
    found = said("detect-secrets.json", 0)
    report = report_of("secrets", detect_secrets.tool(found.stdout), found)
    assert all(is_open(item) for item in report.findings if item.verdict is Verdict.FAIL)
    assert report.verdict is Verdict.PASS


def test_yamllint_fails_errors_and_warns_of_warnings():
    report = report_of("infra", infrastructure.YAMLLINT, said("yamllint.txt"))
    assert ("conf.yaml:2", "yamllint/key-duplicates", "FAIL") in rows(report)
    assert ("conf.yaml:1", "yamllint/document-start", "PASS") in rows(report)


def test_terraform_names_files_that_are_not_formatted():
    report = report_of("infra", infrastructure.TERRAFORM_FORMAT, ToolOutput(3, b"tf/main.tf\n"))
    assert rows(report) == [("tf/main.tf", "terraform/format", "FAIL")]


def test_what_pip_audit_could_not_look_up_is_not_checked_and_so_not_passed():
    report = report_of("deps", pip_audit.tool(), said("pip-audit-unknown.json", 0))
    assert report.verdict is Verdict.NO_DATA
    assert report.findings[0].message.startswith("NOT CHECKED: 1 packages: Dependency not found on PyPI")
    assert report_of("deps", pip_audit.tool(own=["Jinja2"]), said("pip-audit-unknown.json", 0)).verdict is Verdict.PASS


def test_pip_audit_that_reaches_nobody_is_not_checked_and_any_other_end_is_an_error():
    lost = ToolOutput(1, b"", "ERROR: requests.exceptions.ConnectionError: Max retries exceeded with url: /pypi/x")
    assert report_of("deps", pip_audit.tool(), lost).verdict is Verdict.NO_DATA
    assert report_of("deps", pip_audit.tool(), ToolOutput(1, b"", "KeyError: 'x'")).verdict is Verdict.ERROR


def test_a_vulnerability_fails_unless_it_is_accepted_by_any_of_its_names():
    output = ToolOutput(
        1,
        b'{"dependencies": [{"name": "jinja2", "version": "2.0", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-2"],'
        b' "fix_versions": ["2.1"]}]}]}',
    )
    report = report_of("deps", pip_audit.tool(), output)
    assert report.findings[0].message == "jinja2 2.0: CVE-2; fixed in 2.1"
    assert report.verdict is Verdict.FAIL
    assert (
        report_of("deps", pip_audit.tool(ignore=["CVE-2"]), output).findings[0].details["open"] == "CVE-2 is accepted"
    )


@pytest.mark.parametrize(
    "tool", [ruff.LINT, radon.tool(10), bandit.tool("low"), detect_secrets.tool(), pip_audit.tool()]
)
@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"results": 3}'])
def test_output_that_is_not_understood_never_passes(tool, data):
    code = 1 if 1 in tool.found else 0
    report = report_of("stage", tool, ToolOutput(code, data))
    assert report.verdict is not Verdict.PASS


@pytest.mark.parametrize("tool", [ruff.LINT, mypy.MYPY, black.BLACK, radon.tool(10), bandit.tool("low")])
@pytest.mark.parametrize("code", [-9, -11, 3, 127, 255])
def test_a_crash_is_an_error_that_says_how_it_ended_and_the_last_words(tool, code):
    report = report_of("stage", tool, ToolOutput(code, b"[]", "first\nlast words\n"))
    assert report.verdict is Verdict.ERROR
    assert str(abs(code)) in report.problems[0]
    assert report.problems[0].endswith("last words")
