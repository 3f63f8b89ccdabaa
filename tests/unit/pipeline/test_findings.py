import json

import pytest

from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.pipeline.findings import KEY, MOST_KEPT, as_document, findings_of, folded, outcome_of, report_from
from shipway.pipeline.model import RunReport, StageResult, StageState


def found(*findings, problems=()):
    return FindingReport("lint", "ruff 1", findings, problems)


def bad(n=0, verdict=Verdict.FAIL, **values):
    return Finding("ruff", f"F{n}", verdict, message="bad", location=f"a.py:{n + 1}", rule="ruff/F", **values)


def result(name="lint", **values):
    return StageResult(name, values.pop("state", StageState.PASSED), **values)


def test_what_a_stage_found_is_read_back_from_its_results():
    outcome = outcome_of(found(bad(), bad(1, details={"open": "known"})), {"extra": 2})
    assert outcome.verdict is Verdict.FAIL
    assert (outcome.outputs["failures"], outcome.outputs["open"], outcome.outputs["extra"]) == (1, 1, 2)
    stage = findings_of(result(outputs=json.loads(json.dumps(dict(outcome.outputs)))))
    assert [item.name for item in stage.report.findings] == ["F0", "F1"]
    assert stage.counts == {"FAIL": 1, "open": 1}
    assert stage.left_out == 0


def test_results_hold_the_worst_findings_and_count_all_of_them():
    many = [*(bad(n, Verdict.PASS) for n in range(100_000)), bad(7), bad(8, Verdict.ERROR)]
    document = outcome_of(found(*many)).outputs[KEY]
    assert len(document["items"]) <= MOST_KEPT
    assert [row["verdict"] for row in document["items"][:3]] == ["ERROR", "FAIL", "PASS"]
    assert len(json.dumps(document)) < 1_000_000
    report, left_out = report_from(document)
    assert len(report.findings) + left_out == 100_002


def test_a_file_holds_all_findings():
    assert len(as_document(found(*(bad(n) for n in range(5_000))), whole=True)["items"]) == 5_000


def test_a_few_very_long_messages_are_bounded_too():
    long = [Finding("t", "n", Verdict.FAIL, message="x" * 2_000) for _ in range(900)]
    assert len(json.dumps(outcome_of(found(*long)).outputs)) < 500_000


def test_times_are_no_part_of_it_so_that_the_same_findings_are_the_same():
    assert as_document(found(bad(duration_ms=3.0))) == as_document(found(bad(duration_ms=4.0)))


def test_a_problem_says_why_there_is_no_verdict():
    outcome = outcome_of(found(problems=("ruff is not installed: pip install ruff",)))
    assert (outcome.verdict, outcome.problem) == (Verdict.ERROR, "ruff is not installed: pip install ruff")


def test_a_stage_that_keeps_no_findings_has_one_that_says_what_it_came_to():
    failed = findings_of(result("build", state=StageState.FAILED, verdict=Verdict.FAIL, problem="exit code 1"))
    assert [(item.verdict, item.message) for item in failed.report.findings] == [(Verdict.FAIL, "exit code 1")]
    blocked = findings_of(result("ship", state=StageState.SKIPPED, problem="needs build"))
    assert blocked.report.verdict is Verdict.NO_DATA
    left_out = findings_of(result("ship", state=StageState.SKIPPED, allowed=True))
    assert left_out.report.findings == ()


@pytest.mark.parametrize("document", [{}, {"items": 3}, {"suite": "s", "items": [{}]}, {"suite": "s", "items": ["x"]}])
def test_a_document_that_cannot_be_read_leaves_the_stage_with_what_it_came_to(document):
    stage = findings_of(result(verdict=Verdict.PASS, outputs={KEY: document}))
    assert stage.report.findings[0].rule == "stage"


def test_a_run_is_folded_in_the_order_of_its_stages():
    run = RunReport("r", 0.0, 1.0, (result("b", verdict=Verdict.PASS), result("a", verdict=Verdict.PASS)))
    assert [stage.result.name for stage in folded(run).stages] == ["b", "a"]
