import math

import pytest
from tests.unit.evals.tools.recorded import changed, recorded, verdicts

from shipway.core.errors import DocumentError
from shipway.core.verdicts import Verdict
from shipway.evals.tools.inspect_results import parse


def test_samples_and_epochs_are_cases_and_repeats():
    report = parse(recorded("inspect-run.json"))

    expected = {
        (name, repeat): "FAIL" if name == "trains" else "PASS"
        for name in ("period", "cost", "trains")
        for repeat in (0, 1)
    }
    assert verdicts(report, "includes") == verdicts(report, "model_graded_qa") == expected
    assert (report.tool_version, report.verdict) == ("0.3.285", Verdict.FAIL)


def test_a_sample_with_an_error_is_an_error_of_each_scorer():
    report = parse(recorded("inspect-half.json"))

    assert verdicts(report, "includes")["cost", 0] == verdicts(report, "model_graded_qa")["cost", 1] == "ERROR"
    assert verdicts(report, "includes")["period", 0] == "PASS"
    assert "RetryError" in next(item for item in report.findings if item.case_id == "cost").message


def test_a_sample_with_an_error_is_an_error_though_it_was_scored():
    def scored(log):
        log["samples"][0]["error"] = {"message": "cut off"}

    found = parse(changed("inspect-run.json", scored)).findings[0]
    assert (found.verdict, found.message) == (Verdict.ERROR, "cut off")


@pytest.mark.parametrize(
    ("value", "score", "verdict"),
    [
        ("C", 1.0, "PASS"),
        ("P", 0.5, "PASS"),
        ("I", 0.0, "FAIL"),
        ("N", 0.0, "FAIL"),
        (True, 1.0, "PASS"),
        ("0.25", 0.25, "FAIL"),
        (math.nan, None, "ERROR"),
        ("NaN", None, "ERROR"),
        ("perhaps", None, "ERROR"),
        ([1], None, "ERROR"),
        (7, 7.0, "PASS"),
    ],
)
def test_a_grade_is_the_number_that_inspect_counts(value, score, verdict):
    def graded(log):
        log["samples"] = log["samples"][:1]
        log["results"]["total_samples"] = 1
        log["samples"][0]["scores"] = {"includes": {"value": value}}

    found = parse(changed("inspect-run.json", graded)).findings[0]
    assert (found.score, found.verdict.value) == (score, verdict)


def test_a_score_of_several_values_has_a_metric_for_each():
    def graded(log):
        for sample in log["samples"]:
            sample["scores"] = {"includes": {"value": {"Right": 1, "brief": 0.2}}}

    report = parse(changed("inspect-run.json", graded))

    assert set(verdicts(report, "includes_right").values()) == {"PASS"}
    assert set(verdicts(report, "includes_brief").values()) == {"FAIL"}
    assert set(verdicts(report, "model_graded_qa").values()) == {"ERROR"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda log: log.update(status="error", error={"message": "no model"}),
            "Inspect ended with status error: no model",
        ),
        (lambda log: log.update(status="cancelled"), "Inspect ended with status cancelled"),
        (lambda log: log.update(samples=None), "the log has no samples; run Inspect without --no-log-samples"),
        (lambda log: log["samples"].pop(), "Inspect counted 6 samples and wrote 5"),
    ],
)
def test_a_run_that_did_not_end_is_a_problem_of_the_whole(change, said):
    report = parse(changed("inspect-run.json", change))

    assert report.problems == (said,)
    assert report.verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\x03\x04\xff", "inspect log convert --to json"),
        (recorded("inspect-run.json")[:-900], "is not JSON"),
        (
            changed("inspect-run.json", lambda log: log.update(version=3)),
            "in version 3 of its format; version 2 is read",
        ),
        (b'{"version": 2}', "has no eval and status"),
    ],
)
def test_a_file_that_is_no_log_is_refused(data, said):
    with pytest.raises(DocumentError) as caught:
        parse(data)
    assert said in str(caught.value)
