import math

import pytest

from shipway.core.findings import FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.tools.scored import Place, completed, merged, repeated, whole_verdict

PLACE = Place("ragas", "a")


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(1, "PASS"), (0.5, "PASS"), (0.49, "FAIL"), (True, "PASS"), (None, "ERROR"), (math.nan, "ERROR"), ("1", "ERROR")],
)
def test_a_score_passes_from_the_threshold_on_and_is_an_error_when_it_is_no_number(score, verdict):
    assert PLACE.measured("x", score, threshold=0.5).verdict.value == verdict


def test_a_case_that_a_tool_skipped_is_an_error_of_every_metric_with_the_reason():
    report = FindingReport("ragas", "1", (PLACE.measured("x", 1, threshold=0.5), PLACE.measured("y", 1, threshold=0.5)))

    found = completed(report, [("a", 0), ("a", 1), ("b", 0)], {("b", 0): "the target is down"})
    lacking = {(item.case_id, item.repeat, item.metric): item.message for item in found.findings[2:]}
    assert lacking == {
        ("a", 1, "x"): "ragas left no result for it",
        ("a", 1, "y"): "ragas left no result for it",
        ("b", 0, "x"): "the target is down",
        ("b", 0, "y"): "the target is down",
    }
    assert found.verdict is Verdict.ERROR


def test_runs_of_single_repeats_become_one_report():
    report = FindingReport("ragas", "1", (PLACE.finding(Verdict.PASS),), ("late",))

    found = merged([report, repeated(report, 1)])
    assert [item.repeat for item in found.findings] == [0, 1]
    assert found.problems == ("late",)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([Verdict.PASS, Verdict.PASS], Verdict.PASS),
        ([Verdict.PASS, Verdict.ERROR], Verdict.ERROR),
        ([Verdict.ERROR, Verdict.FAIL], Verdict.FAIL),
        ([], Verdict.ERROR),
    ],
)
def test_one_check_that_fails_settles_a_case(verdicts, expected):
    assert whole_verdict(verdicts) is expected
