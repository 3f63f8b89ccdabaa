"""Limits: kept, broken, or within the interval; and a generator that was late."""

import pytest
from tests.unit.load.made import sample

from shipway.core.verdicts import Verdict
from shipway.load.judging import Usage, checks, confidence_of_each, late
from shipway.load.plan import DEFAULT_LIMITS, Limits
from shipway.load.summary import figures


def judged(limits, samples, usage=None):
    limits = limits if isinstance(limits, Limits) else Limits(limits)
    found = figures(samples, 60.0, confidence_of_each(limits))
    return {check.name: check for check in checks(limits, found, usage or Usage())}


def times(count, latency_ms=10.0):
    return [sample(latency_ms + number / count) for number in range(count)]


def test_a_percentile_whose_interval_lies_below_the_limit_passes():
    check = judged({"p99_ms": 50}, times(1000))["p99_ms"]

    assert check.verdict is Verdict.PASS
    assert check.low <= check.value <= check.high <= 50


def test_a_percentile_whose_interval_lies_above_the_limit_fails():
    assert judged({"p50_ms": 5}, times(1000))["p50_ms"].verdict is Verdict.FAIL


def test_a_limit_within_the_interval_is_inconclusive():
    check = judged({"p50_ms": 10.5}, times(1000))["p50_ms"]

    assert check.verdict is Verdict.INCONCLUSIVE
    assert "within the interval" in check.message


def test_too_few_answers_cannot_pass_a_high_percentile_and_say_how_many_are_needed():
    check = judged({"p99_ms": 5000}, times(100))["p99_ms"]

    assert check.verdict is Verdict.INCONCLUSIVE
    assert check.message == "too few answers for an upper bound; it takes 368"


@pytest.mark.parametrize(
    ("errors", "of", "verdict"),
    [
        (0, 100, Verdict.INCONCLUSIVE),
        (0, 1000, Verdict.PASS),
        (9, 1000, Verdict.INCONCLUSIVE),
        (40, 1000, Verdict.FAIL),
    ],
)
def test_an_error_rate_is_judged_by_its_exact_interval(errors, of, verdict):
    samples = [*times(of - errors), *(sample(error="status 500") for _ in range(errors))]

    assert judged({"error_rate": 0.01}, samples)["error_rate"].verdict is verdict


def test_what_was_not_measured_is_left_out_of_the_default_limits():
    assert set(judged(DEFAULT_LIMITS, times(1000))) == {"error_rate", "p50_ms", "p99_ms"}


def test_what_was_asked_for_and_not_measured_is_no_data():
    found = judged({"cpu": 0.8, "ttft_p99_ms": 100}, times(1000), Usage(reason="not on this machine"))

    assert {check.verdict for check in found.values()} == {Verdict.NO_DATA}
    assert found["cpu"].message == "not measured: not on this machine"
    assert found["ttft_p99_ms"].message == "no answer was streamed"


def test_use_of_the_machine_is_compared_with_its_limit():
    found = judged({"cpu": 0.8, "memory": 0.8}, times(10), Usage(cpu=0.9, memory=0.1))

    assert (found["cpu"].verdict, found["memory"].verdict) == (Verdict.FAIL, Verdict.PASS)


def test_intervals_hold_together():
    assert confidence_of_each(Limits({"p50_ms": 1, "p99_ms": 1, "cpu": 1})) == pytest.approx(0.975)


def test_a_single_late_request_is_no_fault_of_the_generator():
    assert late([*times(100), sample(lag_ms=500)]) == (1, "")


def test_many_late_requests_leave_nothing_to_judge():
    count, said = late([*times(100), *(sample(lag_ms=500) for _ in range(5))])

    assert count == 5
    assert "could not keep up: 5 of 105" in said
