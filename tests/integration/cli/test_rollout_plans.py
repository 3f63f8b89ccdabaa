"""What `deploy` says of a plan before anything changes: which line is wrong, and what the plan really does."""

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def second(make_app):
    """Return an app with a stable release, and a release that can be deployed."""
    app = make_app()
    first = app.run("release", "create", "--json").json["release"]
    assert app.run("deploy", first, "--override-gate", "to see").code == 0
    app.edit("prompts/chat.yaml", "You are helpful.", "You are kind.")
    return app, app.run("release", "create", "--json").json["release"]


def planned(second, plan: str, *options: str):
    """Print the plan of a deploy by a plan file."""
    app, release = second
    file = app.write("plan.yaml", plan)
    return app.run("deploy", release, "--override-gate", "to see", "--plan", str(file), "--dry-run", *options)


def test_a_plan_file_is_judged_with_its_own_lines(second):
    done = planned(second, "windows: [noon]\nsteps:\n  - { weight: 0.5 }\n  - { weight: 0.2 }\n  - { weight: 1 }\n")

    assert done.code == 2
    told = [line for line in done.err.splitlines() if "plan.yaml:" in line]
    assert [line.partition("plan.yaml:")[2].partition(" is ")[0].partition(" does ")[0] for line in told] == [
        "1: rollout.windows[0]: 'noon'",
        "4: rollout.steps[1].weight: 0.2",
    ]


def test_an_empty_list_of_steps_is_told_without_the_words_of_a_library(second):
    done = planned(second, "steps: []\n")

    assert done.code == 2
    assert "plan.yaml:1: rollout.steps: the list has no entries; it needs 1 at least" in done.err
    assert "Tuple" not in done.err


def test_a_step_that_is_shorter_than_its_evidence_is_warned_about_with_the_numbers(second):
    done = planned(second, "steps: [{weight: 0.1, min_bake_s: 1, max_s: 4}, {weight: 1.0}]\n")

    assert done.code == 0
    assert "warning: step 1: max_s = 4 is enough only from" in done.out
    assert "healthy candidate promoted" not in done.out


def test_the_plan_that_a_new_app_has_is_printed_without_a_warning(second):
    app, release = second

    done = app.run("deploy", release, "--override-gate", "to see", "--dry-run")

    assert done.code == 0
    assert "warning:" not in done.out


def test_a_folder_is_not_said_to_be_missing(second):
    app, release = second

    done = app.run("deploy", release, "--override-gate", "to see", "--plan", str(app.root), "--dry-run")

    assert (done.code, "Is a directory" in done.err) == (2, True)


@pytest.mark.parametrize("reason", ["", "   "])
def test_an_empty_reason_to_override_the_gate_is_told_as_that(second, reason):
    app, release = second

    done = app.run("deploy", release, "--override-gate", reason)

    assert done.code == 2
    assert "--override-gate: the reason is empty" in done.err


def test_a_segment_that_nobody_is_in_is_warned_about(second):
    plan = "strategy: flag\nsegments: [{tenants: [nobody]}]\nsteps: [{weight: 1}]\n"

    done = planned(second, plan)

    assert done.code == 0
    assert "warning: segments[0].tenants: nobody is in 'nobody'" in done.out
    assert "it stays at the last step until `shipway rollout promote`" in done.out
