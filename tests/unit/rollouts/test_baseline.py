"""What was known of stable: figures only from enough requests, and unchanged by storing."""

import json

import pytest
from tests.served import served_request

from shipway.rollouts.baseline import Baseline, Figures, baseline_of, known_bad_rate

NOW_S = 10_000.0


def records(count, **fields):
    return [
        served_request(f"c{n}", at_s=NOW_S - count + n, latency_ms=float(n + 1), cost_usd=0.001 * n, **fields)
        for n in range(count)
    ]


def known(items, **options):
    return baseline_of(items, release="rel", bad_events=("error",), now_s=NOW_S, **options)


def test_a_figure_from_too_few_requests_is_unknown_and_never_zero():
    figures = known(records(99)).total
    assert (figures.requests, figures.failures) == (99, 0)
    assert [figures.error_rate, figures.bad_rate, figures.latency_ms, figures.cost_p95_usd] == [None] * 4
    assert (figures.quantile("latency_ms", 0.95), figures.bad_rate_upper) == (None, None)


def test_enough_requests_give_every_figure_but_those_nobody_measured():
    figures = known(records(100)).total
    assert (figures.error_rate, figures.bad_rate, figures.ttft_ms, figures.quality) == (0.0, 0.0, None, None)
    assert figures.latency_ms == (50.0, 90.0, 95.0, 99.0)
    assert figures.conversations_per_s == pytest.approx(1.0)
    # None of 100 may still be one of 22.
    assert figures.bad_rate_upper == pytest.approx(0.045, abs=0.001)


def test_a_conversation_is_bad_once():
    twice = [served_request("c", id=str(n), at_s=NOW_S - 1.0, events=("error",)) for n in range(100)]
    assert (known(twice).total.conversations, known(twice).total.bad_conversations) == (1, 1)


def test_each_route_has_its_own_figures():
    both = [*records(150), *records(30, route="other")]
    baseline = known(both)
    assert baseline.route("ask").latency_ms is not None
    assert baseline.route("other").latency_ms is None
    assert baseline.route("never heard of") == Figures()


def test_a_baseline_survives_its_json_form():
    baseline = known(records(120, ttft_ms=5.0), qualities={"ask": [0.5] * 100})
    assert Baseline.from_dict(json.loads(json.dumps(baseline.to_dict()))) == baseline


def test_quantiles_are_those_of_the_next_larger_kept_one():
    figures = known(records(100)).total
    assert (figures.quantile("latency_ms", 0.93), figures.quantile("latency_ms", 0.999)) == (95.0, 99.0)


def test_the_known_rate_is_the_highest_that_any_source_allows():
    assert known_bad_rate(None, [(0, 99)]) is None
    alone = known_bad_rate(None, [(5, 1000)])
    assert alone == pytest.approx(0.0151, abs=0.0001)
    assert known_bad_rate(known(records(100)), [(5, 1000)]) > alone
    assert known_bad_rate(None, [(0, 10**6)]) == 0.001
    assert known_bad_rate(None, [(100, 100)]) == 0.9
