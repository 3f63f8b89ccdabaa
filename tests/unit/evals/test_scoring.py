import math

import pytest

from shipway.config.credentials import NOT_REPEATED
from shipway.core.errors import UsageError
from shipway.evals import assertion_types, assertions
from shipway.evals.metric_names import resolve_metrics
from shipway.evals.metrics import METRICS, Metric, MetricContext
from shipway.evals.model import Attempt, Case, Dataset, Output
from shipway.evals.scoring import score_attempt, score_attempts, score_repeats

CASE = Case(id="a", question="?", must_contain=("30",))
DATASET = Dataset("d", (CASE,))


def score(output, metrics=METRICS):
    (result,) = score_attempts([Attempt("a", 0, output)], DATASET, MetricContext(), metrics)
    return result


def metric_of(compute):
    return {"m": Metric("m", compute, lambda _case: True, "higher", "mean", "answer")}


def test_a_failed_call_has_errors_for_what_applies_and_no_score_for_what_does_not():
    result = score(Output(error="timeout"))
    assert result.errors["correct"] == "timeout"
    assert "correct" not in result.scores
    assert result.scores["refused"] is None


def test_a_metric_that_raises_costs_its_own_score_only():
    def broken(_case, _output, _context):
        raise ZeroDivisionError("division by zero")

    result = score(Output(answer="30"), {**metric_of(broken), "correct": METRICS["correct"]})
    assert result.errors == {"m": "ZeroDivisionError: division by zero"}
    assert result.scores == {"correct": 1.0}


def test_what_shipway_itself_says_of_a_missing_score_is_said_without_the_name_of_a_class():
    def unknown(_case, _output, _context):
        raise UsageError("latency_ms was not measured by the target")

    assert score(Output(answer="30"), metric_of(unknown)).errors == {"m": "latency_ms was not measured by the target"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_a_number_is_an_error(value):
    assert "not a number to average" in score(Output(answer="x"), metric_of(lambda *_: value)).errors["m"]


def test_nan_is_a_missing_score():
    broken = metric_of(lambda _case, output, _context: math.nan if output.answer == "x" else 1.0)
    attempts = [Attempt("a", 0, Output(answer="x")), Attempt("a", 1, Output(answer="y"))]
    first, second = score_attempts(attempts, DATASET, MetricContext(), broken)
    assert "m" not in first.scores
    assert second.scores == {"m": 1.0}


def test_assertions_are_parsed_once_a_case_and_not_once_an_answer(monkeypatch):
    seen = []
    read = assertion_types.TYPES["icontains"].read
    counted = {
        "icontains": assertion_types.AssertionType(lambda entry, name: seen.append(entry) or read(entry, name)),
    }
    monkeypatch.setattr(assertions, "TYPES", {**assertion_types.TYPES, **counted})
    case = Case(id="a", question="?", assertions=({"type": "icontains", "value": "30"},))
    attempts = [Attempt("a", repeat, Output(answer="30")) for repeat in range(20)]

    results = score_attempts(attempts, Dataset("d", (case,)), MetricContext())

    assert [result.scores["assertions"] for result in results] == [1.0] * 20
    assert len(seen) == 1


def test_a_function_of_the_user_is_called_once_an_answer():
    called = []
    functions = {"app:f": lambda _case, output: called.append(output.answer) or True}
    case = Case(id="a", question="?", assertions=({"type": "python", "value": "app:f", "metric": "ours"},))
    attempts = [Attempt("a", 0, Output(answer="x")), Attempt("a", 1, Output(answer="y"))]
    metrics = resolve_metrics(["assertions", "assertion_score", "assert:ours"])

    results = score_attempts(attempts, Dataset("d", (case,)), MetricContext(functions=functions), metrics)

    assert [set(result.scores.values()) for result in results] == [{1.0}, {1.0}]
    assert called == ["x", "y"]


def test_an_entry_that_cannot_be_read_costs_the_score_of_its_own_case():
    bad = Case(id="b", question="?", assertions=({"type": "icontians", "value": "30"},))
    good = Case(id="g", question="?", assertions=({"type": "icontains", "value": "30"},))
    attempts = [Attempt("b", 0, Output(answer="30")), Attempt("g", 0, Output(answer="30"))]
    first, second = score_attempts(attempts, Dataset("d", (bad, good)), MetricContext())
    assert "did you mean 'icontains'" in first.errors["assertions"]
    assert second.scores["assertions"] == 1.0


def test_who_scores_one_attempt_at_a_time_adds_what_goes_over_repeats_at_the_end():
    metrics = resolve_metrics(["pass^2:correct", "determinism"])
    attempts = [Attempt("a", repeat, Output(answer=text)) for repeat, text in enumerate(("30", "14"))]
    single = [score_attempt(attempt, CASE, MetricContext(), metrics) for attempt in attempts]
    assert [dict(result.scores) for result in single] == [{"correct": 1.0}, {"correct": 0.0}]

    whole = score_repeats(CASE, single, metrics)

    assert [result.scores["pass^2:correct"] for result in whole] == [0.0, 0.0]
    assert tuple(whole) == score_attempts(attempts, DATASET, MetricContext(), metrics)


def test_results_keep_the_order_of_the_attempts():
    other = Case(id="b", question="?", must_contain=("30",))
    attempts = [Attempt(case, repeat, Output(answer=case)) for repeat in range(2) for case in ("a", "b")]
    metrics = resolve_metrics(["determinism"])
    results = score_attempts(attempts, Dataset("d", (CASE, other)), MetricContext(), metrics)
    assert [(result.case_id, result.repeat) for result in results] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_an_attempt_at_an_unknown_case_is_refused():
    with pytest.raises(UsageError, match="case 'z', which dataset 'd' does not hold"):
        score_attempts([Attempt("z", 0, Output())], DATASET, MetricContext())


def test_a_metric_that_fails_with_a_credential_in_its_words_does_not_spread_it():
    def broken(_case, _output, _context):
        raise ValueError("refused key sk-abcdefghijklmnop1234")

    assert score(Output(answer="30"), metric_of(broken)).errors == {"m": f"ValueError: {NOT_REPEATED}"}
