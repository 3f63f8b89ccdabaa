import math

import pytest
from tests.unit.evals.tools.recorded import changed, recorded, verdicts

from shipway.core.errors import DocumentError
from shipway.core.verdicts import Verdict
from shipway.evals.tools.deepeval_results import parse


def first(change):
    def act(value):
        value["testCases"] = value["testCases"][:1]
        del value["testPassed"]
        change(value["testCases"][0])

    return parse(changed("deepeval-run.json", act)).findings


def test_each_metric_and_the_whole_case_have_a_verdict():
    report = parse(recorded("deepeval-run.json"), version="4.3.1")

    expected = {
        (name, repeat): "FAIL" if name == "trains" else "PASS"
        for name in ("period", "cost", "trains")
        for repeat in (0, 1)
    }
    assert verdicts(report) == verdicts(report, "answer_relevancy") == verdicts(report, "faithfulness") == expected
    assert report.findings[0].details["question"] == "How long can I return it?"


def test_a_metric_without_a_score_is_an_error_and_no_failure():
    report = parse(recorded("deepeval-judge-down.json"))

    assert set(verdicts(report, "faithfulness").values()) == {"ERROR"}
    assert set(verdicts(report).values()) == {"ERROR"}
    assert "InternalServerError" in report.findings[0].message


@pytest.mark.parametrize("score", [math.nan, None, "0.7"])
def test_a_score_that_is_no_number_is_an_error(score):
    found = first(lambda case: case["metricsData"][0].update(score=score))

    assert [item.verdict.value for item in found] == ["ERROR", "ERROR", "PASS"]


def test_one_metric_that_failed_settles_the_case_though_another_has_no_score():
    def mixed(case):
        case["metricsData"][0].update(success=False, score=0.1, reason="beside the point")
        del case["metricsData"][1]["score"]

    found = first(mixed)
    assert [item.verdict.value for item in found] == ["FAIL", "FAIL", "ERROR"]
    assert found[0].message == "answer_relevancy: beside the point"


def test_a_metric_that_was_left_out_has_no_finding():
    found = first(lambda case: case["metricsData"][0].update(skipped=True))

    assert [item.metric for item in found] == ["", "faithfulness"]


def test_a_case_that_no_metric_judged_is_an_error():
    (found,) = first(lambda case: case.update(metricsData=[]))

    assert (found.verdict, found.message) == (Verdict.ERROR, "no metric judged it")


def test_repeats_without_a_number_are_counted():
    def unnumbered(value):
        for case in value["testCases"]:
            case["metadata"] = None

    assert sorted(verdicts(parse(changed("deepeval-run.json", unnumbered)))) == [
        (name, repeat) for name in ("cost", "period", "trains") for repeat in (0, 1)
    ]


def test_cases_that_were_lost_on_the_way_are_a_problem_of_the_whole():
    report = parse(changed("deepeval-run.json", lambda value: value["testCases"].pop()))

    assert report.problems == ("DeepEval counted 6 test cases and wrote 5",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (recorded("deepeval-run.json")[:3000], "is not JSON"),
        (b"{}", "has no testCases and metricsScores"),
        (recorded("promptfoo-run.json"), "has no testCases and metricsScores: this is no result file of deepeval"),
    ],
)
def test_a_file_that_is_no_result_is_refused(data, said):
    with pytest.raises(DocumentError, match=said):
        parse(data)
