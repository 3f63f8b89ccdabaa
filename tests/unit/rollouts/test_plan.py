"""Plans that cannot run are refused with the key and the value; what a plan needs is printed."""

from dataclasses import replace

import pytest

from shipway.core.snapshot import Segment
from shipway.rollouts.plan import Guardrails, Plan, Step, harmless_needed, settle_s
from shipway.rollouts.plan_check import problems, warnings
from shipway.rollouts.plan_text import printable

GOOD = Plan(steps=(Step(0.1, 30), Step(0.5, 60), Step(1.0)), deadline_s=3600.0)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"steps": ()}, "steps: the list is empty"),
        ({"steps": (Step(0.5), Step(0.1), Step(1.0))}, "steps[1].weight: 0.1 does not rise above 0.5"),
        ({"steps": (Step(0.5), Step(0.5), Step(1.0))}, "steps[1].weight: 0.5 does not rise"),
        ({"steps": (Step(0.0), Step(1.0))}, "steps[0].weight: 0 is nobody; such a step needs `shadow`"),
        ({"steps": (Step(1e-320), Step(1.0))}, "steps[0].weight: 1e-320 is less than one conversation in a million"),
        ({"events": ("errr",)}, "events: 'errr': nothing records them, so nothing could ever count; known are error"),
        ({"steps": (Step(10), Step(1.0))}, "steps[0].weight: 10 is not in (0, 1]"),
        ({"steps": (Step(float("nan")), Step(1.0))}, "steps[0].weight: nan"),
        ({"steps": (Step(0.5),)}, "steps[0].weight: the last step must be 1, not 0.5"),
        ({"steps": (Step(1.0, -1),)}, "steps[0].min_conversations: -1 is negative"),
        ({"steps": (Step(1.0, 0, -1.0),)}, "steps[0].min_bake_s: -1.0"),
        ({"steps": (Step(1.0, 0, 9.0, 8.0),)}, "steps[0].max_s: 8.0 ends the step before min_bake_s = 9.0"),
        ({"steps": tuple(Step(n / 30) for n in range(1, 31))}, "30 steps; use at most 20"),
        ({"strategy": "magic"}, "strategy: 'magic' is unknown; use one of canary"),
        ({"on_harm": "pray"}, "on_harm: 'pray' is unknown; use one of rollback, freeze"),
        ({"timezone": "Mars/Olympus"}, "timezone: 'Mars/Olympus' is unknown"),
        ({"segments": (Segment(tenants=("a",)),)}, "segments: only the strategy flag has segments, not canary"),
        ({"strategy": "flag", "segments": (Segment(),)}, "segments[0]: it names no tenant, group or key"),
        ({"steps": (Step(0.5, windows=("noon",)), Step(1.0))}, "steps[0].windows[0]: 'noon' is no window"),
        ({"steps": (Step(0.5, shadow=2.0), Step(1.0))}, "steps[0].shadow: 2.0 is not in [0, 1]"),
        ({"steps": (Step(0.5, min_pairs=5), Step(1.0))}, "steps[0].min_pairs: 5 pairs without copies"),
        ({"steps": (Step(0.5, routes=(("a", 0.6),)), Step(0.55), Step(1.0))}, "takes route 'a' down from 0.6"),
        ({"steps": (Step(0.5, routes=(("a", 0.2), ("a", 0.3))), Step(1.0))}, "steps[0].routes: 'a' is there twice"),
        ({"steps": (Step(0.5), Step(1.0, routes=(("a", 0.9),)))}, "steps[1].weight: the last step must be 1"),
        ({"deadline_s": 10.0, "steps": (Step(0.5, 0, 8.0), Step(1.0, 0, 8.0))}, "deadline_s: 10 comes before"),
        ({"on_no_data": "pass"}, "on_no_data: 'pass' is unknown"),
        ({"events": ()}, "events: the list is empty"),
        ({"alpha": 1.0}, "alpha: 1.0 is not between 0 and 1"),
        ({"promote_alpha": 0.0}, "promote_alpha: 0.0"),
        ({"harm_ratio": 1.0}, "harm_ratio: 1.0 must exceed 1"),
        ({"harmless_rate": 0.0}, "harmless_rate: 0.0 is not between 0 and 1"),
        ({"harmless_rate": 1.0}, "harmless_rate: 1.0 is not between 0 and 1"),
        ({"dead_man_s": 0.0}, "dead_man_s: 0.0"),
        ({"deadline_s": -5.0}, "deadline_s: -5.0"),
        ({"guardrails": Guardrails(max_error_rate=5.0)}, "guardrails.max_error_rate: 5.0"),
        ({"guardrails": Guardrails(min_samples=0)}, "guardrails.min_samples: 0"),
    ],
)
def test_an_impossible_plan_is_refused_with_key_and_value(changes, problem):
    found = problems(replace(GOOD, **changes))
    assert any(problem in line for line in found), found


def test_a_step_may_name_only_routes_of_the_release():
    plan = replace(GOOD, steps=(Step(0.1, routes=(("chat", 0.05),)), Step(1.0)))
    assert problems(plan, routes=["chat"]) == []
    assert problems(plan, routes=["ask"]) == ["steps[0].routes.chat: no such route in the release; it has ask"]


def test_the_default_plan_has_no_problem():
    assert problems(Plan()) == []
    assert problems(GOOD) == []


def test_a_step_shorter_than_its_evidence_is_warned_about_with_the_numbers():
    short = replace(GOOD, steps=(Step(0.1, 5), Step(0.5, 10), Step(1.0)))
    both = "about 26 bad conversations at 50%, or about 79 conversations of the candidate without a bad one;"
    assert any(f"{both} min_conversations = 10 is less" in line for line in warnings(short))
    relative = replace(short, harmless_rate=None)
    assert any("takes about 21 bad conversations at 50%; min_conversations" in line for line in warnings(relative))
    assert warnings(GOOD) == []


def test_a_wait_without_an_end_and_a_switch_without_a_stable_arm_are_warned_about():
    assert any("neither max_s nor deadline_s" in line for line in warnings(replace(GOOD, deadline_s=None)))
    assert any("no stable arm" in line for line in warnings(replace(GOOD, steps=(Step(1.0),))))


def test_smoke_checks_that_no_step_asks_are_warned_about():
    named = replace(GOOD, smoke_file="evals/smoke.yaml")
    assert "smoke_file: no step asks evals/smoke.yaml" in warnings(named)[0]
    asked = replace(named, steps=(replace(GOOD.steps[0], smoke=True), *GOOD.steps[1:]))
    assert warnings(asked) == []


def step_line(lines):
    return next(line for line in lines if line.startswith("step 2:"))


def test_the_printed_plan_says_how_long_it_takes_at_a_traffic():
    lines = printable(GOOD, conversations_per_s=2.0, bad_rate=0.2)
    # 26 bad conversations at 20 % are 130, at 2 a second 65 s; the first step's 30 take 15 s.
    assert "step 1: 10% of conversations, at least 30 of them and 0 s, about 15 s" in lines
    assert step_line(lines).endswith(
        "until 3 times stable's rate is ruled out (about 26 bad conversations) or the candidate's rate is shown to be"
        " below 5.00% (about 79 of its conversations without a bad one), about 65 s"
    )
    assert lines[-1] == "healthy candidate promoted in about 80 s"
    assert printable(GOOD)[-1] == "no ETA: traffic is not known"


def test_without_bad_conversations_the_printed_time_is_that_of_the_absolute_way():
    # 79 of the candidate's at 50 % are 158 conversations, at 2 a second 79 s.
    assert step_line(printable(GOOD, conversations_per_s=2.0)).endswith("about 79 s")


def test_a_plan_without_the_absolute_way_prints_the_relative_one_alone():
    lines = printable(replace(GOOD, harmless_rate=None), conversations_per_s=2.0, bad_rate=0.2)
    assert step_line(lines).endswith(
        "until 3 times stable's rate is ruled out (about 21 bad conversations), about 52 s"
    )


def test_at_a_rate_over_the_harmless_one_the_absolute_way_has_no_number():
    assert harmless_needed(GOOD) == 79
    assert harmless_needed(GOOD, bad_rate=0.01) > 79
    assert harmless_needed(GOOD, bad_rate=0.05) is None
    assert harmless_needed(replace(GOOD, harmless_rate=None)) is None


def test_a_conversation_is_good_only_after_the_bake_time_of_the_step_that_proves_no_harm():
    assert settle_s(Plan(steps=(Step(0.1, 0, 7.0), Step(0.5, 0, 60.0), Step(1.0, 0, 5.0)))) == 60.0
    assert settle_s(Plan(steps=(Step(1.0, 0, 5.0),))) == 0.0


def test_a_stored_plan_of_before_the_absolute_way_goes_on_without_it():
    old = GOOD.to_dict()
    del old["harmless_rate"]
    assert Plan.from_dict(old) == replace(GOOD, harmless_rate=None)


def test_a_plan_survives_its_json_form():
    assert Plan.from_dict(GOOD.to_dict()) == GOOD
