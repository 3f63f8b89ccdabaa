"""Metrics: how alpha is divided, and which cannot work."""

import json
from dataclasses import asdict, replace

import pytest

from shipway.rollouts.metrics import BAD, DEFAULT_METRICS, MAX_METRICS, Metric, metric_problems, shares

NAMES = frozenset({BAD, *(metric.name for metric in DEFAULT_METRICS)})


def test_the_default_metrics_can_work_and_leave_most_to_the_bad_conversations():
    assert list(metric_problems(DEFAULT_METRICS)) == []
    assert shares(DEFAULT_METRICS, NAMES)[BAD] == pytest.approx(0.58)
    assert shares(DEFAULT_METRICS, NAMES - {"pairs", "judged_pairs"})[BAD] == pytest.approx(0.73)


@pytest.mark.parametrize("available", [NAMES, NAMES - {"latency"}, {BAD}, {"alone", "pairs"}, {"alone"}, set()])
def test_whatever_can_be_judged_the_shares_sum_to_one(available):
    assert sum(shares(DEFAULT_METRICS, available).values()) == pytest.approx(1.0)


def test_what_cannot_be_judged_gives_its_part_away():
    assert shares(DEFAULT_METRICS, NAMES - {"latency", "ttft"})[BAD] == pytest.approx(0.7)
    assert shares(DEFAULT_METRICS, {"alone"}) == {BAD: 0.0, "alone": 1.0}
    assert shares((), {BAD}) == {BAD: 1.0}


@pytest.mark.parametrize("metric", DEFAULT_METRICS, ids=lambda metric: metric.name)
def test_a_metric_survives_its_json_form(metric):
    assert Metric.from_dict(json.loads(json.dumps(asdict(metric)))) == metric


GOOD = Metric("refused", "event", 0.1, events=("refusal",))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"kind": "median"}, "metrics.refused.kind: 'median' is unknown"),
        ({"share": 0.0}, "metrics.refused.share: 0.0 is not between 0 and 1"),
        ({"events": ()}, "metrics.refused.events: the list is empty"),
        ({"ratio": 0.5}, "metrics.refused.ratio: 0.5 must be at least 1"),
        ({"of": "cost_usd"}, "metrics.refused.of: 'cost_usd' is nothing that event can measure; use nothing"),
        ({"kind": "slower"}, "metrics.refused.of: '' is nothing that slower can measure; use latency_ms, ttft_ms"),
        ({"kind": "slower", "of": "ttft_ms", "quantile": 1.0}, "metrics.refused.quantile: 1.0"),
        ({"kind": "over", "of": "cost_usd"}, "metrics.refused.limit: 0.0 must be a number above 0"),
        ({"kind": "mean", "of": "cost_usd", "margin": -0.1}, "metrics.refused.margin: -0.1 is no margin"),
        ({"kind": "score", "of": "quality", "margin": 1.0}, "metrics.refused.margin: 1.0 is no margin"),
        ({"kind": "pair", "of": "pair", "tolerance": 0.0}, "metrics.refused.tolerance: 0.0"),
        ({"name": BAD}, "metrics: 'bad' is what the plan's events are called"),
    ],
)
def test_a_metric_that_cannot_work_is_named_with_its_key_and_value(changes, found):
    problems = list(metric_problems([replace(GOOD, **changes)]))
    assert any(problem.startswith(found) for problem in problems), problems


def test_shares_that_leave_nothing_names_twice_and_too_many_metrics_are_refused():
    greedy = [replace(GOOD, share=0.6), replace(GOOD, name="other", share=0.4)]
    assert "the shares sum to 1" in "\n".join(metric_problems(greedy))
    assert "'refused' is there twice" in "\n".join(metric_problems([GOOD, GOOD]))
    many = [replace(GOOD, name=str(n), share=0.01) for n in range(MAX_METRICS + 1)]
    assert f"use at most {MAX_METRICS}" in "\n".join(metric_problems(many))
