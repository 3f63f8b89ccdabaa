"""RAGAS itself, run by its adapter on a dataset."""

import pytest

pytestmark = [pytest.mark.tools, pytest.mark.timeout(250)]
METRICS = ("Faithfulness", "FactualCorrectness", "ContextRecall", "AnswerRelevancy", "ExactMatch")


def verdicts(report, metric):
    return {(item.case_id, item.repeat): item.verdict.value for item in report.findings if item.metric == metric}


def test_a_dataset_is_answered_by_the_target_and_judged_by_the_judge(tool, cases, tmp_path, noted):
    ragas = tool("ragas")
    report = ragas.run(tmp_path / "cases.jsonl", cases=cases, metrics=METRICS, repeats=2)

    expected = {
        (name, repeat): "FAIL" if name == "trains" else "PASS"
        for name in ("period", "cost", "trains")
        for repeat in (0, 1)
    }
    assert report.problems == ()
    assert verdicts(report, "faithfulness") == verdicts(report, "factual_correctness") == expected
    assert set(verdicts(report, "context_recall").values()) == {"PASS"}
    assert set(verdicts(report, "exact_match").values()) == {"FAIL"}
    assert {item.metric for item in report.findings} == {
        "faithfulness",
        "factual_correctness",
        "context_recall",
        "answer_relevancy",
        "exact_match",
    }
    noted["ragas"] = ragas.took


def test_a_target_that_fails_for_one_case_is_an_error_there(tool, cases, tmp_path):
    report = tool("ragas").run(tmp_path / "cases.jsonl", cases=cases, target="half")

    assert verdicts(report, "faithfulness") == {("period", 0): "PASS", ("cost", 0): "ERROR", ("trains", 0): "FAIL"}


def test_a_judge_that_writes_prose_gives_no_verdict(tool, cases, tmp_path):
    report = tool("ragas").run(tmp_path / "cases.jsonl", cases=cases, judge="answers", metrics=("Faithfulness",))

    assert set(verdicts(report, "faithfulness").values()) == {"ERROR"}


def test_a_metric_that_ragas_does_not_have_is_a_problem_with_its_words(tool, cases, tmp_path):
    report = tool("ragas").run(tmp_path / "cases.jsonl", cases=cases, metrics=("Truthiness",))

    assert "has no attribute 'Truthiness'" in report.problems[0]
