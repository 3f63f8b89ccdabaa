"""A printed plan says how long it takes, and which limit comes before the evidence, with the numbers."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shipway.core.snapshot import Segment
from shipway.rollouts.calendar import opens_in_s
from shipway.rollouts.plan import Plan, Step, pairs_needed
from shipway.rollouts.plan_check import problems, warnings
from shipway.rollouts.plan_text import printable

SHORT = Plan(steps=(Step(0.5, 0, 1.0, 4.0), Step(1.0)), deadline_s=86_400.0)
SHADOW = Plan(steps=(Step(0.0, 0, 1.0, shadow=0.1, min_pairs=5), Step(1.0, traffic=False, prove=False)))


def warned(lines):
    return [line for line in lines if line.startswith("warning: ")]


def test_a_time_limit_that_comes_before_the_evidence_is_warned_about_and_no_promotion_is_promised():
    lines = printable(SHORT, conversations_per_s=2.0)

    assert warned(lines) == [
        (
            "warning: step 1: max_s = 4 is shorter than its evidence needs: about 158 conversations take 80 s at"
            " 2 conversations a second"
        )
    ]
    assert any(line.endswith("about 80 s, but it ends after max_s = 4") for line in lines)
    assert not any(line.startswith("healthy candidate") for line in lines)


def test_without_known_traffic_the_limit_is_told_with_the_traffic_that_it_takes():
    (told,) = warned(printable(SHORT))
    assert "max_s = 4 is enough only from 52.7 conversations a second on, for about 158 conversations" in told
    assert warned(printable(replace(SHORT, steps=(Step(0.5, 0, 1.0, 4000.0), Step(1.0))))) == []


def test_many_conversations_wanted_in_a_short_step_are_warned_about():
    plan = replace(SHORT, steps=(Step(0.1, 100_000, 1.0, 2.0, prove=False), Step(0.5), Step(1.0)))
    assert "step 1: max_s = 2 is shorter" in warned(printable(plan, conversations_per_s=2.0))[0]
    assert "about 100000 conversations" in warned(printable(plan))[0]


def test_a_deadline_before_the_evidence_is_warned_about_also_without_known_traffic():
    plan = Plan(steps=(Step(0.5), Step(1.0)), deadline_s=20.0)
    told = warned(printable(plan, conversations_per_s=2.0))[0]
    assert "deadline_s: 20 comes before the evidence, which takes 79 s at 2 conversations a second" in told
    assert "deadline_s: 20 is enough only from 7.9 conversations a second on" in warned(printable(plan))[0]


def test_a_plan_without_numbers_of_the_users_own_has_nothing_to_be_warned_about():
    plan = Plan(steps=(Step(0.1, 0, 60.0), Step(0.5, 0, 60.0), Step(1.0, 0, 60.0)), deadline_s=86_400.0)
    assert warnings(plan) == []
    assert warned(printable(plan, conversations_per_s=2.0)) == []


def test_a_step_of_copies_says_how_many_pairs_its_proof_takes_and_how_long_they_come_in():
    lines = printable(SHADOW, conversations_per_s=2.0)
    assert pairs_needed(SHADOW) == 116
    step = next(line for line in lines if line.startswith("step 1:"))
    assert "until they show no harm (about 116 pairs of equally good answers)" in step
    assert step.endswith("about 9.67 min")
    assert "promoted in about 9.67 min" in lines[-1]


def test_more_pairs_than_come_in_time_are_warned_about():
    few = replace(SHADOW, steps=(Step(0.0, 0, 1.0, 5.0, shadow=0.01, min_pairs=100_000), SHADOW.steps[1]))
    told = warned(printable(few, conversations_per_s=2.0))[0]
    assert "step 1: max_s = 5 is shorter than its evidence needs: about 100000 compared pairs take 5000000 s" in told


def test_the_wait_for_a_window_is_part_of_the_time():
    monday_s = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
    plan = Plan(steps=(Step(0.5, windows=("Fri 12:00-14:00",)), Step(1.0)), deadline_s=3600.0)

    lines = printable(plan, conversations_per_s=2.0, now_s=monday_s)

    assert lines[-1] == "healthy candidate promoted in about 4 days, of which 4 days are waits for a window"
    assert opens_in_s(("Fri 12:00-14:00",), "UTC", monday_s) == 4 * 86_400.0
    assert opens_in_s(("Mon 12:00-14:00",), "UTC", monday_s) == 0.0


def test_the_time_that_people_take_is_not_left_out():
    plan = Plan(steps=(Step(0.5, approval=True), Step(1.0)), deadline_s=3600.0)
    assert printable(plan, conversations_per_s=2.0)[-1].endswith(", and what people take to approve")


@pytest.mark.parametrize("segments", [(), (Segment(tenants=("beta",)),)])
def test_a_flag_is_never_said_to_be_promoted_by_itself(segments):
    plan = Plan(steps=(Step(0.5), Step(1.0)), strategy="flag", segments=segments, deadline_s=3600.0)
    lines = printable(plan, conversations_per_s=2.0)
    assert any(line.startswith("it stays at the last step until `shipway rollout promote`") for line in lines)
    assert not any("promoted in" in line for line in lines)
    if segments:
        assert "no ETA: how much of the traffic comes from these callers is not known" in lines


def test_a_proof_that_a_step_cannot_give_is_a_problem_and_not_an_arithmetic_error():
    copies = replace(SHADOW, steps=(replace(SHADOW.steps[0], prove=True), SHADOW.steps[1]))
    assert problems(copies) == []
    assert printable(copies, conversations_per_s=2.0)
    everybody = Plan(steps=(Step(0.5), Step(1.0, prove=True)))
    assert any(line.startswith("steps[1].prove: with everybody on the candidate") for line in problems(everybody))
    route = Plan(steps=(Step(0.0, traffic=False, prove=True, routes=(("ask", 0.2),)), Step(1.0)))
    assert problems(route) == []
    assert printable(route, conversations_per_s=2.0)
    copied = replace(copies, metrics=())
    assert any(line.startswith("steps[0].shadow: no metric of kind pair is on") for line in problems(copied))


def test_pairs_that_a_step_with_users_does_not_wait_for_are_told_as_that():
    plan = Plan(steps=(Step(0.5, shadow=0.1, min_pairs=50), Step(1.0)), deadline_s=3600.0)
    lines = printable(plan)
    assert any("step 1: min_pairs counts only where nobody gets the candidate" in line for line in warned(lines))
    assert not any("compared pairs" in line for line in lines)


def test_what_needs_no_traffic_is_estimated_without_it():
    plan = Plan(steps=(Step(0.0, traffic=False), Step(1.0, 0, 90.0, traffic=False, prove=False)), strategy="blue-green")
    assert "healthy candidate promoted in about 90 s" in printable(plan)
