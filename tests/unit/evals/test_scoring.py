import math

import pytest

from shipway.core.errors import UsageError
from shipway.evals.metrics import METRICS, Metric, MetricContext
from shipway.evals.model import Attempt, Case, Dataset, Output
from shipway.evals.scoring import score_attempts

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


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_not_a_number_is_an_error(value):
    assert "not a number to average" in score(Output(answer="x"), metric_of(lambda *_: value)).errors["m"]


def test_an_attempt_at_an_unknown_case_is_refused():
    with pytest.raises(UsageError, match="case 'z', which dataset 'd' does not hold"):
        score_attempts([Attempt("z", 0, Output())], DATASET, MetricContext())
