from dataclasses import replace

import pytest
from tests.unit.evals.report_sources import sarif_run, source_of_scores

from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateReport, GateRow
from shipway.evals.report import worse_cases
from shipway.evals.report_sarif import MOST_RESULTS, findings_sarif, sarif
from shipway.evals.report_source import Places


def of_rows(*rows, **changes):
    return source_of_scores([1.0] * 30, gates=GateReport(rows), **changes)


def place(result):
    found = result["locations"][0]["physicalLocation"]
    return found["artifactLocation"]["uri"], found.get("region", {}).get("startLine")


def test_a_gate_that_failed_stands_at_its_line_and_names_cases_that_got_worse():
    source = source_of_scores([0.0] * 50 + [1.0] * 10, [1.0] * 60)
    places = Places({"c0000": "evals/faq.jsonl:1"}, {"correct does not regress": "shipway.yaml:9"})
    source = replace(source, places=places)
    run = sarif_run(sarif(source, worse_cases(source)))
    gate = next(result for result in run["results"] if result["ruleId"] == "gate/non_regression")
    assert (gate["level"], place(gate)) == ("error", ("shipway.yaml", 9))
    assert gate["message"]["text"].startswith("FAIL: correct does not regress: a drop of")
    assert gate["relatedLocations"][0]["physicalLocation"]["region"] == {"startLine": 1}
    case = next(result for result in run["results"] if result["ruleId"] == "case/worse")
    assert (case["level"], place(case)) == ("note", ("evals/faq.jsonl", 1))


@pytest.mark.parametrize(
    ("verdict", "level"),
    [
        (Verdict.FAIL, "error"),
        (Verdict.ERROR, "error"),
        (Verdict.NO_DATA, "warning"),
        (Verdict.INCONCLUSIVE, "warning"),
    ],
)
def test_every_verdict_but_pass_is_a_result_that_says_it(verdict, level):
    run = sarif_run(sarif(of_rows(GateRow("g", "m", "threshold", verdict, "so it is"))))
    (result,) = run["results"]
    assert (result["level"], result["message"]["text"]) == (level, f"{verdict}: g: so it is")
    assert result["properties"]["verdict"] == verdict


def test_an_error_is_a_run_that_did_not_succeed_and_a_failure_one_that_did():
    runs = [
        sarif_run(sarif(of_rows(GateRow("g", "m", "threshold", verdict)))) for verdict in (Verdict.ERROR, Verdict.FAIL)
    ]
    assert [run["invocations"][0]["executionSuccessful"] for run in runs] == [False, True]


def test_a_pass_has_no_result_and_no_gate_at_all_has_one():
    assert sarif_run(sarif(of_rows(GateRow("g", "m", "threshold", Verdict.PASS))))["results"] == []
    (nothing,) = sarif_run(sarif(of_rows()))["results"]
    assert (nothing["ruleId"], place(nothing)) == ("gate/none", ("shipway.yaml", None))


def test_the_fingerprint_of_a_gate_does_not_change_with_its_figures():
    first, second = (
        sarif_run(sarif(of_rows(GateRow("g", "m", "threshold", Verdict.FAIL, said))))["results"][0]
        for said in ("0.3", "0.4")
    )
    assert first["partialFingerprints"] == second["partialFingerprints"]


@pytest.mark.parametrize(
    ("location", "uri", "line"),
    [
        ("evals/a.jsonl:12", "evals/a.jsonl", 12),
        ("evals/a b?.jsonl:1", "evals/a%20b%3F.jsonl", 1),
        ("./a.yaml", "a.yaml", None),
        ("c:d.yaml", "c%3Ad.yaml", None),
        ("/srv/a.jsonl:3", "file:///srv/a.jsonl", 3),
        ("a.jsonl:0", "a.jsonl%3A0", None),
        ("", "shipway.yaml", None),
    ],
)
def test_a_finding_stands_at_its_file_and_line(location, uri, line):
    finding = Finding(
        "dataset", "duplicate", Verdict.FAIL, message="twice", location=location, rule="dataset/duplicate"
    )
    (result,) = sarif_run(findings_sarif(FindingReport("dataset", "1", (finding,))))["results"]
    assert place(result) == (uri, line)
    assert (result["ruleId"], result["level"]) == ("dataset/duplicate", "error")


def test_a_warning_of_a_dataset_is_a_warning_and_what_passes_is_nothing():
    findings = (
        Finding("dataset", "a", Verdict.PASS),
        Finding("dataset", "b", Verdict.NO_DATA, message="too few"),
        Finding("dataset", "c", Verdict.PASS, message="an address", rule="dataset/pii", details={"level": "warning"}),
    )
    (result,) = sarif_run(findings_sarif(FindingReport("dataset", "1", findings)))["results"]
    assert (result["level"], result["message"]["text"]) == ("warning", "c: an address")


def test_a_suite_that_broke_is_a_run_that_did_not_succeed():
    run = sarif_run(findings_sarif(FindingReport("promptfoo", "1", (), ("killed after 60 s",))))
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False
    assert invocation["toolExecutionNotifications"] == [{"level": "error", "message": {"text": "killed after 60 s"}}]


def test_of_more_results_than_hosts_show_the_errors_are_kept_and_the_rest_is_counted():
    warning = {"level": "warning"}
    findings = [Finding("d", f"w{n}", Verdict.PASS, message="w", details=warning) for n in range(MOST_RESULTS)]
    findings.append(Finding("d", "last", Verdict.FAIL, message="bad"))
    run = sarif_run(findings_sarif(FindingReport("d", "1", tuple(findings))))
    assert len(run["results"]) == MOST_RESULTS
    assert run["results"][0]["message"]["text"] == "FAIL: last: bad"
    assert run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"] == "1 more results are left out"
