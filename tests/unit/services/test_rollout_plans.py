"""The `rollout` section, a plan file over it and the options of a deploy become one plan, or lines that say why not."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from shipway.config.sections.rollout import RolloutPlan
from shipway.config.yaml_source import Place
from shipway.core.errors import ConfigError, NotFoundError, UsageError
from shipway.rollouts.metrics import DEFAULT_METRICS
from shipway.rollouts.plan_check import problems
from shipway.rollouts.plan_text import printable
from shipway.services.rollout_plans import ChosenPlan, PlanChoice, chosen_plan, plan_of


def chosen_section(section, choice):
    return chosen_plan(ChosenPlan(section, {}), choice).section


def test_the_default_section_is_a_canary_of_four_steps():
    plan = plan_of(RolloutPlan())
    assert (plan.strategy, [step.weight for step in plan.steps]) == ("canary", [0.1, 0.25, 0.5, 1.0])
    assert plan.metrics == DEFAULT_METRICS
    assert problems(plan) == []


@pytest.mark.parametrize("strategy", ["canary", "blue-green", "shadow", "rolling", "flag", "swap"])
def test_every_strategy_by_its_name_alone_gives_a_plan_that_can_run_and_be_printed(strategy):
    plan = plan_of(chosen_section(RolloutPlan(), PlanChoice(strategy=strategy)))
    assert (plan.strategy, problems(plan)) == (strategy, [])
    assert printable(plan)[0].startswith(f"strategy {strategy};")


def test_a_candidate_may_take_as_long_to_start_as_the_section_says():
    assert plan_of(RolloutPlan.model_validate({"start_timeout_s": 7})).start_timeout_s == 7
    assert plan_of(RolloutPlan()).start_timeout_s == 120


def test_steps_of_one_strategy_are_not_taken_for_another():
    section = RolloutPlan.model_validate({"steps": [{"weight": 0.3}, {"weight": 1}], "bake_s": 7})
    plan = plan_of(chosen_section(section, PlanChoice(strategy="rolling")))
    assert [(step.weight, step.min_bake_s) for step in plan.steps] == [(0.25, 7), (0.5, 7), (0.75, 7), (1.0, 7)]


def test_a_plan_file_holds_over_the_project_for_this_deploy(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("strategy: blue-green\nsmoke: true\nkeep_s: 10\n")
    plan = plan_of(chosen_section(RolloutPlan.model_validate({"alpha": 0.02}), PlanChoice(file)))
    assert (plan.strategy, plan.alpha, plan.keep_s) == ("blue-green", 0.02, 10)
    assert [step.smoke for step in plan.steps] == [False, True]


def test_what_is_wrong_in_a_plan_file_is_told_with_its_line(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("rollout:\n  alpha: 2\n  steps:\n    - { weight: 0.1, colour: blue }\n")
    with pytest.raises(ConfigError) as raised:
        chosen_section(RolloutPlan(), PlanChoice(file))
    assert any("plan.yaml:2: rollout.alpha" in line for line in raised.value.problems)
    assert any("plan.yaml:4: rollout.steps[0].colour" in line for line in raised.value.problems)
    with pytest.raises(NotFoundError):
        chosen_section(RolloutPlan(), PlanChoice(tmp_path / "none.yaml"))


def test_keys_beside_the_section_of_a_plan_file_are_refused_with_their_lines(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("rollout:\n  alpha: 0.02\nkeep_s: 10\napp: chat\n")
    with pytest.raises(ConfigError) as raised:
        chosen_section(RolloutPlan(), PlanChoice(file))
    told = "stands beside `rollout`, which holds the plan"
    assert raised.value.problems == [f"{file}:3: keep_s: {told}", f"{file}:4: app: {told}"]


def test_an_unknown_strategy_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="'magic' is unknown; use one of canary, blue-green"):
        chosen_section(RolloutPlan(), PlanChoice(strategy="magic"))


def test_metrics_rules_and_watch_are_changed_by_name():
    section = RolloutPlan.model_validate(
        {
            "metrics": {
                "cost": None,
                "latency": {"ratio": 3},
                "refused": {"kind": "event", "events": ["abstained"], "share": 0.1},
            },
            "rules": {"error_rate": {"limit": 0.02}, "sure": 0},
            "watch": {"action": "rollback", "for_s": 60},
        }
    )
    plan = plan_of(section)
    named = {metric.name: metric for metric in plan.metrics}
    assert "cost" not in named
    assert (named["latency"].ratio, named["latency"].of) == (3, "latency_ms")
    assert named["refused"].events == ("abstained",)
    assert (plan.rules.error_rate.limit, plan.rules.error_rate.min_samples, plan.rules.sure) == (0.02, 100, 0)
    assert (plan.watch.action, plan.watch.for_s) == ("rollback", 60)
    assert problems(plan) == []


def test_shares_of_metrics_that_leave_nothing_are_a_problem():
    greedy = plan_of(RolloutPlan.model_validate({"metrics": {"latency": {"share": 0.95}}}))
    assert any("the shares sum to" in line for line in problems(greedy))


def test_where_a_key_was_written_is_known_over_the_plan_file(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("# september\nsteps:\n  - { weight: 0.1 }\n  - { weight: 1 }\n")
    places = {(*path,): Place("shipway.yaml", line) for line, path in enumerate(PROJECT_KEYS, 1)}
    section = RolloutPlan.model_validate({"steps": [{"weight": 0.2}, {"weight": 0.5}, {"weight": 1}], "alpha": 0.02})

    chosen = chosen_plan(ChosenPlan(section, places), PlanChoice(file))

    assert str(chosen.place(("steps", 1, "weight"))) == f"{file}:4"
    # The project's third step is gone.
    assert str(chosen.place(("steps", 2, "weight"))) == f"{file}:2"
    assert str(chosen.place(("alpha",))) == "shipway.yaml:2"


PROJECT_KEYS = (("rollout",), ("rollout", "alpha"), ("rollout", "steps"), ("rollout", "steps", 2, "weight"))


@pytest.mark.parametrize("text", ["", "# nothing but this\n", "rollout:\n", "rollout: {}\n"])
def test_a_plan_file_that_says_nothing_is_refused(tmp_path, text):
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="there is no key in it"):
        chosen_section(RolloutPlan(), PlanChoice(file))


def test_what_cannot_be_read_as_a_plan_file_is_told_as_what_it_is(tmp_path):
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        chosen_section(RolloutPlan(), PlanChoice(tmp_path))
    with pytest.raises(ConfigError, match=r"cannot be read: Too many levels"):
        chosen_section(RolloutPlan(), PlanChoice(loop))


def test_a_plan_file_may_be_a_pipe(tmp_path):
    read, write = os.pipe()
    os.write(write, b"alpha: 0.03\n")
    os.close(write)
    try:
        assert chosen_section(RolloutPlan(), PlanChoice(Path(f"/dev/fd/{read}"))).alpha == 0.03
    finally:
        os.close(read)


@pytest.mark.parametrize(
    "values",
    [
        {"deadline_s": 1e308},
        {"dead_man_s": 0.001},
        {"keep_s": 1e9},
        {"metrics": {"": None}},
        {"steps": [{"weight": 1, "max_s": 1e300}]},
    ],
)
def test_times_that_no_rollout_lives_to_see_and_names_that_are_none_are_refused(values):
    with pytest.raises(ValidationError):
        RolloutPlan.model_validate(values)
