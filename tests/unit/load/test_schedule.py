"""Due times: decided beforehand, of the right number, and independent of what becomes of requests."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.load.plan import Arrivals, Stage
from shipway.load.schedule import UserSpan, due_times, stage_at, user_spans

STAGES = st.lists(
    st.builds(Stage, st.floats(0.5, 50), st.floats(0, 40), st.floats(0, 40)), min_size=1, max_size=4
).filter(lambda stages: max(max(stage.start, stage.end) for stage in stages) > 0)


def constant(*stages, most=100_000):
    return due_times(stages, Arrivals.CONSTANT, random.Random(1), most)


def test_a_constant_rate_is_due_at_even_steps():
    assert constant(Stage(2.5, 2, 2)) == pytest.approx([0.5, 1.0, 1.5, 2.0])


def test_a_rising_rate_is_due_ever_more_often():
    due = constant(Stage(10, 0, 10))

    steps = [later - earlier for earlier, later in pairwise(due)]
    assert len(due) == pytest.approx(50, abs=1)
    assert steps == sorted(steps, reverse=True)


def test_stages_follow_one_another_without_a_gap():
    due = constant(Stage(5, 2, 2), Stage(5, 4, 4))

    assert [sum(at < 5 for at in due), sum(at >= 5 for at in due)] == [9, 20]


def test_a_stage_of_nothing_asks_nothing():
    due = constant(Stage(5, 2, 2), Stage(60, 0, 0), Stage(5, 2, 2))

    assert not [at for at in due if 5.01 < at < 64.99]


def test_poisson_arrivals_have_the_mean_and_the_spread_of_their_rate():
    due = due_times([Stage(1000, 20, 20)], Arrivals.POISSON, random.Random(3), 100_000)

    counts = [0] * 1000
    for at in due:
        counts[int(at)] += 1
    mean = sum(counts) / 1000
    variance = sum((count - mean) ** 2 for count in counts) / 999
    assert mean == pytest.approx(20, rel=0.05)
    assert variance / mean == pytest.approx(1.0, abs=0.2)


def test_the_same_seed_asks_at_the_same_times():
    made = [due_times([Stage(10, 5, 5)], Arrivals.POISSON, random.Random(9), 1000) for _ in range(2)]

    assert made[0] == made[1]


def test_there_are_never_more_than_the_most():
    assert len(constant(Stage(1000, 100, 100), most=7)) == 7


@given(STAGES, st.sampled_from(Arrivals), st.integers(0, 2**32))
def test_due_times_are_in_order_and_within_the_stages(stages, arrivals, seed):
    due = due_times(stages, arrivals, random.Random(seed), 10_000)

    assert due == sorted(due)
    assert all(0 <= at <= sum(stage.duration_s for stage in stages) + 1e-6 for at in due)


@given(STAGES)
def test_a_constant_schedule_has_the_expected_number(stages):
    expected = sum(stage.duration_s * (stage.start + stage.end) / 2 for stage in stages)

    assert len(constant(*stages)) == pytest.approx(expected, abs=1.01)


def test_users_come_as_the_ramp_rises_and_leave_as_it_falls():
    spans = user_spans([Stage(10, 0, 2), Stage(5, 2, 2), Stage(10, 2, 0)])

    assert spans == [UserSpan(1, 5.0, 20.0), UserSpan(2, 10.0, 15.0)]


def test_the_default_ramp_begins_with_ten_and_ends_with_a_hundred():
    spans = user_spans([Stage(30, 10, 100), Stage(60, 100, 100)])

    assert len(spans) == 100
    assert sum(span.start_s == 0 for span in spans) == 10
    assert {span.end_s for span in spans} == {90.0}


@given(STAGES, st.floats(0, 1))
def test_as_many_users_are_there_as_the_level_says(stages, share):
    at_s = share * sum(stage.duration_s for stage in stages)
    began_s, level = 0.0, None
    for stage in stages:
        if began_s < at_s < began_s + stage.duration_s:
            level = stage.start + (stage.end - stage.start) * (at_s - began_s) / stage.duration_s
        began_s += stage.duration_s
    if level is None or abs(level - round(level)) < 1e-6:
        return

    assert sum(span.start_s <= at_s < span.end_s for span in user_spans(stages)) == int(level)


def test_a_time_belongs_to_its_stage_and_what_comes_after_to_the_last():
    stages = [Stage(5, 1, 1), Stage(5, 1, 1)]

    assert [stage_at(stages, at) for at in (0, 4.9, 5, 9.9, 20)] == [0, 0, 1, 1, 1]
