"""The last hour in slots: what is added is found again, what is old is gone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.rollouts.windows import (
    FAILURES,
    REQUESTS,
    SLOT_S,
    SLOTS,
    ArmWindow,
    Windows,
    WindowsFolding,
    bucket_ms,
    latency_bucket,
)


def filled(times, *, start=None, is_candidate=True, latency_ms=10.0):
    folding = WindowsFolding(start or Windows())
    for at_s in times:
        arm = folding.arm(at_s, is_candidate=is_candidate)
        if arm is not None:
            arm.counts[REQUESTS] += 1
            arm.latency(latency_ms)
    return folding.result()


def test_a_window_counts_its_slots_and_arms_alone():
    windows = filled([0.0, 100.0, 290.0], start=filled([100.0], is_candidate=False))
    candidate, stable = windows.arms(300.0, 300.0)
    assert (candidate.requests, stable.requests) == (3, 1)
    candidate, stable = windows.arms(400.0, 300.0)
    assert (candidate.requests, stable.requests) == (1, 0)
    assert windows.arms(10_000.0, 300.0) == (ArmWindow(), ArmWindow())


def test_more_than_an_hour_is_never_kept_and_a_straggler_from_before_is_not_counted():
    windows = filled([n * SLOT_S for n in range(3 * SLOTS)])
    assert len(windows.slots) == SLOTS
    again = filled([0.0], start=windows)
    assert again == windows


@given(st.lists(st.tuples(st.floats(0.0, 20_000.0), st.booleans()), max_size=60), st.integers(0, 60))
def test_folding_in_two_parts_through_the_stored_form_is_folding_at_once(items, cut):
    def fold(part, start):
        folding = WindowsFolding(start)
        for at_s, is_candidate in part:
            arm = folding.arm(at_s, is_candidate=is_candidate)
            if arm is not None:
                arm.counts[FAILURES] += 1
                arm.latency(at_s)
        return folding.result()

    first = Windows.from_list(json.loads(json.dumps(fold(items[:cut], Windows()).to_list())))
    assert fold(items[cut:], first) == fold(items, Windows())


@given(st.floats(1.0, 1e7))
def test_the_histogram_is_right_to_an_eighth(latency_ms):
    assert bucket_ms(latency_bucket(latency_ms)) == pytest.approx(latency_ms, rel=0.13)


def test_quantiles_come_from_the_histogram():
    window = ArmWindow(latencies=((latency_bucket(10.0), 98), (latency_bucket(900.0), 2)))
    assert window.quantile_ms(0.5) == pytest.approx(10.0, rel=0.13)
    assert window.quantile_ms(0.99) == pytest.approx(900.0, rel=0.13)
    assert ArmWindow().quantile_ms(0.99) is None
