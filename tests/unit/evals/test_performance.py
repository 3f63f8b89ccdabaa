"""From single times to figures, and to a file and back."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.evals.performance import (
    Iteration,
    Measurement,
    PerformancePlan,
    Timing,
    as_json,
    differences,
    from_json,
    quantile,
    summarised,
)

MACHINE = {"machine": "x86_64", "system": "Linux", "cpus": 2}
PLAN = PerformancePlan((1, 2), 0, 2)


def measurement(plan=PLAN, machine=MACHINE, **timing):
    made = Timing(**{"total_ms": 10.0, "ttft_ms": 4.0, "tokens": 8, **timing})
    batches = {size: tuple(Iteration(0.5, (made,) * size) for _ in range(plan.iterations)) for size in plan.batch_sizes}
    return Measurement("http://a/v1#m", plan, machine, batches)


def test_errors_are_counted_apart_and_are_in_no_quantile():
    timings = (*(Timing(float(ms)) for ms in range(1, 10)), Timing(5000.0, error="late"))
    row = summarised(10, [Iteration(1.0, timings)])
    assert (row.requests, row.errors, row.p50_ms, row.p99_ms) == (10, 1, 5.0, 9.0)


def test_tokens_per_second_are_those_of_all_requests_in_flight_together():
    row = summarised(2, [Iteration(0.5, (Timing(1.0, tokens=10), Timing(1.0, tokens=20)))] * 2)
    assert row.tokens_per_s == 60.0


def test_tokens_are_unknown_as_soon_as_one_answer_does_not_count_them():
    assert summarised(2, [Iteration(0.5, (Timing(1.0, tokens=10), Timing(1.0)))]).tokens_per_s is None


def test_without_a_single_answer_there_is_no_figure():
    row = summarised(1, [Iteration(0.5, (Timing(error="down"),))])
    assert (row.p50_ms, row.p99_ms, row.ttft_p50_ms, row.tokens_per_s) == (None, None, None, None)


def test_a_99th_percentile_of_fewer_than_100_is_said_to_be_the_slowest():
    assert summarised(1, [Iteration(1.0, (Timing(1.0),))] * 99).is_p99_the_slowest
    assert not summarised(1, [Iteration(1.0, (Timing(1.0),))] * 100).is_p99_the_slowest


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_the_smallest_value_that_the_share_does_not_exceed(values, share):
    found = quantile(values, share)
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_a_quantile_of_nothing_is_nothing():
    assert quantile([], 0.5) is None


@pytest.mark.parametrize(
    "fields", [{"batch_sizes": ()}, {"batch_sizes": (0,)}, {"batch_sizes": (4, 4)}, {"iterations": 0}, {"warmups": -1}]
)
def test_a_plan_that_measures_nothing_is_refused(fields):
    with pytest.raises(UsageError):
        PerformancePlan(**fields)


def test_a_measurement_survives_its_file():
    measured = measurement()
    assert from_json(orjson.dumps(as_json(measured)), "a.json") == measured


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda body: body.pop("batches"), "a.json: no measurement of performance (KeyError: 'batches')"),
        (lambda body: body.update(schema=9), "a.json: written in form 9, this version reads 1"),
        (lambda body: body["batches"].pop(), "a.json: batches [1] are not those of its plan"),
        (
            lambda body: body["batches"][1]["iterations"][0]["requests"].pop(),
            "a.json: batch 2 has none, or one of another size",
        ),
        (lambda body: body["batches"][0].update(iterations=[]), "a.json: batch 1 has none, or one of another size"),
        (lambda body: body["batches"][0]["iterations"][0].update(elapsed_s=-1), "ValueError: -1 is no time"),
    ],
)
def test_a_file_that_is_no_measurement_is_refused(edit, said):
    body = orjson.loads(orjson.dumps(as_json(measurement())))
    edit(body)
    with pytest.raises(UsageError) as refused:
        from_json(orjson.dumps(body), "a.json")
    assert said in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"5", b'{"schema": 1}', b"NaN"])
def test_any_other_file_is_refused_too(data):
    with pytest.raises(UsageError, match=r"a\.json: no measurement of performance"):
        from_json(data, "a.json")


def test_another_plan_machine_or_many_errors_make_measurements_incomparable():
    assert differences(measurement(), measurement()) == []
    other = measurement(PerformancePlan((1, 2), 0, 2, stream=False), {**MACHINE, "cpus": 64}, error="late")
    assert differences(measurement(), other) == [
        "stream is True, that of the baseline False; measure both alike",
        "cpus is 2, that of the baseline 64: another machine says nothing of the target",
        "batch 1: 2 of 2 requests of the baseline's measurement failed; the times of the others are no fair sample",
        "batch 2: 4 of 4 requests of the baseline's measurement failed; the times of the others are no fair sample",
    ]


def test_reasons_say_how_often_each_error_came():
    assert measurement(error="late").reasons == {"late": 6}
