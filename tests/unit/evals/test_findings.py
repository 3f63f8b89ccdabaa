import math

import pytest

from shipway.core.verdicts import Verdict
from shipway.evals.findings import Finding, FindingReport, findings_lines


def report(*findings: Finding, problems: tuple[str, ...] = ()) -> FindingReport:
    return FindingReport("lm_eval", "0.4", findings, problems)


def finding(verdict: Verdict, *, name: str = "q1", metric: str = "acc", **values: object) -> Finding:
    return Finding("lm_eval", name, verdict, metric, **values)


def test_a_suite_has_the_worst_verdict_of_its_findings():
    assert report(finding(Verdict.PASS), finding(Verdict.FAIL)).verdict is Verdict.FAIL
    assert report(finding(Verdict.FAIL), finding(Verdict.ERROR)).verdict is Verdict.ERROR
    assert report().verdict is Verdict.NO_DATA


def test_a_suite_with_a_problem_is_an_error_whatever_its_findings_say():
    assert report(finding(Verdict.PASS), problems=("timed out",)).verdict is Verdict.ERROR


def test_only_findings_of_the_metric_become_results():
    found = report(finding(Verdict.PASS, score=0.8), finding(Verdict.FAIL, metric="f1", score=0.2))

    assert [(result.case_id, dict(result.scores)) for result in found.as_results("lm_eval.acc")] == [
        ("q1", {"lm_eval.acc": 0.8})
    ]
    assert found.as_results("acc") == []


def test_findings_without_a_metric_pass_or_fail_whatever_their_score():
    found = report(finding(Verdict.PASS, metric="", score=0.7), finding(Verdict.FAIL, name="q2", metric="", score=0.4))

    assert [result.scores["lm_eval.pass"] for result in found.as_results("lm_eval.pass")] == [1.0, 0.0]


def test_a_finding_stands_for_its_case_and_repeat():
    [result] = report(finding(Verdict.PASS, case_id="faq-7", repeat=2)).as_results("lm_eval.acc")

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
    [result] = report(item).as_results("lm_eval.acc")

    assert (dict(result.scores), dict(result.errors)) == ({}, {"lm_eval.acc": reason})


def test_two_findings_for_one_case_are_an_error_and_not_the_better_of_them():
    [result] = report(finding(Verdict.FAIL), finding(Verdict.PASS)).as_results("lm_eval.acc")

    assert result.errors == {"lm_eval.acc": "2 findings for one case and repeat"}


def test_a_problem_of_the_suite_is_an_error_of_every_result():
    [result] = report(finding(Verdict.PASS), problems=("timed out",)).as_results("lm_eval.acc")

    assert (dict(result.scores), dict(result.errors)) == ({}, {"lm_eval.acc": "timed out"})


def test_no_data_is_not_applicable():
    [result] = report(finding(Verdict.NO_DATA)).as_results("lm_eval.acc")

    assert (dict(result.scores), dict(result.errors)) == ({"lm_eval.acc": None}, {})


def test_lines_say_where_what_and_how_many_more():
    twice = [
        Finding(
            "dataset",
            "null",
            Verdict.FAIL,
            message="empty",
            location=f"c.jsonl:{n}",
            case_id=f"c{n}",
            rule="dataset/null",
        )
        for n in range(1, 4)
    ]
    warned = Finding(
        "dataset", "pii", Verdict.PASS, message="holds one", rule="dataset/pii", details={"level": "warning"}
    )
    silent = Finding("dataset", "size", Verdict.PASS, rule="dataset/size")
    skipped = Finding("dataset", "topic", Verdict.NO_DATA, message="no version", rule="dataset/topic")
    report = FindingReport("dataset", "1", (*twice, warned, silent, skipped), ("it broke",))

    assert findings_lines(report, most=2) == [
        "dataset: ERROR: it broke",
        "c.jsonl:1: FAIL dataset/null 'c1': empty",
        "c.jsonl:2: FAIL dataset/null 'c2': empty",
        "FAIL dataset/null: 1 more",
        "dataset: warning dataset/pii: holds one",
    ]
