import json
import math

import pytest
from tests.unit.evals.tools.recorded import changed, recorded, verdicts

from shipway.core.errors import DocumentError
from shipway.core.verdicts import Verdict
from shipway.evals.tools.ragas_results import parse


def test_scores_pass_from_the_threshold_on_and_failures_are_errors():
    report = parse(recorded("ragas-half.json"))

    assert verdicts(report, "faithfulness") == {
        (name, repeat): verdict
        for name, verdict in (("period", "PASS"), ("cost", "ERROR"), ("trains", "FAIL"))
        for repeat in (0, 1)
    }
    assert report.tool_version == "0.4.3"
    assert "InternalServerError" in next(item for item in report.findings if item.case_id == "cost").message


def test_a_metric_that_does_not_apply_to_a_case_has_no_finding():
    def unasked(value):
        value["rows"][0]["scores"]["faithfulness"] = None

    report = parse(changed("ragas-half.json", unasked))

    assert ("period", 0) not in verdicts(report, "faithfulness")


ROWS = [
    {"user_input": "a", "faithfulness": math.nan},
    {"user_input": "b", "faithfulness": 1},
    {"user_input": "a", "faithfulness": 0.2},
]


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("saved.json", json.dumps(ROWS).encode()),
        ("saved.jsonl", "\n\n".join(map(json.dumps, ROWS)).encode()),
        ("saved.csv", b"\xef\xbb\xbfuser_input,faithfulness\na,\nb,1.0\na,0.2\n"),
    ],
)
def test_a_saved_result_is_read_in_each_form_and_nan_is_an_error(file, data):
    report = parse(data, file)

    assert verdicts(report, "faithfulness") == {("a", 0): "ERROR", ("b", 0): "PASS", ("a", 1): "FAIL"}


def test_the_threshold_is_the_callers():
    assert parse(b'[{"user_input": "a", "x": 0.6}]', threshold=0.7).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("file", "data", "said"),
    [
        ("a.json", b'{"rows": []}', "has no rows of scores"),
        ("a.json", b'[{"user_input": "a"}]', "has no column with scores"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\xff\xfe", "is not UTF-8 at byte 0"),
        ("a.jsonl", b'{"a": 1}\n{"a"', "a.jsonl:2: is not JSON"),
        ("a.json", b'{"tool": "ragas", "schema": 2, "rows": []}', "in version 2 of its format; schema 1 is read"),
    ],
)
def test_a_file_that_is_no_result_is_refused(file, data, said):
    with pytest.raises(DocumentError) as caught:
        parse(data, file)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("metric", "score", "verdict"),
    [
        ("faithfulness", 1.4, "ERROR"),
        ("faithfulness", -0.1, "ERROR"),
        ("faithfulness", 1.0, "PASS"),
        ("factual_correctness(mode=f1)", 7, "ERROR"),
        ("answer_relevancy", -0.2, "PASS"),
        ("answer_relevancy", 1.0000000002, "PASS"),
        ("answer_relevancy", 1.1, "ERROR"),
        ("rubrics_score", 4, "PASS"),
    ],
)
def test_a_score_outside_of_what_its_metric_can_be_is_an_error(metric, score, verdict):
    (found,) = parse(json.dumps([{"user_input": "a", metric: score}]).encode()).findings

    assert found.verdict.value == verdict
    if verdict == "ERROR":
        assert f"the score is {score:g}, and ragas defines" in found.message


def test_a_cosine_that_rounding_brought_above_1_is_1():
    (found,) = parse(b'[{"user_input": "a", "answer_relevancy": 1.0000000002}]').findings

    assert found.score == 1.0
