import dataclasses
import random

import pytest

from shipway.core.verdicts import Verdict
from shipway.evals.gate_spec import NonRegressionGate, parse_gates
from shipway.evals.gates import evaluate_gates
from shipway.evals.metrics import METRICS
from shipway.evals.model_update import cost_row
from shipway.evals.sample import draw

ENTRIES = [
    {"metric": "correct", "min": 0.3},
    {"metric": "correct", "min": 0.3, "tags": ["a"]},
    {"metric": "mrr", "non_regression": 0.15},
    {"metric": "tenant_leak", "zero_tolerance": True},
    {"model_update": True, "reason": "a new model"},
]


def test_a_model_update_compares_every_metric_with_a_limit_once():
    specs = parse_gates(ENTRIES)
    compared = [spec for spec in specs if isinstance(spec, NonRegressionGate)]
    assert len(specs) == 5
    assert [(spec.metric, spec.delta, spec.model_update) for spec in compared] == [
        ("mrr", 0.15, True),
        ("correct", "auto", True),
    ]
    assert compared[1].reason == "a new model"


def priced(run, costs):
    results = tuple(
        dataclasses.replace(result, scores={**result.scores, "cost_usd": cost})
        for result, cost in zip(run.results, costs, strict=True)
    )
    return dataclasses.replace(run, results=results)


def test_a_model_update_states_what_it_costs_and_blocks_nothing_by_it(run_of):
    before = priced(run_of([1.0] * 60), [0.010 + index % 5 / 1000 for index in range(60)])
    after = priced(run_of([1.0] * 60), [0.015 + index % 5 / 1000 for index in range(60)])
    gates = parse_gates([{"metric": "correct", "min": 0.3}, {"model_update": True}])
    report = evaluate_gates(gates, after, before)
    cost = report.rows[-1]
    assert report.verdict is Verdict.PASS
    assert (cost.kind, cost.verdict, cost.value, cost.baseline_value) == ("cost", None, 0.017, 0.012)
    assert cost.message.startswith("+41.7% an answer (+")
    assert cost.interval[0] < 17 / 12 < cost.interval[1]
    assert evaluate_gates(gates[:1], after, before).rows[-1].kind == "threshold"


def test_the_interval_of_the_cost_ratio_holds_the_true_one_as_often_as_it_says(run_of):
    rng, metric, held = random.Random(3), METRICS["cost_usd"], 0
    for _ in range(120):
        sizes = [rng.lognormvariate(0, 0.6) for _ in range(40)]
        arms = [
            draw(run_of([size * factor * rng.lognormvariate(0, 0.2) for size in sizes], metric="cost_usd"), metric)
            for factor in (1.2, 1.0)
        ]
        low, high = cost_row(arms[0], arms[1], metric, 0.05).interval
        held += low <= 1.2 <= high
    assert 106 <= held <= 119


@pytest.mark.parametrize(
    ("new", "old", "said"), [(0.1, 0.0, "the baseline cost nothing"), (0.0, 0.1, "the candidate costs nothing")]
)
def test_what_costs_nothing_has_no_ratio(run_of, new, old, said):
    metric = METRICS["cost_usd"]
    row = cost_row(*(draw(run_of([cost] * 5, metric="cost_usd"), metric) for cost in (new, old)), metric, 0.05)
    assert (row.message, row.interval) == (said, None)


def test_without_a_priced_case_there_is_no_row(run_of):
    metric = METRICS["cost_usd"]
    free = draw(run_of([None] * 5, metric="cost_usd"), metric)
    assert cost_row(free, free, metric, 0.05) is None
