"""DeepEval itself, run by its adapter: on a dataset, and on a test file of its own."""

import pytest

pytestmark = [pytest.mark.tools, pytest.mark.timeout(250)]

OWN = """\
import os

from deepeval import assert_test
from deepeval.metrics import AnswerRelevancyMetric
from deepeval.models import LocalModel
from deepeval.test_case import LLMTestCase


def test_return():
    judge = LocalModel(
        model=os.environ["SHIPWAY_JUDGE_MODEL"],
        base_url=os.environ["SHIPWAY_JUDGE_URL"],
        api_key=os.environ["SHIPWAY_JUDGE_KEY"],
    )
    case = LLMTestCase(input="How long?", actual_output="You can return it within 30 days.", name="own")
    assert_test(case, [AnswerRelevancyMetric(model=judge)])
"""


def verdicts(report, metric=""):
    return {(item.case_id, item.repeat): item.verdict.value for item in report.findings if item.metric == metric}


def test_a_dataset_is_answered_by_the_target_and_judged_by_the_judge(tool, endpoint, cases, tmp_path, noted):
    deepeval = tool("deepeval")
    report = deepeval.run(tmp_path / "cases.jsonl", cases=cases, repeats=2)

    expected = {
        (name, repeat): "FAIL" if name == "trains" else "PASS"
        for name in ("period", "cost", "trains")
        for repeat in (0, 1)
    }
    assert report.problems == ()
    assert verdicts(report) == verdicts(report, "answer_relevancy") == verdicts(report, "faithfulness") == expected
    assert endpoint.hits.count("answers") == 6
    noted["deepeval"] = deepeval.took


def test_a_target_that_fails_for_one_case_is_an_error_there_in_every_metric(tool, cases, tmp_path):
    report = tool("deepeval").run(tmp_path / "cases.jsonl", cases=cases, target="half")

    assert verdicts(report)["cost", 0] == verdicts(report, "faithfulness")["cost", 0] == "ERROR"
    assert verdicts(report)["period", 0] == "PASS"
    assert "500" in next(item for item in report.findings if item.case_id == "cost").message


def test_a_judge_that_is_down_gives_no_verdict(tool, cases, tmp_path):
    report = tool("deepeval").run(tmp_path / "cases.jsonl", cases=cases, judge="down")

    assert set(verdicts(report, "faithfulness").values()) == {"ERROR"}


def test_a_test_file_of_deepeval_runs_as_it_is(tool, tmp_path):
    path = tmp_path / "test_own.py"
    path.write_text(OWN)

    report = tool("deepeval").run(path)
    assert verdicts(report, "answer_relevancy") == {("own", 0): "PASS"}
