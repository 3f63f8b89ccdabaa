"""The reports of a run: whatever the findings say, each stays what its format is."""

import json
import os
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.evals.report_sources import sarif_run

from shipway.core.errors import UsageError
from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.pipeline.findings import as_document, folded, outcome_of
from shipway.pipeline.model import RunReport, StageResult, StageState
from shipway.services.pipeline_reports.forms import FORMATS, rendered
from shipway.services.pipeline_reports.markdown import MARKER
from shipway.services.pipeline_reports.reading import read_findings

HOSTILE = "\x1b[31mred <script>alert(1)</script> | @everyone #1 [x](http://h) `a`\r\n\x00\u202e ]]> </details> &lt;"


def finding(message="bad", verdict=Verdict.FAIL, **values):
    return Finding(
        values.pop("tool", "ruff"),
        values.pop("name", "F401"),
        verdict,
        message=message,
        location="src/a.py:3",
        rule="ruff/F401",
        **values,
    )


def stage(name="lint", *findings, problems=(), state=None, **values):
    outcome = outcome_of(FindingReport(name, "ruff 1", findings, problems))
    passed = outcome.verdict is Verdict.PASS
    settled = state or (StageState.PASSED if passed else StageState.FAILED)
    given_values = {"attempts": 1, "outputs": outcome.outputs, "problem": outcome.problem} | values
    return StageResult(name, settled, outcome.verdict, **given_values)


def folded_run(*results):
    return folded(RunReport("01RUN", 1_000.0, 2.0, results))


def written(run, form):
    return "".join(rendered(run, form))


def junit_of(run):
    return ET.fromstring(written(run, "junit"))  # noqa: S314 - the test's own text


def valid_sarif(document):
    body = json.loads(document)
    return [sarif_run(json.dumps({**body, "runs": [run]})) for run in body["runs"]]


class Tags(HTMLParser):
    def __init__(self, document):
        super().__init__()
        self.seen, self.words, self.links = set(), [], []
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.links += [value for name, value in attrs if name in {"href", "src"}]

    def handle_data(self, data):
        self.words.append(data)


def test_every_format_has_every_stage():
    run = folded_run(stage("lint", finding()), stage("unit", finding(verdict=Verdict.PASS)))
    for form in FORMATS:
        assert "lint" in written(run, form)
        assert "unit" in written(run, form)


def test_the_terminal_shows_what_is_hidden_and_one_line_for_each_finding():
    text = written(folded_run(stage("lint", finding(HOSTILE))), "terminal")
    assert "\x1b" not in text
    assert "\\x1b[31mred" in text
    assert len([line for line in text.splitlines() if "F401" in line]) == 1


def test_html_has_no_markup_of_strangers_and_asks_nobody():
    page = Tags(written(folded_run(stage("<b>lint</b>", finding(HOSTILE), problems=(HOSTILE,))), "html"))
    assert not {"script", "b", "img", "link"} & page.seen
    assert all(link.startswith("#") for link in page.links)
    assert any("<script>alert(1)</script>" in word for word in page.words)


def test_markdown_begins_with_its_marker_and_mentions_nobody():
    text = written(folded_run(stage("lint", finding(HOSTILE))), "markdown")
    assert text.startswith(MARKER + "\n")
    (line,) = [line for line in text.splitlines() if "everyone" in line]
    code = line[line.index("``") :]
    assert "@everyone" in code
    assert "</details>" not in text.replace("``", "").split("everyone", maxsplit=1)[0].split("<summary>")[0]


def test_a_bar_in_a_name_makes_no_cell_of_its_own():
    text = written(folded_run(stage("a|b", finding(verdict=Verdict.PASS))), "markdown")
    (row,) = [line for line in text.splitlines() if line.startswith("| ✅")]
    assert row.replace("\\|", "").count("|") == 4


def test_sarif_is_valid_with_a_run_for_each_stage_that_ran():
    run = folded_run(
        stage("lint", finding(HOSTILE), finding()), stage("unit", finding()), stage("ship", state=StageState.SKIPPED)
    )
    runs = valid_sarif(written(run, "sarif"))
    assert [found["automationDetails"]["id"] for found in runs] == ["shipway/lint/", "shipway/unit/"]


def test_two_findings_of_one_rule_and_file_are_two_alerts_and_the_same_ones_after_lines_moved():
    def prints(*lines):
        items = [Finding("ruff", "F401", Verdict.FAIL, message="bad", location=f"a.py:{n}", rule="r") for n in lines]
        results = json.loads(written(folded_run(stage("lint", *items)), "sarif"))["runs"][0]["results"]
        return [item["partialFingerprints"]["shipwayResult/v1"] for item in results]

    assert len(set(prints(3, 9))) == 2
    assert prints(3, 9) == prints(13, 19)


def test_junit_counts_failures_and_what_was_left_out_is_skipped():
    run = folded_run(
        stage("lint", finding(HOSTILE)),
        stage("may", finding(), allowed=True),
        StageResult("ship", StageState.SKIPPED, problem="needs lint, which failed"),
        StageResult("deploy", StageState.SKIPPED, allowed=True),
    )
    root = junit_of(run)
    assert {
        suite.get("name"): (suite.get("failures"), suite.get("skipped"))
        for suite in root
        if suite.get("name") != "deploy"
    } == {
        "lint": ("1", "0"),
        "may": ("0", "1"),
        "ship": ("0", "1"),
    }
    assert root.get("failures") == "1"


def test_a_stage_that_may_fail_takes_nothing_from_the_run():
    run = folded_run(stage("lint", finding(), allowed=True), stage("unit", finding(verdict=Verdict.PASS)))
    assert run.verdict is Verdict.PASS
    assert json.loads(written(run, "json"))["verdict"] == "PASS"
    assert "may fail" in written(run, "terminal")


def test_100_000_findings_make_a_comment_that_fits_and_say_how_many_are_missing():
    many = folded_run(stage("lint", *(finding(f"number {n}") for n in range(100_000))))
    text = written(many, "markdown")
    assert len(text.encode()) <= 65_536
    assert "99970 more" in text
    for form in ("terminal", "json", "junit", "sarif", "html"):
        assert "99000 more" in written(many, form) or '"left_out": 99000' in written(many, form)


def test_many_stages_with_long_messages_make_a_comment_that_fits():
    stages = [stage(f"stage-{n}", *(finding("ä" * 500 + str(m)) for m in range(40))) for n in range(300)]
    assert len(written(folded_run(*stages), "markdown").encode()) <= 65_536


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_shown_by_every_format(text):
    run = folded_run(stage("lint", finding(text, name=text or "x"), problems=(text,)))
    assert junit_of(run).tag == "testsuites"
    valid_sarif(written(run, "sarif"))
    json.loads(written(run, "json"))
    assert Tags(written(run, "html")).seen >= {"html", "table"}
    assert written(run, "markdown").splitlines()[0] == MARKER


def test_an_unknown_format_is_refused_with_the_nearest_one():
    with pytest.raises(UsageError, match="did you mean 'sarif'"):
        rendered(folded_run(), "sariff")


def of_file(tmp_path, name, data, state=StageState.PASSED, verdict=Verdict.PASS, **values):
    (tmp_path / name).write_bytes(data)
    os.utime(tmp_path / name, (2_000, 2_000))
    result = StageResult(
        "check", state, verdict, problem="exit code 1" if verdict is not Verdict.PASS else "", **values
    )
    return read_findings(RunReport("r", 1_500.0, 1.0, (result,)), tmp_path, {"check": name}).stages[0]


JUNIT = b'<testsuite><testcase classname="a" name="b"><failure message="no"/></testcase></testsuite>'


def test_the_report_file_of_a_command_is_read(tmp_path):
    found = of_file(tmp_path, "r.xml", JUNIT, StageState.FAILED, Verdict.FAIL)
    assert [item.message for item in found.report.findings] == ["exit code 1", "no"]


def test_a_report_file_that_another_run_wrote_is_not_believed(tmp_path):
    (tmp_path / "r.xml").write_bytes(JUNIT)
    os.utime(tmp_path / "r.xml", (1_000, 1_000))
    result = StageResult("check", StageState.FAILED, Verdict.FAIL, problem="exit code 1")
    found = read_findings(RunReport("r", 1_500.0, 1.0, (result,)), tmp_path, {"check": "r.xml"}).stages[0]
    assert found.report.findings[-1].message == "NOT READ: r.xml is not what this run wrote"


def test_a_report_file_that_changed_since_is_not_believed(tmp_path):
    found = of_file(tmp_path, "r.xml", JUNIT, files={"r.xml": "sha256:0"})
    assert "not what this run wrote" in found.report.findings[-1].message


@pytest.mark.parametrize("data", [b"", b"<x", b"\xff\xfe", b"{}", b"[1]"])
def test_a_report_file_that_cannot_be_read_is_said(tmp_path, data):
    for name in ("r.xml", "r.json", "r.sarif"):
        assert "NOT READ" in of_file(tmp_path, name, data).report.findings[-1].message


def test_a_report_file_that_is_not_there_is_said(tmp_path):
    result = StageResult("check", StageState.FAILED, Verdict.FAIL)
    found = read_findings(RunReport("r", 0.0, 1.0, (result,)), tmp_path, {"check": "no.xml"}).stages[0]
    assert found.report.findings[-1].message == "NOT READ: no.xml was not written"


def test_the_whole_of_a_built_ins_findings_is_taken_from_its_file_when_its_results_hold_a_part(tmp_path):
    report = FindingReport("lint", "ruff 1", tuple(finding(f"number {n}") for n in range(1_500)))
    outcome = outcome_of(report)
    (tmp_path / "lint.json").write_text(json.dumps(as_document(report, whole=True)))
    result = StageResult("lint", StageState.FAILED, Verdict.FAIL, outputs=outcome.outputs)
    found = read_findings(RunReport("r", 0.0, 1.0, (result,)), tmp_path, {"lint": "lint.json"}).stages[0]
    assert (len(found.report.findings), found.left_out, found.report.tool_version) == (1_500, 0, "ruff 1")


def test_a_stage_that_did_not_run_says_why_once():
    text = written(folded_run(StageResult("ship", StageState.SKIPPED, problem="needs lint, which failed")), "terminal")
    assert text.count("needs lint") == 1
