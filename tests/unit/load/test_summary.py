"""Figures: which latencies count, and what errors do to them."""

import pytest
from tests.unit.load.made import sample

from shipway.load.sample import Outcome, Sample
from shipway.load.summary import figures

CONFIDENCE = 0.95


def test_latency_counts_from_when_a_request_was_due_and_not_from_when_it_was_sent():
    found = figures([sample(1000, lag_ms=900)], 1.0, CONFIDENCE)

    assert found.quantiles["p50_ms"].value == pytest.approx(1000)
    assert found.service_p99_ms == pytest.approx(100)


def test_errors_that_came_fast_do_not_make_the_latencies_better():
    found = figures(
        [*(sample(100) for _ in range(5)), *(sample(1, error="status 500") for _ in range(95))], 1, CONFIDENCE
    )

    assert found.quantiles["p50_ms"].value == pytest.approx(100)
    assert (found.errors, found.error_rate.value) == (95, 0.95)


def test_what_timed_out_took_at_least_so_long():
    slow = [sample(60_000, error="no whole answer", is_timeout=True) for _ in range(10)]

    found = figures([*(sample(100) for _ in range(90)), *slow], 1, CONFIDENCE)

    assert found.quantiles["p95_ms"].value == pytest.approx(60_000)
    assert found.timeouts == 10


def test_a_stream_that_timed_out_before_its_first_piece_counts_in_the_time_to_it():
    given_up = Sample("q", 0, 0.0, 0.0, Outcome(60.0, error="late", is_timeout=True), is_stream=True)

    assert figures([given_up], 1, CONFIDENCE).quantiles["ttft_p50_ms"].value == pytest.approx(60_000)


def test_broken_streams_and_reasons_are_counted():
    broken = [
        sample(error="cut", is_broken_stream=True),
        sample(error="cut", is_broken_stream=True),
        sample(error="no"),
    ]

    found = figures([*broken, sample()], 2.0, CONFIDENCE)

    assert (found.broken_streams, dict(found.reasons), found.per_s) == (2, {"cut": 2, "no": 1}, 2.0)


def test_tokens_and_gaps_are_those_of_answers_that_tell_them():
    told = [sample(tokens=30, first_s=0.005, mean_gap_s=0.02, longest_gap_s=0.5), sample(tokens=10), sample()]

    found = figures(told, 4.0, CONFIDENCE)

    assert (found.tokens_per_s, found.longest_gap_ms) == (10.0, 500.0)
    assert found.quantiles["token_gap_p50_ms"].value == pytest.approx(20)
    assert found.quantiles["ttft_p50_ms"].value == pytest.approx(5)


def test_nothing_has_no_figures():
    found = figures([], 1.0, CONFIDENCE)

    assert (found.requests, found.error_rate, dict(found.quantiles), found.longest_ms) == (0, None, {}, None)
