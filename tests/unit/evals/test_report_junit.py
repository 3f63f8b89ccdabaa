import pytest
from tests.unit.evals.report_sources import junit_tree, outcomes, source_of_scores

from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateReport, GateRow, Needed
from shipway.evals.report_junit import findings_junit, junit
from shipway.evals.report_source import Places


def of_rows(*rows, **changes):
    return source_of_scores([1.0] * 30, gates=GateReport(rows, changes.pop("warnings", ())), **changes)


def children(document, name):
    suite = junit_tree(document)["children"][0]
    (case,) = (child for child in suite["children"] if child["attributes"].get("name") == name)
    return {child["tag"]: child for child in case["children"]}


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        (Verdict.PASS, "passed"),
        (Verdict.FAIL, "failure"),
        (Verdict.ERROR, "error"),
        (Verdict.NO_DATA, "error"),
        (Verdict.INCONCLUSIVE, "skipped"),
        (None, "skipped"),
    ],
)
def test_a_verdict_has_its_own_outcome(verdict, outcome):
    document = junit(of_rows(GateRow("g", "m", "threshold", verdict), GateRow("other", "m", "threshold", Verdict.PASS)))
    assert outcomes(document)["g"] == outcome


def test_what_is_skipped_says_its_verdict_and_what_would_decide():
    needed = Needed(120, None, "about 120 cases would decide at this score")
    row = GateRow("g", "m", "threshold", Verdict.INCONCLUSIVE, needed.text, n=20, needed=needed)
    found = children(junit(of_rows(row)), "g")
    assert found["skipped"]["attributes"] == {"message": "INCONCLUSIVE: about 120 cases would decide at this score"}
    assert "100 more cases would decide" in found["skipped"]["text"]
    properties = {item["attributes"]["name"]: item["attributes"]["value"] for item in found["properties"]["children"]}
    assert properties == {"verdict": "INCONCLUSIVE", "metric": "m", "kind": "threshold"}


def test_a_failure_shows_the_figures_that_decided():
    document = junit(source_of_scores([0.0] * 50 + [1.0] * 10, [1.0] * 60))
    found = children(document, "correct does not regress")
    assert found["failure"]["attributes"]["type"] == "FAIL"
    assert "1.000 -> 0.167, 0.833 worse; 60 cases in 60 clusters; 95 % interval" in found["failure"]["text"]


def test_an_evaluation_in_which_no_gate_applies_is_not_green():
    first = GateRow("g", "m", "non_regression", None, "not applicable: first release")
    assert outcomes(junit(of_rows(first))) == {"g": "skipped", "a gate applies": "error"}
    assert outcomes(junit(of_rows())) == {"a gate applies": "error"}


def test_cases_are_no_tests_and_rows_that_inform_are_none_either():
    document = junit(of_rows(GateRow("g", "m", "threshold", Verdict.PASS), GateRow("cost", "c", "cost", None)))
    assert outcomes(document) == {"g": "passed"}


def test_a_gate_names_the_line_where_it_was_written():
    source = of_rows(GateRow("g", "m", "threshold", Verdict.FAIL), places=Places(gates={"g": "shipway.yaml:7"}))
    suite = junit_tree(junit(source))["children"][0]
    case = next(child for child in suite["children"] if child["tag"] == "testcase")
    assert (case["attributes"]["file"], case["attributes"]["line"]) == ("shipway.yaml", "7")


def test_warnings_stand_beside_the_tests():
    document = junit(of_rows(GateRow("g", "m", "threshold", Verdict.PASS), warnings=("a drop of 3 points",)))
    assert junit_tree(document)["children"][0]["children"][-1]["text"] == "warning: a drop of 3 points"


def test_findings_of_other_tools_are_tests_and_the_problems_of_a_suite_errors():
    report = FindingReport(
        "promptfoo",
        "0.121",
        (
            Finding("promptfoo", "a", Verdict.PASS, duration_ms=1500.0),
            Finding("promptfoo", "b", Verdict.FAIL, message="wrong", location="evals/a.yaml:3", rule="promptfoo/x"),
            Finding("promptfoo", "c", Verdict.ERROR, message="HTTP 500"),
        ),
        ("no output file",),
    )
    document = findings_junit(report)
    assert outcomes(document) == {"a": "passed", "b": "failure", "c": "error", "the suite ran": "error"}
    assert junit_tree(document)["children"][0]["attributes"]["time"] == "1.500"


def test_a_suite_that_checked_nothing_is_not_green():
    assert outcomes(findings_junit(FindingReport("smoke", "1", ()))) == {"something was checked": "error"}
