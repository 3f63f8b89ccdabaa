import pytest

from shipway.evals.metric_context import MetricContext
from shipway.evals.metric_names import resolve_metrics
from shipway.evals.model import Attempt, Case, Dataset, Output
from shipway.evals.scoring import score_attempts

CASE = Case(id="a", question="?", must_contain=("30",), expected_sources=("r.md",))


def score(name, outputs, case=CASE):
    dataset = Dataset("d", (case,))
    attempts = [Attempt(case.id, repeat, output) for repeat, output in enumerate(outputs)]
    results = score_attempts(attempts, dataset, MetricContext(), resolve_metrics([name]))
    (value,) = {(result.scores.get(name, "missing"), result.errors.get(name)) for result in results}
    return value


def answers(*texts):
    return [Output(answer=text) for text in texts]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("30", "30", "30"), 1.0),
        (("30 days", " 30\u00a0DAYS "), 1.0),
        (("30", "30", "14"), pytest.approx(2 / 3)),
        (("1", "2", "3", "4"), 0.25),
        (("30",), None),
    ],
)
def test_determinism_is_the_share_of_the_most_frequent_answer(texts, expected):
    assert score("determinism", answers(*texts)) == (expected, None)


@pytest.mark.parametrize(
    ("name", "texts", "expected"),
    [
        ("pass^1:correct", ("30", "14"), 0.5),
        ("pass^2:correct", ("30", "30", "14"), pytest.approx(1 / 3)),
        ("pass^3:correct", ("30", "30", "30"), 1.0),
        ("pass^3:correct", ("30", "30"), None),
        ("pass@2:correct", ("30", "14", "14"), pytest.approx(2 / 3)),
        ("pass@2:correct", ("14", "14", "14"), 0.0),
        ("pass^2:wrong_refusal", ("30", "14", "I don't know."), pytest.approx(1 / 3)),
        ("pass@2:wrong_refusal", ("30", "I don't know."), 1.0),
    ],
)
def test_attempts_succeed_where_their_metric_has_its_better_score(name, texts, expected):
    assert score(name, answers(*texts)) == (expected, None)


def test_the_variance_is_that_of_a_cases_scores():
    outputs = [Output(retrieved=("r.md",)), Output(retrieved=("x.md", "r.md"))]
    assert score("score_variance:mrr", outputs) == (0.125, None)
    assert score("score_variance:mrr", outputs[:1]) == (None, None)
    assert resolve_metrics(["score_variance:mrr"])["score_variance:mrr"].direction == "lower"


@pytest.mark.parametrize("name", ["determinism", "pass^2:correct", "score_variance:correct"])
def test_a_case_with_a_failed_repeat_has_no_score(name):
    assert score(name, [*answers("30", "30"), Output(error="timeout")]) == ("missing", "repeat 2: timeout")


def test_repeats_to_which_the_metric_does_not_apply_are_no_attempts():
    outputs = [
        Output(answer="x", model_text="x"),
        Output(answer="y", model_text=None),
        Output(answer="z", model_text="z"),
    ]
    assert score("pass^2:supported", outputs) == (1.0, None)
    assert score("pass^3:supported", outputs) == (None, None)


def test_a_repeat_without_the_score_that_is_needed_leaves_the_case_without_one():
    case = Case(id="a", question="?", assertions=({"type": "latency", "max": 5},))
    value, reason = score("pass^2:assertions", [Output(latency_ms=1.0), Output()], case)
    assert value == "missing"
    assert reason == "repeat 1: assertions: latency_ms was not measured by the target"


def test_a_case_to_which_the_metric_does_not_apply_has_none():
    case = Case(id="u", question="?", unanswerable=True)
    assert score("pass^2:correct", answers("x", "y"), case) == (None, None)
