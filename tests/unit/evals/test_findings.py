import math

import pytest

from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.findings import as_results


def report(*findings: Finding, problems: tuple[str, ...] = ()) -> FindingReport:
    return FindingReport("lm_eval", "0.4", findings, problems)


def finding(verdict: Verdict, *, name: str = "q1", metric: str = "acc", **values: object) -> Finding:
    return Finding("lm_eval", name, verdict, metric, **values)


def test_only_findings_of_the_metric_become_results():
    found = report(finding(Verdict.PASS, score=0.8), finding(Verdict.FAIL, metric="f1", score=0.2))

    assert [(result.case_id, dict(result.scores)) for result in as_results(found, "lm_eval.acc")] == [
        ("q1", {"lm_eval.acc": 0.8})
    ]
    assert as_results(found, "acc") == []


def test_findings_without_a_metric_pass_or_fail_whatever_their_score():
    found = report(finding(Verdict.PASS, metric="", score=0.7), finding(Verdict.FAIL, name="q2", metric="", score=0.4))

    assert [result.scores["lm_eval.pass"] for result in as_results(found, "lm_eval.pass")] == [1.0, 0.0]


def test_a_finding_stands_for_its_case_and_repeat():
    [result] = as_results(report(finding(Verdict.PASS, case_id="faq-7", repeat=2)), "lm_eval.acc")

    assert (result.case_id, result.repeat, result.scores["lm_eval.acc"]) == ("faq-7", 2, 1.0)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (finding(Verdict.ERROR, score=0.0, message="no reply"), "no reply"),
        (finding(Verdict.ERROR), "ERROR without a message"),
        (finding(Verdict.INCONCLUSIVE), "INCONCLUSIVE without a message"),
        (finding(Verdict.FAIL, score=math.nan), "the score is nan, which is not a number"),
    ],
)
def test_what_was_not_judged_is_an_error_and_no_score(item, reason):
    [result] = as_results(report(item), "lm_eval.acc")

    assert (dict(result.scores), dict(result.errors)) == ({}, {"lm_eval.acc": reason})


def test_two_findings_for_one_case_are_an_error_and_not_the_better_of_them():
    [result] = as_results(report(finding(Verdict.FAIL), finding(Verdict.PASS)), "lm_eval.acc")

    assert result.errors == {"lm_eval.acc": "2 findings for one case and repeat"}


def test_a_problem_of_the_suite_is_an_error_of_every_result():
    [result] = as_results(report(finding(Verdict.PASS), problems=("timed out",)), "lm_eval.acc")

    assert (dict(result.scores), dict(result.errors)) == ({}, {"lm_eval.acc": "timed out"})


def test_no_data_is_not_applicable():
    [result] = as_results(report(finding(Verdict.NO_DATA)), "lm_eval.acc")

    assert (dict(result.scores), dict(result.errors)) == ({"lm_eval.acc": None}, {})
